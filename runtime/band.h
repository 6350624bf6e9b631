// A banded rectangle of (query, key) pairs: the only mask a kernel ever sees.
#ifndef CANTO_RUNTIME_BAND_H
#define CANTO_RUNTIME_BAND_H

#include <stdint.h>

// Pairs (q, k) with q in [q0, q1), k in [k0, k1) and lo <= k - q <= hi; global positions.
// Unlimited sides are lo = CANTO_BAND_MIN and hi = CANTO_BAND_MAX.
typedef struct canto_band {
    int64_t q0, q1;
    int64_t k0, k1;
    int64_t lo, hi;
} canto_band;

#define CANTO_BAND_MIN (-((int64_t)1 << 60))
#define CANTO_BAND_MAX ((int64_t)1 << 60)

#endif
