// A permutation of 0..n-1 that is a pure function of (seed, stream, number) and is read at any
// place in constant time and without memory: a Feistel network over the next power of four, walked
// until it lands below n. Its keys are Philox (runtime/rng.h). Local.
#ifndef CANTO_LAUNCH_PERMUTATION_H
#define CANTO_LAUNCH_PERMUTATION_H

#include "runtime/rng.h"

enum { CANTO_PERMUTATION_ROUNDS = 6 };

typedef struct canto_permutation {
    int64_t n;
    int half_bits;
    uint64_t keys[CANTO_PERMUTATION_ROUNDS];
} canto_permutation;

// Permutation `number` of n > 0 things; each number is another one.
void canto_permutation_init(uint64_t seed, canto_rng_stream stream, int64_t number, int64_t n,
                            canto_permutation *out);
// Where `i`, 0 <= i < n, goes.
int64_t canto_permutation_at(const canto_permutation *permutation, int64_t i);

#endif
