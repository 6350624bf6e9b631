// RMSNorm over d_model with a weight. Internal to layers/.
#ifndef CANTO_LAYERS_NORM_H
#define CANTO_LAYERS_NORM_H

#include "layers/layer.h"

typedef struct canto_norm {
    int id; // of the weight, [n]
    int64_t n;
    float *rstd; // [tokens], from the last forward run
} canto_norm;

// `rstd` is scratch: whoever runs backward runs forward again first.
canto_status canto_norm_create(const canto_builder *builder, const char *name, canto_norm *norm);

// y = x / rms(x) * w. Local.
void canto_norm_forward(const canto_context *context, const canto_norm *norm, int64_t tokens,
                        const float *x, float *y);
// dx += the gradient through the norm; dw +=. Local.
void canto_norm_backward(const canto_context *context, const canto_norm *norm, int64_t tokens,
                         const float *x, const float *dy, float *dx);

#endif
