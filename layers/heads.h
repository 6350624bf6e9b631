// What softmax and linear attention share: projections of rows into heads and back, rotation by
// positions. Internal to layers/.
#ifndef CANTO_LAYERS_HEADS_H
#define CANTO_LAYERS_HEADS_H

#include "layers/matrix.h"

typedef struct canto_heads {
    int heads, kv_heads;
    int key_dim, value_dim;
    canto_matrix wq, wk, wv, wo;
    const float *rope; // borrowed; NULL: no rotation
} canto_heads;

// Declares mixer.wq, wk, wv, wo of the builder's layer.
canto_status canto_heads_create(const canto_builder *builder, const canto_mixer_config *mixer,
                                canto_heads *heads);

// Widths of one token's row: queries, keys, keys and values, output.
int64_t canto_heads_q_width(const canto_heads *heads);
int64_t canto_heads_k_width(const canto_heads *heads);
int64_t canto_heads_kv_width(const canto_heads *heads);
int64_t canto_heads_o_width(const canto_heads *heads);

// q [tokens, q_width] and kv [tokens, k_width | v_width] from x [tokens, d_model]. Local.
void canto_heads_project(const canto_context *context, const canto_heads *heads, int64_t tokens,
                         const float *x, float *q, float *kv);
// dx = the gradient through the three projections, or added to it; weights' gradients +=. Local.
void canto_heads_project_backward(const canto_context *context, const canto_heads *heads,
                                  int64_t tokens, const float *x, const float *dq, const float *dkv,
                                  bool adds, float *dx);
// Turns queries and keys in place by their rows' angles, from row `first` of the table on;
// direction -1: back. Does nothing without a table. Local.
void canto_heads_rotate(const canto_context *context, const canto_heads *heads, int64_t first,
                        int64_t tokens, int direction, float *q, float *kv);

#endif
