// Products by OpenBLAS, which runs on one thread (runtime/topology.c).
#include "runtime/products.h"

#include "runtime/probe.h"

#include <cblas.h>
#include <stdio.h>

canto_probe_products canto_probe_products_look(void)
{
    canto_probe_products out = {.library = "OpenBLAS"};
    // "OpenBLAS 0.3.21 ..."
    if (sscanf(openblas_get_config(), "%*s %31s", out.version) != 1) out.version[0] = '\0';
    return out;
}

void canto_products_f32(const canto_gemm_shape *s, const float *a, const float *b, float *c)
{
    cblas_sgemm(CblasRowMajor, s->trans_a ? CblasTrans : CblasNoTrans,
                s->trans_b ? CblasTrans : CblasNoTrans, (blasint)s->m, (blasint)s->n, (blasint)s->k,
                1, a, (blasint)s->lda, b, (blasint)s->ldb, s->adds ? 1 : 0, c, (blasint)s->ldc);
}

bool canto_products_bf16(const canto_gemm_shape *shape, const uint16_t *a, const uint16_t *b,
                         void *c)
{
    (void)shape, (void)a, (void)b, (void)c;
    return false;
}
