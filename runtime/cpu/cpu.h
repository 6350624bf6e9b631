// The cpu's kernels, one function per slot of the backend table; runtime/backend.h is their
// contract. Only runtime/backend_cpu.c and unit tests include this header.
#ifndef CANTO_RUNTIME_CPU_CPU_H
#define CANTO_RUNTIME_CPU_CPU_H

#include "runtime/backend.h"

// --- attention.c, attention_backward.c, attention_merge.c ---

void canto_cpu_attention_forward(const canto_attention_shape *shape, const canto_band *tile,
                                 const float *q, const float *kv, float *o, float *lse);
void canto_cpu_attention_backward(const canto_attention_shape *shape, const canto_band *tile,
                                  const float *q, const float *kv, const float *dout,
                                  const float *lse, const float *delta, float *dq, float *dkv);
void canto_cpu_attention_merge(int64_t entries, int value_dim, const float *o_other,
                               const float *lse_other, float *o, float *lse);
void canto_cpu_attention_delta(int64_t entries, int value_dim, const float *dout, const float *o,
                               float *delta);

// --- linear.c, linear_backward.c, linear_normalise.c ---

size_t canto_cpu_linear_work_bytes(const canto_linear_shape *shape, int64_t tokens);
void canto_cpu_linear_forward(const canto_linear_shape *shape, int64_t tokens, const float *q,
                              const float *kv, const float *state_in, float *y, float *state_out);
void canto_cpu_linear_summary(const canto_linear_shape *shape, int64_t tokens, const float *kv,
                              float *state_out);
void canto_cpu_linear_read(const canto_linear_shape *shape, int64_t tokens, const float *q,
                           const float *state_in, float *y);
void canto_cpu_linear_backward_summary(const canto_linear_shape *shape, int64_t tokens,
                                       const float *q, const float *dy, float *dstate_in);
void canto_cpu_linear_backward(const canto_linear_shape *shape, int64_t tokens, const float *q,
                               const float *kv, const float *state_in, const float *dy,
                               const float *dstate_out, float *dq, float *dkv, void *work);
void canto_cpu_linear_normalise(int64_t entries, int value_dim, float eps, const float *y,
                                float *o);
void canto_cpu_linear_normalise_backward(int64_t entries, int value_dim, float eps, const float *y,
                                         const float *dout, float *dy);

// --- gemm.c, rows.c, loss.c, elements.c ---

#endif
