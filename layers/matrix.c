// One matrix product forward, two backward.
#include "layers/matrix.h"

#include <math.h>

double canto_matrix_branch_factor(const canto_model_config *config)
{
    return 1.0 / sqrt(2.0 * config->layers);
}

canto_status canto_matrix_create(const canto_builder *builder, const char *name, int64_t in,
                                 int64_t out, double std_factor, bool decays, canto_matrix *matrix)
{
    const canto_param how = {.dims_n = 2,
                             .dims = {in, out},
                             .decays = decays,
                             .init = CANTO_INIT_NORMAL,
                             .std = (float)(builder->config->init_std * std_factor)};
    *matrix = (canto_matrix){.in = in, .out = out};
    return canto_builder_param(builder, name, &how, &matrix->id);
}

void canto_matrix_forward(const canto_context *context, const canto_matrix *matrix, int64_t tokens,
                          const float *x, float *y, int64_t ldy)
{
    const float *w = canto_params_value(context->params, matrix->id);
    context->device->kernels->gemm(context->device, false, false, tokens, matrix->out, matrix->in,
                                   1, x, matrix->in, w, matrix->out, 0, y, ldy);
}

void canto_matrix_backward_weight(const canto_context *context, const canto_matrix *matrix,
                                  int64_t tokens, const float *x, const float *dy, int64_t lddy)
{
    float *dw = canto_params_grad(context->params, matrix->id);
    context->device->kernels->gemm(context->device, true, false, matrix->in, matrix->out, tokens, 1,
                                   x, matrix->in, dy, lddy, 1, dw, matrix->out);
}

void canto_matrix_backward_input(const canto_context *context, const canto_matrix *matrix,
                                 int64_t tokens, const float *dy, int64_t lddy, float beta,
                                 float *dx)
{
    const float *w = canto_params_value(context->params, matrix->id);
    context->device->kernels->gemm(context->device, false, true, tokens, matrix->in, matrix->out, 1,
                                   dy, lddy, w, matrix->out, beta, dx, matrix->in);
}
