// Vectors of floats of the level that a file is compiled for: as much of them as the kernels need,
// under one set of names. Arithmetic is that of the language (GCC's vector types: + - * /, and
// comparisons that give masks of all bits); what it lacks is here. Names are short, because
// formulas are made of them. Everything is inlined, and arguments that must be constants are said
// to be.
#ifndef CANTO_RUNTIME_CPU_SIMD_H
#define CANTO_RUNTIME_CPU_SIMD_H

#include "runtime/tensor.h"

#include <stdbool.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define CANTO_INLINE static inline __attribute__((always_inline))
// Before a loop whose bounds are constants where it is inlined, so that arrays become registers.
#define CANTO_UNROLL _Pragma("GCC unroll 16")

// LANES: floats of a vector. REGISTERS: vectors that the processor holds.
#if defined(__AVX512F__)
enum { LANES = 16, REGISTERS = 32 };
#elif defined(__AVX2__)
enum { LANES = 8, REGISTERS = 16 };
#else
enum { LANES = 4, REGISTERS = 16 };
#endif

// Blocks of products (runtime/cpu/product.h): a product's is up to ROWS x COLUMNS, that of scores
// is SCORE_ROWS x PANEL.
enum { CANTO_COLUMNS = 2 * LANES, CANTO_ROWS = REGISTERS == 32 ? 12 : 6 };
enum { VECTORS_MOST = 3 }; // of a row of a block
enum { CANTO_PANEL = VECTORS_MOST * LANES, CANTO_SCORE_ROWS = REGISTERS == 32 ? 8 : 4 };

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint32_t vu __attribute__((vector_size(4 * LANES))); // for sums that may overflow
typedef float vf_in_memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef int32_t vi_in_memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

CANTO_INLINE vf vload(const float *x)
{
    return *(const vf_in_memory *)x;
}

CANTO_INLINE void vstore(float *x, vf v)
{
    *(vf_in_memory *)x = v;
}

// All lanes alike.
CANTO_INLINE vf vset(float x)
{
    return x - (vf){0};
}

CANTO_INLINE vi vset_int(int32_t x)
{
    return x - (vi){0};
}

// Keeps a vector in a register from here on: otherwise the compiler may load it from memory again
// for every product that it is used in.
CANTO_INLINE vf vkeep(vf v)
{
#if defined(__AVX512F__)
    __asm__("" : "+v"(v));
#elif defined(__x86_64__)
    __asm__("" : "+x"(v));
#elif defined(__aarch64__)
    __asm__("" : "+w"(v));
#endif
    return v;
}

CANTO_INLINE vf vbits(vi v)
{
    return (vf)v;
}

CANTO_INLINE vi vints(vf v)
{
    return (vi)v;
}

// mask ? a : b, where a mask has all bits or none of each lane.
CANTO_INLINE vf vselect(vi mask, vf a, vf b)
{
#if defined(__AVX2__) && !defined(__AVX512F__)
    return _mm256_blendv_ps(b, a, (vf)mask);
#else
    return (vf)((mask & (vi)a) | (~mask & (vi)b));
#endif
}

// The larger one; b if either is NaN.
CANTO_INLINE vf vmax(vf a, vf b)
{
#if defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
    return _mm256_max_ps(a, b);
#elif defined(__SSE__)
    return __builtin_ia32_maxps(a, b);
#else
    return vselect(a > b, a, b);
#endif
}

CANTO_INLINE bool vany(vi mask)
{
#if defined(__AVX512F__)
    return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((vf)mask) != 0;
#elif defined(__SSE__)
    return __builtin_ia32_movmskps((vf)mask) != 0;
#else
    int32_t any = 0;
    for (int l = 0; l < LANES; l++) any |= mask[l];
    return any != 0;
#endif
}

// 0, 1, 2, ...
CANTO_INLINE vi viota(void)
{
    vi v = {0};
    CANTO_UNROLL
    for (int l = 0; l < LANES; l++) v[l] = l;
    return v;
}

// Sum of the lanes, in the order of a tree.
CANTO_INLINE float vsum(vf v)
{
    CANTO_UNROLL
    for (int half = LANES / 2; half > 0; half /= 2) {
        vi other;
        CANTO_UNROLL
        for (int l = 0; l < LANES; l++) other[l] = l ^ half;
        v += __builtin_shuffle(v, other);
    }
    return v[0];
}

CANTO_INLINE float vlargest(vf v)
{
    float part[LANES];
    vstore(part, v);
    CANTO_UNROLL
    for (int half = LANES / 2; half > 0; half /= 2) {
        CANTO_UNROLL
        for (int l = 0; l < half; l++)
            part[l] = part[l] > part[l + half] ? part[l] : part[l + half];
    }
    return part[0];
}

