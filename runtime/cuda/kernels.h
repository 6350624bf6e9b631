// The slots that kernels.cu fills, and the product by cuBLAS (backend_cuda.c). Each queues its work
// on the device's stream, and does nothing for no elements. Contracts: runtime/backend.h.
#ifndef CANTO_RUNTIME_CUDA_KERNELS_H
#define CANTO_RUNTIME_CUDA_KERNELS_H

#include "runtime/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

void canto_cuda_gemm(const canto_device *device, const canto_gemm_shape *shape, const void *a,
                     const void *b, void *c);

void canto_cuda_norm_forward(const canto_device *device, int64_t rows, int64_t n, float eps,
                             const float *x, const float *w, float *y, float *rstd);
void canto_cuda_norm_backward(const canto_device *device, int64_t rows, int64_t n, const float *x,
                              const float *w, const float *rstd, const float *dy, float *dx,
                              float *dw);
void canto_cuda_glu_forward(const canto_device *device, int64_t n, const float *gate,
                            const float *up, float *y);
void canto_cuda_glu_backward(const canto_device *device, int64_t n, const float *gate,
                             const float *up, const float *dy, float *dgate, float *dup);
void canto_cuda_feature_forward(const canto_device *device, canto_feature feature, int64_t rows,
                                int64_t n, int64_t stride, const float *x, float *y);
void canto_cuda_feature_backward(const canto_device *device, canto_feature feature, int64_t rows,
                                 int64_t n, int64_t stride, const float *x, const float *dy,
                                 float *dx);
void canto_cuda_rope(const canto_device *device, int64_t rows, int heads, int dim, int64_t stride,
                     const float *table, int direction, float *x);
void canto_cuda_embed_forward(const canto_device *device, int64_t tokens, int64_t n,
                              const int32_t *token, const float *table, float *y);
void canto_cuda_embed_backward(const canto_device *device, int64_t tokens, int64_t n,
                               const int32_t *token, const float *dy, float *dtable);

void canto_cuda_loss_tile(const canto_device *device, int64_t rows, int64_t n, int64_t first,
                          const float *logits, const int32_t *target, float *lse, float *picked);
void canto_cuda_loss_sum(const canto_device *device, int64_t rows, const int32_t *target,
                         const float *lse, const float *picked, double *sum);
void canto_cuda_loss_tile_backward(const canto_device *device, int64_t rows, int64_t n,
                                   int64_t first, const int32_t *target, const float *lse,
                                   float scale, float *logits);

void canto_cuda_fill(const canto_device *device, int64_t n, float value, float *x);
void canto_cuda_add(const canto_device *device, int64_t n, const float *x, float *y);
void canto_cuda_multiply(const canto_device *device, int64_t n, const float *x, const float *y,
                         float *z);
void canto_cuda_scale(const canto_device *device, int64_t n, float factor, float *x);
void canto_cuda_copy(const canto_device *device, int64_t n, const float *x, float *y);
void canto_cuda_narrow(const canto_device *device, int64_t rows, int64_t n, int64_t stride,
                       const float *x, uint16_t *y);
void canto_cuda_sum_squares(const canto_device *device, int64_t n, const float *x, double *sum);
void canto_cuda_adamw(const canto_device *device, int64_t n, const canto_adamw *how,
                      const float *grad, float *param, float *first, float *second);

#ifdef __cplusplus
}
#endif

#endif
