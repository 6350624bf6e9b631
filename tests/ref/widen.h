// The inputs of a reference are the very fp32 numbers that the tested code gets.
#ifndef CANTO_TESTS_REF_WIDEN_H
#define CANTO_TESTS_REF_WIDEN_H

#include <stdint.h>

static inline void canto_ref_widen(int64_t n, const float *x, double *wide)
{
    for (int64_t i = 0; i < n; i++) wide[i] = x[i];
}

#endif