// The first n lanes from memory, 0 in the others; n <= LANES.
CANTO_INLINE vf vload_some(const float *x, int n)
{
    float part[LANES] = {0};
    if (n >= LANES) return vload(x);
    for (int l = 0; l < n; l++) part[l] = x[l];
    return vload(part);
}

CANTO_INLINE void vstore_some(float *x, vf v, int n)
{
    float part[LANES];
    if (n >= LANES) {
        vstore(x, v);
        return;
    }
    vstore(part, v);
    for (int l = 0; l < n; l++) x[l] = part[l];
}

// The nearest bf16 number, ties to even; a NaN stays one.
CANTO_INLINE uint16_t vnarrow(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
    return (uint16_t)((x == x ? rounded : bits | 0x400000u) >> 16);
}

// LANES elements of an array of fp32 or bf16 numbers, from element `at` on; dtype is a constant.
CANTO_INLINE vf vload_as(const canto_dtype dtype, const void *x, int64_t at)
{
    if (dtype == CANTO_F32) return vload((const float *)x + at);
    const uint16_t *half = (const uint16_t *)x + at;
#if defined(__AVX512F__)
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)half)), 16);
#elif defined(__AVX2__)
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)half)), 16);
#else
    vi wide;
    for (int l = 0; l < LANES; l++) wide[l] = (int32_t)((uint32_t)half[l] << 16);
    return (vf)wide;
#endif
}

// The first n of them, 0 in the other lanes.
CANTO_INLINE vf vload_some_as(const canto_dtype dtype, const void *x, int64_t at, int n)
{
    if (n >= LANES) return vload_as(dtype, x, at);
    if (dtype == CANTO_F32) return vload_some((const float *)x + at, n);
    uint16_t part[LANES] = {0};
    for (int l = 0; l < n; l++) part[l] = ((const uint16_t *)x)[at + l];
    return vload_as(dtype, part, 0);
}

// Rows and columns of a square of vectors exchanged: blocks of h by h change places across the
// diagonal, h = LANES / 2 .. 1.
CANTO_INLINE void vtranspose(vf rows[LANES])
{
    CANTO_UNROLL
    for (int h = LANES / 2; h > 0; h /= 2) {
        vi low = {0}, high = {0};
        CANTO_UNROLL
        for (int l = 0; l < LANES; l++) {
            low[l] = l & h ? LANES + l - h : l;
            high[l] = l & h ? LANES + l : l + h;
        }
        CANTO_UNROLL
        for (int i = 0; i < LANES; i++) {
            if (i & h) continue;
            const vf a = rows[i], b = rows[i + h];
            rows[i] = __builtin_shuffle(a, b, low);
            rows[i + h] = __builtin_shuffle(a, b, high);
        }
    }
}

// x = 2^x for each of n vectors and -126 <= x <= 126, to 2.4e-7 of itself, 2^0 = 1; 2^-126 below,
// NaN for NaN. Above 126 it is no number that means anything. The vectors go side by side, step by
// step, because the processor does not look far enough ahead to begin one before the other has
// ended.
CANTO_INLINE void vexp2_all(const int n, vf x[])
{
    static const float factors[] = {9.6755413e-3f, 5.5507133e-2f, 2.4022120e-1f, 6.9314697e-1f,
                                    1.0f};
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the sum.
    const vf magic = vset(12582912.0f);
    vf shifted[VECTORS_MOST], p[VECTORS_MOST];
    CANTO_UNROLL
    for (int v = 0; v < n; v++) x[v] = vmax(vset(-126.0f), x[v]);
    CANTO_UNROLL
    for (int v = 0; v < n; v++) shifted[v] = x[v] + magic;
    CANTO_UNROLL
    for (int v = 0; v < n; v++) x[v] -= shifted[v] - magic; // in [-1/2, 1/2]
    CANTO_UNROLL
    for (int v = 0; v < n; v++) p[v] = vset(1.3276472e-3f) * x[v] + vset(factors[0]);
    CANTO_UNROLL
    for (int k = 1; k < 5; k++) {
        CANTO_UNROLL
        for (int v = 0; v < n; v++) p[v] = p[v] * x[v] + vset(factors[k]);
    }
    CANTO_UNROLL
    for (int v = 0; v < n; v++) x[v] = vbits((vi)((vu)vints(p[v]) + ((vu)vints(shifted[v]) << 23)));
}

CANTO_INLINE vf vexp2(vf x)
{
    vexp2_all(1, &x);
    return x;
}

#endif
