// The cpu's kernels, one function per slot of the backend table; runtime/backend.h is their
// contract. Only runtime/backend_cpu.c and unit tests include this header.
#ifndef CANTO_RUNTIME_CPU_CPU_H
#define CANTO_RUNTIME_CPU_CPU_H

#include "runtime/backend.h"
#include "runtime/cpu/level.h"

// Below this many elements a loop is not worth waking threads for.
enum { CANTO_CPU_PARALLEL_MIN = 1 << 15 };

// --- attention.c, attention_backward.c, attention_merge.c ---

void CANTO_CPU(attention_forward)(const canto_device *device, const canto_attention_shape *shape,
                                  const canto_band *tile, const float *q, const float *kv, float *o,
                                  float *lse);
void CANTO_CPU(attention_backward)(const canto_device *device, const canto_attention_shape *shape,
                                   const canto_band *tile, const float *q, const float *kv,
                                   const float *dout, const float *lse, const float *delta,
                                   float *dq, float *dkv);
void CANTO_CPU(attention_merge)(const canto_device *device, int64_t entries, int value_dim,
                                const float *o_other, const float *lse_other, float *o, float *lse);
void CANTO_CPU(attention_delta)(const canto_device *device, int64_t entries, int value_dim,
                                const float *dout, const float *o, float *delta);

// --- linear_*.c ---

size_t CANTO_CPU(linear_work_bytes)(const canto_linear_shape *shape, int64_t tokens);
void CANTO_CPU(linear_forward)(const canto_device *device, const canto_linear_shape *shape,
                               const canto_linear_run *run, const float *state_in, float *y,
                               float *state_out);
void CANTO_CPU(linear_summary)(const canto_device *device, const canto_linear_shape *shape,
                               const canto_linear_run *run, float *summary);
void CANTO_CPU(linear_read)(const canto_device *device, const canto_linear_shape *shape,
                            const canto_linear_run *run, const float *state_in, float *y);
void CANTO_CPU(linear_backward_summary)(const canto_device *device, const canto_linear_shape *shape,
                                        const canto_linear_run *run, const float *dy,
                                        float *summary, void *work);
void CANTO_CPU(linear_backward)(const canto_device *device, const canto_linear_shape *shape,
                                const canto_linear_run *run, const float *state_in, const float *dy,
                                const float *dstate_out, const canto_linear_gradients *gradients,
                                void *work);
void CANTO_CPU(linear_normalise)(const canto_device *device, int64_t entries, int value_dim,
                                 float eps, const float *y, float *o);
void CANTO_CPU(linear_normalise_backward)(const canto_device *device, int64_t entries,
                                          int value_dim, float eps, const float *y,
                                          const float *dout, float *dy);

// --- linear_join.c ---

void CANTO_CPU(state_join)(const canto_device *device, int heads, int64_t head_count,
                           int64_t tokens, const float *log_decay, const float *left,
                           const float *right, float *out);

// --- gemm.c ---

void CANTO_CPU(gemm)(const canto_device *device, const canto_gemm_shape *shape, const void *a,
                     const void *b, void *c);

// --- rowwise.c ---

void CANTO_CPU(norm_forward)(const canto_device *device, int64_t rows, int64_t n, float eps,
                             const float *x, const float *w, float *y, float *rstd);
void CANTO_CPU(norm_backward)(const canto_device *device, int64_t rows, int64_t n, const float *x,
                              const float *w, const float *rstd, const float *dy, float *dx,
                              float *dw);
void CANTO_CPU(log_sigmoid_forward)(const canto_device *device, int64_t rows, int64_t n,
                                    float divisor, const float *x, const float *bias, float *y);
void CANTO_CPU(log_sigmoid_backward)(const canto_device *device, int64_t rows, int64_t n,
                                     float divisor, const float *x, const float *bias,
                                     const float *dy, float *dx, float *dbias);
void CANTO_CPU(rope)(const canto_device *device, int64_t rows, int heads, int dim, int64_t stride,
                     const float *table, int direction, float *x);
void CANTO_CPU(embed_forward)(const canto_device *device, int64_t tokens, int64_t n,
                              const int32_t *token, const float *table, float *y);
void CANTO_CPU(embed_backward)(const canto_device *device, int64_t tokens, int64_t n,
                               const int32_t *token, const float *dy, float *dtable);

// --- loss.c ---

void CANTO_CPU(loss_tile)(const canto_device *device, int64_t rows, int64_t n, int64_t first,
                          const float *logits, const int32_t *target, float *lse, float *picked);
void CANTO_CPU(loss_tile_backward)(const canto_device *device, int64_t rows, int64_t n,
                                   int64_t first, const int32_t *target, const float *lse,
                                   float scale, float *logits);

void CANTO_CPU(loss_sum)(const canto_device *device, int64_t rows, const int32_t *target,
                         const float *lse, const float *picked, double *sum);

// --- elementwise.c ---

void CANTO_CPU(glu_forward)(const canto_device *device, int64_t n, const float *gate,
                            const float *up, float *y);
void CANTO_CPU(glu_backward)(const canto_device *device, int64_t n, const float *gate,
                             const float *up, const float *dy, float *dgate, float *dup);
void CANTO_CPU(feature_forward)(const canto_device *device, canto_feature feature, int64_t rows,
                                int64_t n, int64_t stride, const float *x, float *y);
void CANTO_CPU(feature_backward)(const canto_device *device, canto_feature feature, int64_t rows,
                                 int64_t n, int64_t stride, const float *x, const float *dy,
                                 float *dx);
void CANTO_CPU(fill)(const canto_device *device, int64_t n, float value, float *x);
void CANTO_CPU(add)(const canto_device *device, int64_t n, const float *x, float *y);
void CANTO_CPU(multiply)(const canto_device *device, int64_t n, const float *x, const float *y,
                         float *z);
void CANTO_CPU(scale)(const canto_device *device, int64_t n, float factor, float *x);
void CANTO_CPU(copy)(const canto_device *device, int64_t n, const float *x, float *y);
void CANTO_CPU(narrow)(const canto_device *device, int64_t rows, int64_t n, int64_t stride,
                       const float *x, uint16_t *y);
void CANTO_CPU(sum_squares)(const canto_device *device, int64_t n, const float *x, double *sum);
void CANTO_CPU(adamw)(const canto_device *device, int64_t n, const canto_adamw *how,
                      const float *grad, float *param, float *first, float *second);

// --- threads.c ---

#define canto_cpu_threads CANTO_CPU(threads)

// That a loop may be shared by.
int canto_cpu_threads(void);

#endif
