// Matrix products through CBLAS (OpenBLAS), which runs on one thread (runtime/topology.c): a
// product is cut into slabs of its longer side, and OpenMP's threads share the slabs. Two pools of
// threads would wait for each other on the same cores. Slabs do not depend on the number of
// threads, so neither do the bits of the result.
#include "runtime/cpu/cpu.h"

#include <cblas.h>

enum {
    SLAB = 256,     // rows or columns of a slab, at most
    SLAB_GRAIN = 16 // a slab ends at a multiple of this: a row of vectors
};

// Slab i of n of a side of `length`: [begin, end).
static void slab_bounds(int64_t length, int64_t i, int64_t n, int64_t *begin, int64_t *end)
{
    const int64_t width = (length + n * SLAB_GRAIN - 1) / (n * SLAB_GRAIN) * SLAB_GRAIN;
    *begin = i * width < length ? i * width : length;
    *end = *begin + width < length ? *begin + width : length;
}

void CANTO_CPU(gemm)(const canto_device *device, bool trans_a, bool trans_b, int64_t m, int64_t n,
                     int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                     int64_t ldb, float beta, float *c, int64_t ldc)
{
    if (m == 0 || n == 0) return;
    // A rank without tokens still scales c, and CBLAS refuses leading dimensions of empty matrices.
    if (k == 0) {
        for (int64_t i = 0; i < m; i++) {
            if (beta == 0)
                CANTO_CPU(fill)(device, n, 0, c + i * ldc);
            else
                CANTO_CPU(scale)(device, n, beta, c + i * ldc);
        }
        return;
    }
    const bool by_rows = m >= n;
    const int64_t length = by_rows ? m : n;
    const int64_t slabs = (length + SLAB - 1) / SLAB;
#pragma omp parallel for schedule(static) if (slabs > 1)
    for (int64_t slab = 0; slab < slabs; slab++) {
        int64_t begin, end;
        slab_bounds(length, slab, slabs, &begin, &end);
        if (begin == end) continue;
        const int64_t row = by_rows ? begin : 0, column = by_rows ? 0 : begin;
        cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                    trans_b ? CblasTrans : CblasNoTrans, (blasint)(by_rows ? end - begin : m),
                    (blasint)(by_rows ? n : end - begin), (blasint)k, alpha,
                    a + (trans_a ? row : row * lda), (blasint)lda,
                    b + (trans_b ? column * ldb : column), (blasint)ldb, beta,
                    c + row * ldc + column, (blasint)ldc);
    }
}
