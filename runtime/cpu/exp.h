// exp(x) in fp32 without branches or tables, so that loops over it vectorise: x = n ln 2 + r, |r|
// <= ln 2 / 2, a polynomial of degree 7 in r, times 2^n. Relative error below 1.3e-7; 0 below
// -87.3, infinity above 88.3, NaN for NaN.
#ifndef CANTO_RUNTIME_CPU_EXP_H
#define CANTO_RUNTIME_CPU_EXP_H

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline float canto_cpu_exp(float x)
{
    const float lowest = -87.3f, highest = 88.3f;
    float clamped = x < lowest ? lowest : x;
    clamped = clamped > highest ? highest : clamped;
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum.
    const float magic = 12582912.0f;
    float shifted = clamped * 1.44269504f + magic;
    float n = shifted - magic;
    float r = clamped - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    float p = 1.98412698e-4f;
    p = p * r + 1.3888889e-3f;
    p = p * r + 8.3333333e-3f;
    p = p * r + 4.1666667e-2f;
    p = p * r + 1.6666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + ((uint32_t)127 << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    float result = p * power;
    result = x < lowest ? 0.0f : result;
    return x > highest ? INFINITY : result;
}

// 2^x: relative error below 2e-7 for -126 <= x <= 127; 0 below, 2^127 above, NaN for NaN.
static inline float canto_cpu_exp2(float x)
{
    float clamped = x < -126.0f ? -126.0f : x;
    clamped = clamped > 127.0f ? 127.0f : clamped;
    const float magic = 12582912.0f;
    float shifted = clamped + magic;
    float r = clamped - (shifted - magic); // in [-1/2, 1/2]
    // 1 + r times the interpolation of (2^r - 1) / r at six Chebyshev points, so that 2^0 is 1.
    float p = 1.54531629e-4f;
    p = p * r + 1.33908634e-3f;
    p = p * r + 9.61808256e-3f;
    p = p * r + 5.55035711e-2f;
    p = p * r + 2.40226508e-1f;
    p = p * r + 6.93147188e-1f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits << 23) + ((uint32_t)127 << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return x < -126.0f ? 0.0f : p * power;
}

static inline float canto_cpu_sigmoid(float x)
{
    return 1.0f / (1.0f + canto_cpu_exp(-x));
}

// log(sigmoid(x)) = min(x, 0) - log(1 + e), e = exp(-|x|), to 2e-7 of itself: with s = e / (2 + e)
// <= 1/3, log(1 + e) = 2 (s + s^3 / 3 + s^5 / 5 + ...).
static inline float canto_cpu_log_sigmoid(float x)
{
    const float e = canto_cpu_exp(x < 0 ? x : -x);
    const float s = e / (2.0f + e);
    const float s2 = s * s;
    float p = 1.0f / 13;
    p = p * s2 + 1.0f / 11;
    p = p * s2 + 1.0f / 9;
    p = p * s2 + 1.0f / 7;
    p = p * s2 + 1.0f / 5;
    p = p * s2 + 1.0f / 3;
    p = p * s2 + 1.0f;
    return (x < 0 ? x : 0.0f) - 2.0f * s * p;
}

#endif
