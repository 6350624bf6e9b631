// Matrix products through CBLAS (OpenBLAS).
#include "runtime/cpu/cpu.h"

#include <cblas.h>

void canto_cpu_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                    const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                    int64_t ldc)
{
    if (m == 0 || n == 0) return;
    // A rank without tokens still scales c, and CBLAS refuses leading dimensions of empty matrices.
    if (k == 0) {
        for (int64_t i = 0; i < m; i++) {
            if (beta == 0)
                canto_cpu_fill(n, 0, c + i * ldc);
            else
                canto_cpu_scale(n, beta, c + i * ldc);
        }
        return;
    }
    cblas_sgemm(CblasRowMajor, trans_a ? CblasTrans : CblasNoTrans,
                trans_b ? CblasTrans : CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, alpha, a,
                (blasint)lda, b, (blasint)ldb, beta, c, (blasint)ldc);
}
