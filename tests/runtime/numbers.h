// Arrays of the kernel tests, all owned by the caller (free).
#ifndef CANTO_TESTS_RUNTIME_NUMBERS_H
#define CANTO_TESTS_RUNTIME_NUMBERS_H

#include "tests/canto_test.h"
#include "tests/ref/widen.h"

#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
static inline void numbers_set_threads(int threads)
{
    omp_set_num_threads(threads);
}
#else
static inline void numbers_set_threads(int threads)
{
    (void)threads;
}
#endif

// n zeros, never NULL.
static inline float *numbers_zero(int64_t n)
{
    float *x = calloc((size_t)(n + 1), sizeof *x);
    assert_non_null(x);
    return x;
}

static inline double *numbers_zero_wide(int64_t n)
{
    double *x = calloc((size_t)(n + 1), sizeof *x);
    assert_non_null(x);
    return x;
}

static inline float *numbers_random(const char *name, int64_t n)
{
    float *x = numbers_zero(n);
    canto_test_fill(name, n, x);
    return x;
}

static inline float *numbers_copy(int64_t n, const float *from)
{
    float *x = numbers_zero(n);
    memcpy(x, from, (size_t)n * sizeof *x);
    return x;
}

static inline double *numbers_wide(int64_t n, const float *from)
{
    double *x = numbers_zero_wide(n);
    canto_ref_widen(n, from, x);
    return x;
}

// Fails unless the two arrays are equal to the bit.
static inline void numbers_same(const char *what, int64_t n, const float *x, const float *y)
{
    for (int64_t i = 0; i < n; i++) {
        if (memcmp(&x[i], &y[i], sizeof *x) != 0)
            fail_msg("%s: number %lld of %lld is %.9g, expected %.9g", what, (long long)i,
                     (long long)n, (double)x[i], (double)y[i]);
    }
}

#endif
