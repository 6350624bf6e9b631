// A borrowed, contiguous, row-major view of memory that somebody else owns (an arena, a caller's
// array). Copying a canto_tensor copies the view. Nothing here allocates or can fail, except by
// contract.
#ifndef CANTO_RUNTIME_TENSOR_H
#define CANTO_RUNTIME_TENSOR_H

#include <stddef.h>
#include <stdint.h>

// CANTO_BF16: the upper half of an fp32 number, kept as a uint16_t.
typedef enum canto_dtype {
    CANTO_F32,
    CANTO_F64,
    CANTO_I32,
    CANTO_I64,
    CANTO_U8,
    CANTO_BF16
} canto_dtype;

enum { CANTO_DIMS_MAX = 4 };

typedef struct canto_tensor {
    void *data; // borrowed
    canto_dtype dtype;
    int dims_n;
    int64_t dims[CANTO_DIMS_MAX];
} canto_tensor;

size_t canto_dtype_bytes(canto_dtype dtype);
const char *canto_dtype_name(canto_dtype dtype);

// Number of elements (1 for dims_n == 0) and of bytes.
int64_t canto_tensor_count(const canto_tensor *tensor);
size_t canto_tensor_bytes(const canto_tensor *tensor);

// A view of `count` elements as a vector, and of plain bytes.
canto_tensor canto_tensor_vector(canto_dtype dtype, void *data, int64_t count);
// A view with the given dims.
canto_tensor canto_tensor_view(canto_dtype dtype, void *data, int dims_n, const int64_t *dims);

#endif
