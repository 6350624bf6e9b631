// The inputs of a reference are the very fp32 numbers that the tested code gets.
#ifndef CANTO_TESTS_REF_WIDEN_H
#define CANTO_TESTS_REF_WIDEN_H

#include <math.h>
#include <stdint.h>

static inline void canto_ref_widen(int64_t n, const float *x, double *wide)
{
    for (int64_t i = 0; i < n; i++) wide[i] = x[i];
}

// The nearest number of 8 significant bits, ties to even.
static inline double canto_ref_bf16(double x)
{
    int exponent;
    const double digits = frexp(x, &exponent);
    return ldexp(nearbyint(ldexp(digits, 8)), exponent - 8);
}

#endif
