// What the passes of gated linear attention share: chunks of tokens, powers of the gates. The gates
// of a key/value head are rows g_t [key_dim], each <= 0, in gates [T, kv_heads, key_dim] (Yang et
// al., arXiv 2312.06635).
//
// A chunk is a run of tokens inside a block of 64 whose gates after the first sum to no less than
// -CANTO_GATED_RANGE in any key dim. With P_i = the sum of gates 1 .. i of the chunk (P_0 = 0) and
// S the state before it, the passes are those without gates on u and v:
//
//     u_i = exp(P_i) q_i,   v_j = exp(-P_j) k_j,   T = diag(exp(g_0)) S
//     y_i = T' u_i + sum_{j <= i} (u_i . v_j) x_j
//     S  <- diag(exp(P_{n-1})) (T + sum_j v_j x_j')
//
// exp(-P_j) <= exp(range) by the choice of the chunk, so that nothing overflows and no product of
// the two loses digits, whatever the gates are: where they are strong, chunks are short, down to
// single tokens, in which only exp(g_0) <= 1 is left. Common gates fill blocks. Where a chunk ends
// depends on no token after it, so that no bit of an output depends on later tokens.
#ifndef CANTO_RUNTIME_CPU_GATED_BLOCK_H
#define CANTO_RUNTIME_CPU_GATED_BLOCK_H

#include "runtime/cpu/linear_block.h"

#define canto_gated_add                   CANTO_CPU(gated_add)
#define canto_gated_backward_head         CANTO_CPU(gated_backward_head)
#define canto_gated_backward_summary_head CANTO_CPU(gated_backward_summary_head)
#define canto_gated_chunk                 CANTO_CPU(gated_chunk)
#define canto_gated_factors               CANTO_CPU(gated_factors)
#define canto_gated_fall                  CANTO_CPU(gated_fall)
#define canto_gated_forward_head          CANTO_CPU(gated_forward_head)
#define canto_gated_read_head             CANTO_CPU(gated_read_head)
#define canto_gated_rise                  CANTO_CPU(gated_rise)
#define canto_gated_scale_columns         CANTO_CPU(gated_scale_columns)
#define canto_gated_scale_rows            CANTO_CPU(gated_scale_rows)
#define canto_gated_summary_head          CANTO_CPU(gated_summary_head)
#define canto_gated_work_count            CANTO_CPU(gated_work_count)

enum { CANTO_GATED_RANGE = 60 };

// The gates of a token.
static inline const float *canto_gated_row(const canto_linear_head *it, const float *gates,
                                           int64_t t)
{
    return gates + (t * it->shape->kv_heads + it->head) * it->shape->key_dim;
}

// Tokens of the chunk that begins at t of a run of `tokens`. rise [n, key_ld] (NULL: not wanted) =
// exp(P_i), 1 in the padding; sum [key_dim] = P_{n-1}.
int canto_gated_chunk(const canto_linear_head *it, const float *gates, int64_t tokens, int64_t t,
                      float *rise, double *sum);
// total [key_dim] += the gates of a chunk: those of its first token t, and `sum` of the others.
void canto_gated_add(const canto_linear_head *it, const float *gates, int64_t t, const double *sum,
                     double *total);

// rows [n, key_ld]: q to u, or a gradient of u to one of q.
void canto_gated_rise(const canto_linear_head *it, int n, const float *rise, float *rows);
// rows [n, key_ld]: k to v, or a gradient of v to one of k.
void canto_gated_fall(const canto_linear_head *it, int n, const float *rise, float *rows);

// factors [key_ld] = exp(gates of token t + total), total NULL: 0. Nothing of what is left of
// something below 1e-30 counts: then the factor is 0. Whether any is not 0.
bool canto_gated_factors(const canto_linear_head *it, const float *gates, int64_t t,
                         const double *total, float *factors);
// Row r of a state [key_dim, column_ld] is multiplied by factors[r].
void canto_gated_scale_rows(const canto_linear_head *it, const float *factors, float *state);
// Column r of a transposed state [columns, key_ld] is multiplied by factors[r].
void canto_gated_scale_columns(const canto_linear_head *it, const float *factors, float *state);

// --- one head of each pass; see runtime/backend.h ---

void canto_gated_forward_head(const canto_linear_head *it, int64_t tokens, const float *q,
                              const float *kv, const float *gates, const float *state_in, float *y,
                              float *state_out);
void canto_gated_read_head(const canto_linear_head *it, int64_t tokens, const float *q,
                           const float *gates, const float *state_in, float *y);
// summary: [state | transition]
void canto_gated_summary_head(const canto_linear_head *it, int64_t tokens, const float *kv,
                              const float *gates, float *summary);
void canto_gated_backward_summary_head(const canto_linear_head *it, int64_t tokens, const float *q,
                                       const float *gates, const float *dy, float *summary);

typedef struct canto_gated_arrays {
    const float *q, *kv, *gates, *dy, *state_in, *dstate_out; // borrowed
    float *dq, *dkv, *dgates;                                 // borrowed
} canto_gated_arrays;

// Floats of work of a head.
int64_t canto_gated_work_count(const canto_linear_head *it);
void canto_gated_backward_head(const canto_linear_head *it, int64_t tokens,
                               const canto_gated_arrays *a, float *work);

#endif
