// Sizes and views; no memory of its own.
#include "runtime/tensor.h"

size_t canto_dtype_bytes(canto_dtype dtype)
{
    static const size_t bytes[] = {[CANTO_F32] = 4, [CANTO_F64] = 8, [CANTO_I32] = 4,
                                   [CANTO_I64] = 8, [CANTO_U8] = 1,  [CANTO_BF16] = 2};
    return bytes[dtype];
}

const char *canto_dtype_name(canto_dtype dtype)
{
    static const char *const names[] = {
        [CANTO_F32] = "f32", [CANTO_F64] = "f64", [CANTO_I32] = "i32",
        [CANTO_I64] = "i64", [CANTO_U8] = "u8",   [CANTO_BF16] = "bf16"};
    return names[dtype];
}

int64_t canto_tensor_count(const canto_tensor *tensor)
{
    int64_t count = 1;
    for (int i = 0; i < tensor->dims_n; i++) count *= tensor->dims[i];
    return count;
}

size_t canto_tensor_bytes(const canto_tensor *tensor)
{
    return (size_t)canto_tensor_count(tensor) * canto_dtype_bytes(tensor->dtype);
}

canto_tensor canto_tensor_vector(canto_dtype dtype, void *data, int64_t count)
{
    return canto_tensor_view(dtype, data, 1, &count);
}

canto_tensor canto_tensor_view(canto_dtype dtype, void *data, int dims_n, const int64_t *dims)
{
    canto_tensor tensor = {.data = data, .dtype = dtype, .dims_n = dims_n};
    for (int i = 0; i < dims_n; i++) tensor.dims[i] = dims[i];
    return tensor;
}
