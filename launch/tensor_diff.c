// Equal bits are equal; what is left is measured in double.
#include "launch/tensor_diff.h"

#include <math.h>
#include <string.h>

void canto_tensor_diff_init(canto_tensor_diff *diff)
{
    *diff = (canto_tensor_diff){.first = -1};
}

static double number(canto_dtype dtype, const void *data, int64_t i)
{
    switch (dtype) {
    case CANTO_F32:
        return (double)((const float *)data)[i];
    case CANTO_F64:
        return ((const double *)data)[i];
    case CANTO_I32:
        return (double)((const int32_t *)data)[i];
    case CANTO_I64:
        return (double)((const int64_t *)data)[i];
    case CANTO_U8:
        return (double)((const uint8_t *)data)[i];
    case CANTO_BF16: // no tensor of a checkpoint has it
        break;
    }
    return 0;
}

static void measure(canto_tensor_diff *diff, double x, double y)
{
    if (!isfinite(x) || !isfinite(y)) {
        diff->unmeasured++;
        return;
    }
    const double difference = fabs(x - y);
    const double size = fmax(fabs(x), fabs(y));
    diff->max_abs = fmax(diff->max_abs, difference);
    if (size > 0) diff->max_rel = fmax(diff->max_rel, difference / size);
}

void canto_tensor_diff_add(canto_tensor_diff *diff, canto_dtype dtype, int64_t count, const void *a,
                           const void *b)
{
    const size_t width = canto_dtype_bytes(dtype);
    const char *x = a, *y = b;
    const int64_t before = diff->count;
    diff->count += count;
    if (memcmp(x, y, (size_t)count * width) == 0) return;
    for (int64_t i = 0; i < count; i++) {
        if (memcmp(x + (size_t)i * width, y + (size_t)i * width, width) == 0) continue;
        if (diff->first < 0) diff->first = before + i;
        diff->differing++;
        measure(diff, number(dtype, a, i), number(dtype, b, i));
    }
}
