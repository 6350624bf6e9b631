// Dense matrix products by the library of this build: oneDNN, which goes by what the processor can
// do, or without it OpenBLAS, which goes by the processor's name and has no bf16. Each product runs
// on the calling thread alone, whatever OpenMP would give it. Internal to the cpu backend. Local.
#ifndef CANTO_RUNTIME_PRODUCTS_H
#define CANTO_RUNTIME_PRODUCTS_H

#include "runtime/backend.h"

// m, n, k > 0. Of fp32 numbers.
void canto_products_f32(const canto_gemm_shape *shape, const float *a, const float *b, float *c);
// Of bf16 numbers: false, and nothing done, if there is none that need not be widened.
bool canto_products_bf16(const canto_gemm_shape *shape, const uint16_t *a, const uint16_t *b,
                         void *c);

#endif
