// The gates of gated linear attention: how much each key dim of the state keeps at each token, as
// the input decides, through a projection of low rank. Internal to layers/.
//
//     gates = log(sigmoid(x Wdown Wup + b)) / 16      (Yang et al., arXiv 2312.06635)
//
// Wdown and Wup begin as all matrices do and b as 0, so that a state begins by keeping 2^(-1/16) =
// 0.957 at each token. (The authors draw their matrices wider and b as well.) Weight decay leaves
// all three alone, as other decays.
#ifndef CANTO_LAYERS_GATES_H
#define CANTO_LAYERS_GATES_H

#include "layers/matrix.h"

typedef struct canto_gates {
    canto_matrix down, up; // [d_model, 16], [16, width]
    int bias;              // parameter, [width]
    float *hidden;         // [tokens, 16]
    float *raw;            // [tokens, width]: before the bias
    float *g;              // [tokens, width]; the same array as raw when nothing is kept
    float *dg, *dhidden;   // with gradients
} canto_gates;

// width: key/value heads times key_dim. Declares mixer.decay_down, mixer.decay_up and
// mixer.decay_bias of the builder's layer.
canto_status canto_gates_create(const canto_builder *builder, int64_t width, canto_gates *gates);
// Memory for g and gradients, behind what is recalled.
canto_status canto_gates_create_scratch(const canto_builder *builder, canto_gates *gates);

// g from x [tokens, d_model]. Local, as are the others.
void canto_gates_forward(const canto_context *context, canto_gates *gates, int64_t tokens,
                         const float *x);
// g once more, from what is kept or recalled.
void canto_gates_again(const canto_context *context, canto_gates *gates, int64_t tokens);
// From dg, which is spent: dx +=, parameters' gradients +=.
void canto_gates_backward(const canto_context *context, canto_gates *gates, int64_t tokens,
                          const float *x, float *dx);

#endif
