// Thin names over Philox4x32-10: 128-bit counter = (index, stream), 64-bit key = seed.
#include "runtime/rng.h"

#include <Random123/philox.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

static philox4x32_ctr_t draw(uint64_t seed, uint32_t stream, uint64_t index)
{
    philox4x32_ctr_t counter = {{(uint32_t)index, (uint32_t)(index >> 32), stream, 0}};
    philox4x32_key_t key = {{(uint32_t)seed, (uint32_t)(seed >> 32)}};
    return philox4x32(counter, key);
}

static double unit(uint32_t high, uint32_t low)
{
    uint64_t bits = ((uint64_t)high << 32 | low) >> 11;
    return (double)bits * 0x1p-53;
}

uint64_t canto_rng_bits(uint64_t seed, uint32_t stream, uint64_t index)
{
    philox4x32_ctr_t r = draw(seed, stream, index);
    return (uint64_t)r.v[0] << 32 | r.v[1];
}

double canto_rng_uniform(uint64_t seed, uint32_t stream, uint64_t index)
{
    philox4x32_ctr_t r = draw(seed, stream, index);
    return unit(r.v[0], r.v[1]);
}

float canto_rng_normal(uint64_t seed, uint32_t stream, uint64_t index)
{
    philox4x32_ctr_t r = draw(seed, stream, index);
    double radius = sqrt(-2.0 * log(1.0 - unit(r.v[0], r.v[1])));
    return (float)(radius * cos(2.0 * 3.14159265358979323846 * unit(r.v[2], r.v[3])));
}

int64_t canto_rng_below(uint64_t seed, uint32_t stream, uint64_t index, int64_t n)
{
    uint64_t bits = canto_rng_bits(seed, stream, index);
    return (int64_t)(((unsigned __int128)bits * (uint64_t)n) >> 64);
}

uint64_t canto_rng_seed(uint64_t seed, const char *name)
{
    return XXH3_64bits_withSeed(name, strlen(name), seed);
}
