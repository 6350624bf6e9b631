// SwiGLU (Shazeer, arXiv 2002.05202): y = (silu(x Wgate) * (x Wup)) Wdown. Looks at one token at a
// time and sends nothing, so that it runs over a few rows together. Internal to layers/.
#ifndef CANTO_LAYERS_MLP_H
#define CANTO_LAYERS_MLP_H

#include "layers/matrix.h"

typedef struct canto_mlp {
    const canto_context *context; // borrowed
    canto_matrix w_gate, w_up, w_down;
    bool keeps;                   // the two hidden arrays of all tokens
    float *gate, *up;             // [T or rows, d_mlp]
    float *hidden;                // [rows, d_mlp]: the product
    float *dgate, *dup, *dhidden; // [rows, d_mlp]
} canto_mlp;

// rows: canto_layer_rows of the builder's tokens. A builder that forgets keeps nothing.
canto_status canto_mlp_create(const canto_builder *builder, canto_mlp *mlp);
// y = mlp(x) for the n <= rows tokens from token `first` on; x, y: [n, d_model]. Local, as is
// backward.
void canto_mlp_forward(canto_mlp *mlp, int64_t first, int64_t n, const float *x, float *y);
// dx = gradient of the same x; parameters' gradients +=.
void canto_mlp_backward(canto_mlp *mlp, int64_t first, int64_t n, const float *x, const float *dy,
                        float *dx);

#endif
