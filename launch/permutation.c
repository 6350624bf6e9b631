// A Feistel network is a bijection whatever its round function is; walking its cycle from a place
// below n to the next one below n keeps it one (Black and Rogaway, CT-RSA 2002). Fewer than four
// steps on average.
#include "launch/permutation.h"

void canto_permutation_init(uint64_t seed, canto_rng_stream stream, int64_t number, int64_t n,
                            canto_permutation *out)
{
    *out = (canto_permutation){.n = n, .half_bits = 1};
    while (out->half_bits < 31 && (int64_t)1 << 2 * out->half_bits < n) out->half_bits++;
    for (int r = 0; r < CANTO_PERMUTATION_ROUNDS; r++) {
        const uint64_t index = (uint64_t)number * CANTO_PERMUTATION_ROUNDS + (uint64_t)r;
        out->keys[r] = canto_rng_bits(seed, stream, index);
    }
}

// Every bit of the result depends on every bit of x (the finaliser of SplitMix64).
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

static uint64_t shuffle(const canto_permutation *p, uint64_t x)
{
    const uint64_t mask = ((uint64_t)1 << p->half_bits) - 1;
    uint64_t left = x >> p->half_bits, right = x & mask;
    for (int r = 0; r < CANTO_PERMUTATION_ROUNDS; r++) {
        const uint64_t next = left ^ (mix(right ^ p->keys[r]) & mask);
        left = right;
        right = next;
    }
    return left << p->half_bits | right;
}

int64_t canto_permutation_at(const canto_permutation *permutation, int64_t i)
{
    uint64_t x = (uint64_t)i;
    do {
        x = shuffle(permutation, x);
    } while (x >= (uint64_t)permutation->n);
    return (int64_t)x;
}
