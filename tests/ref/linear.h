// Matrix-state attention over a whole sequence in double precision, token by token; see
// canto_linear_shape in runtime/backend.h:
//
//     B_t = diag(keep_t) S_{t-1},   S_t = B_t + k_t e_t',   e_t = x_t - B_t' r_t,   y_t = S_t' q_t
//
// keep_t = exp(log_decay) of the head, or exp(gate) of the head or of each key dim, but 0 at the
// first token of a document; x_t = v_t, with a constant 1 appended when shape->ones is set; r_t = 0
// unless it erases. The adjoint, from the last token to the first, with G = the gradient of S_t,
// which takes in q_t dy_t' first:
//
//     dq = S_t dy,   dk = G e,   dx = G' k,   dr = -B dx,   dB = G - r dx',
//     dgate = rowsum(B * dB) (summed over rows for a gate a head),   dS_{t-1} = diag(keep) dB
//
// Shapes: q, dq [tokens, heads, key_dim]; kv, dkv [tokens, kv_heads * key_dim | kv_heads *
// value_dim]; erase, derase [tokens, kv_heads, key_dim]; gates, dgates [tokens, kv_heads, gate
// width]; y, dy [tokens, heads, columns]; states [kv_heads, key_dim, columns]. `starts` are the
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

// What a run reads; erase and gates NULL where the shape has none.
typedef struct canto_ref_run {
    int64_t tokens;
    canto_ref_documents documents;
    const double *q, *kv, *erase, *gates; // borrowed
} canto_ref_run;

typedef struct canto_ref_gradients {
    double *dq, *dkv, *derase, *dgates; // borrowed; the last two NULL where the run has NULL
} canto_ref_gradients;

void canto_ref_linear_forward(const canto_linear_shape *shape, const canto_ref_run *run,
                              const double *state_in, double *y, double *state_out);
void canto_ref_linear_backward(const canto_linear_shape *shape, const canto_ref_run *run,
                               const double *state_in, const double *dy, const double *dstate_out,
                               const canto_ref_gradients *gradients, double *dstate_in);

// o = y[:, :value_dim] / (y[:, value_dim] + eps), and its adjoint.
void canto_ref_normalise(int64_t entries, int value_dim, double eps, const double *y, double *o);
void canto_ref_normalise_backward(int64_t entries, int value_dim, double eps, const double *y,
                                  const double *dout, double *dy);

#endif
