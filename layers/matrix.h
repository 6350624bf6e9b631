// A weight matrix W [in, out] among the parameters, applied to rows: y = x W. Internal to layers/.
#ifndef CANTO_LAYERS_MATRIX_H
#define CANTO_LAYERS_MATRIX_H

#include "layers/layer.h"

typedef struct canto_matrix {
    int id; // of the parameter
    int64_t in, out;
} canto_matrix;

// Initialised with the model's standard deviation times std_factor; `decays`: weight decay applies.
canto_status canto_matrix_create(const canto_builder *builder, const char *name, int64_t in,
                                 int64_t out, double std_factor, bool decays, canto_matrix *matrix);
// The factor for matrices that end a residual branch: 1 / sqrt(2 layers).
double canto_matrix_branch_factor(const canto_model_config *config);

// y = x W; x: [tokens, in] dense, y: [tokens, out] at row distance ldy. Local.
void canto_matrix_forward(const canto_context *context, const canto_matrix *matrix, int64_t tokens,
                          const float *x, float *y, int64_t ldy);
// dW += x' dy. Local.
void canto_matrix_backward_weight(const canto_context *context, const canto_matrix *matrix,
                                  int64_t tokens, const float *x, const float *dy, int64_t lddy);
// dx = dy W', or added to dx. Local.
void canto_matrix_backward_input(const canto_context *context, const canto_matrix *matrix,
                                 int64_t tokens, const float *dy, int64_t lddy, bool adds,
                                 float *dx);

#endif
