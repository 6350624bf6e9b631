// How two tensors of one shape differ, taken in run by run. Local.
#ifndef CANTO_LAUNCH_TENSOR_DIFF_H
#define CANTO_LAUNCH_TENSOR_DIFF_H

#include "runtime/tensor.h"

typedef struct canto_tensor_diff {
    int64_t count;      // elements compared
    int64_t differing;  // of other bits
    int64_t first;      // index of the first of them; -1: none
    int64_t unmeasured; // of them, those where either is not finite: in neither maximum
    double max_abs;     // of |a - b|
    double max_rel;     // of |a - b| / max(|a|, |b|)
} canto_tensor_diff;

void canto_tensor_diff_init(canto_tensor_diff *diff);
// The next `count` elements of both.
void canto_tensor_diff_add(canto_tensor_diff *diff, canto_dtype dtype, int64_t count, const void *a,
                           const void *b);

#endif
