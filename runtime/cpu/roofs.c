// See the header.
#include "runtime/cpu/roofs.h"

#include "runtime/cpu/level.h"
#include "runtime/cpu/simd.h"
#include "runtime/products.h"

#include <cblas.h>

// Sums that do not wait for each other: more than the latency of a sum times what begins in a
// cycle.
enum { SUMS = REGISTERS - 4 };

static float fma_loop(int64_t rounds)
{
    vf sum[SUMS], left = vkeep(vset(1.0f)), right = vkeep(vset(1e-9f));
    CANTO_UNROLL
    for (int i = 0; i < SUMS; i++) sum[i] = vset((float)i);
    for (int64_t r = 0; r < rounds; r++) {
        left = vkeep(left);
        CANTO_UNROLL
        for (int i = 0; i < SUMS; i++) sum[i] += left * right;
    }
    float total = 0;
    CANTO_UNROLL
    for (int i = 0; i < SUMS; i++) total += sum[i][0];
    return total;
}

// The kernels' own threads: others would share cores with these, which wait without sleeping.
static float fma_threads(int threads, int64_t rounds)
{
    float total = 0;
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(+ : total)
    for (int i = 0; i < threads; i++) total += fma_loop(rounds);
    return total;
}

static float read_loop(int64_t n, const float *x)
{
    enum { ROW = 8 };
    vf sum[ROW];
    CANTO_UNROLL
    for (int i = 0; i < ROW; i++) sum[i] = vset(0);
    for (int64_t at = 0; at < n; at += ROW * LANES) {
        CANTO_UNROLL
        for (int i = 0; i < ROW; i++) sum[i] += vload(x + at + i * LANES);
    }
    float total = 0;
    CANTO_UNROLL
    for (int i = 0; i < ROW; i++) total += sum[i][0];
    return total;
}

static void triad_loop(int64_t n, const float *a, const float *b, float s, float *c)
{
    const vf factor = vset(s);
    for (int64_t at = 0; at < n; at += LANES)
        vstore(c + at, vload(a + at) + factor * vload(b + at));
}

static void sgemm_call(bool trans_b, int m, int n, int k, const float *a, const float *b, float *c)
{
    const canto_gemm_shape shape = {
        .trans_b = trans_b, .m = m, .n = n, .k = k, .lda = k, .ldb = trans_b ? k : n, .ldc = n};
    canto_products_f32(&shape, a, b, c);
}

static void openblas_call(bool trans_b, int m, int n, int k, const float *a, const float *b,
                          float *c)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, trans_b ? CblasTrans : CblasNoTrans, m, n, k, 1, a, k,
                b, trans_b ? k : n, 0, c, n);
}

extern const canto_cpu_roofs CANTO_CPU(roofs);
const canto_cpu_roofs CANTO_CPU(roofs) = {
    .fma = fma_loop,
    .fma_flops = SUMS * LANES * 2,
    .fma_on = fma_threads,
    .read = read_loop,
    .triad = triad_loop,
    .sgemm = sgemm_call,
    .openblas = openblas_call,
};
