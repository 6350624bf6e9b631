// Counter-based random numbers: a value is a pure function of (seed, stream, index), so that the
// same run draws the same numbers on any number of ranks. Philox4x32-10 from Random123 (Salmon et
// al., SC 2011). All functions are local.
#ifndef CANTO_RUNTIME_RNG_H
#define CANTO_RUNTIME_RNG_H

#include <stdint.h>

// Streams that are in use; a stream's `index` counts what its comment says.
typedef enum canto_rng_stream {
    CANTO_RNG_INIT = 1,   // element of a parameter; seed is mixed with the parameter's name
    CANTO_RNG_DATA = 2,   // sample of the run
    CANTO_RNG_SAMPLE = 3, // token of a generated text
    CANTO_RNG_ORDER = 4,  // key of the permutation of an epoch
    CANTO_RNG_TEST = 99,  // anything in tests
} canto_rng_stream;

uint64_t canto_rng_bits(uint64_t seed, uint32_t stream, uint64_t index);
double canto_rng_uniform(uint64_t seed, uint32_t stream, uint64_t index); // [0, 1)
float canto_rng_normal(uint64_t seed, uint32_t stream,
                       uint64_t index); // mean 0, variance 1 (Box-Muller)
// Uniform in [0, n), n > 0, without modulo bias worth naming (64-bit multiply).
int64_t canto_rng_below(uint64_t seed, uint32_t stream, uint64_t index, int64_t n);
// A seed for a named thing: XXH3 of the name, seeded.
uint64_t canto_rng_seed(uint64_t seed, const char *name);

#endif
