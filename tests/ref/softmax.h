// Softmax attention over a whole sequence in double precision, pair by pair:
//
//     s_ij = scale q_i . k_j             for the pairs (i, j) that any band allows
//     lse_i = log sum_j exp(s_ij),       p_ij = exp(s_ij - lse_i),     o_i = sum_j p_ij v_j
//     dp_ij = dout_i . v_j,              ds_ij = p_ij (dp_ij - sum_j p_ij dp_ij)
//     dq_i = scale sum_j ds_ij k_j,      dk_j = scale sum_i ds_ij q_i,  dv_j = sum_i p_ij dout_i
//
// for each query head h with key head h / (heads / key_heads) and value head h / (heads /
// value_heads). Rows that may attend to nothing have o = 0, lse = -inf and no gradient.
//
// Shapes are those of runtime/backend.h: q, dq [queries, heads, key_dim]; kv, dkv [keys, key_heads
// * key_dim | value_heads * value_dim]; o, dout [queries, heads, value_dim]; lse [queries, heads].
// Row i of q is position i, row j of kv is position j. All outputs are overwritten. All functions
// are local.
#ifndef CANTO_TESTS_REF_SOFTMAX_H
#define CANTO_TESTS_REF_SOFTMAX_H

#include "runtime/backend.h"

void canto_ref_softmax_forward(const canto_attention_shape *shape, int64_t queries, int64_t keys,
                               int bands_n, const canto_band *bands, const double *q,
                               const double *kv, double *o, double *lse);
void canto_ref_softmax_backward(const canto_attention_shape *shape, int64_t queries, int64_t keys,
                                int bands_n, const canto_band *bands, const double *q,
                                const double *kv, const double *dout, double *dq, double *dkv);

#endif
