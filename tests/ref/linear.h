// Linear attention over a whole sequence in double precision, token by token; see
// canto_linear_shape in runtime/backend.h:
//
//     S_t = diag(keep_t) S_{t-1} + k_t x_t',   y_t = S_t' q_t
//
// keep_t = exp(log_decay) of the head, or exp(gate) of each key dim, but 0 at the first token of a
// document; x_t = v_t, with a constant 1 appended when shape->ones is set. The adjoint, from the
// last token to the first, with G_t = the gradient of S_t:
//
//     G_t = diag(keep_{t+1}) G_{t+1} + q_t dy_t',   dq_t = S_t dy_t,   dk_t = G_t x_t,
//     dx_t = G_t' k_t,   dgate_t = keep_t * rowsum(S_{t-1} * G_t)
//
// Shapes: q, dq [tokens, heads, key_dim]; kv, dkv [tokens, kv_heads * key_dim | kv_heads *
// value_dim]; gates, dgates [tokens, kv_heads, key_dim] or NULL; y, dy [tokens, heads, columns];
// states [kv_heads, key_dim, columns]. `starts` are the
// first tokens of documents in ascending order; 0 may be among them or not, and state_in is
// what a document without a start came with (NULL: zero). All outputs are overwritten; state_out
// and dstate_in may be NULL (not wanted), dstate_out may be NULL (zero). All functions are local.
#ifndef CANTO_TESTS_REF_LINEAR_H
#define CANTO_TESTS_REF_LINEAR_H

#include "runtime/backend.h"

typedef struct canto_ref_documents {
    int starts_n;
    const int64_t *starts; // borrowed, [starts_n]
} canto_ref_documents;

void canto_ref_linear_forward(const canto_linear_shape *shape, int64_t tokens,
                              canto_ref_documents documents, const double *q, const double *kv,
                              const double *gates, const double *state_in, double *y,
                              double *state_out);
void canto_ref_linear_backward(const canto_linear_shape *shape, int64_t tokens,
                               canto_ref_documents documents, const double *q, const double *kv,
                               const double *gates, const double *state_in, const double *dy,
                               const double *dstate_out, double *dq, double *dkv, double *dgates,
                               double *dstate_in);

// o = y[:, :value_dim] / (y[:, value_dim] + eps), and its adjoint.
void canto_ref_normalise(int64_t entries, int value_dim, double eps, const double *y, double *o);
void canto_ref_normalise_backward(int64_t entries, int value_dim, double eps, const double *y,
                                  const double *dout, double *dy);

#endif
