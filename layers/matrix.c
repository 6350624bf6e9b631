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
    const canto_gemm_shape shape = {.m = tokens,
                                    .n = matrix->out,
                                    .k = matrix->in,
                                    .lda = matrix->in,
                                    .ldb = matrix->out,
                                    .ldc = ldy};
    context->device->kernels->gemm(context->device, &shape, x, w, y);
}

void canto_matrix_backward_weight(const canto_context *context, const canto_matrix *matrix,
                                  int64_t tokens, const float *x, const float *dy, int64_t lddy)
{
    float *dw = canto_params_grad(context->params, matrix->id);
    const canto_gemm_shape shape = {.trans_a = true,
                                    .adds = true,
                                    .m = matrix->in,
                                    .n = matrix->out,
                                    .k = tokens,
                                    .lda = matrix->in,
                                    .ldb = lddy,
                                    .ldc = matrix->out};
    context->device->kernels->gemm(context->device, &shape, x, dy, dw);
}

void canto_matrix_backward_input(const canto_context *context, const canto_matrix *matrix,
                                 int64_t tokens, const float *dy, int64_t lddy, bool adds,
                                 float *dx)
{
    const float *w = canto_params_value(context->params, matrix->id);
    const canto_gemm_shape shape = {.trans_b = true,
                                    .adds = adds,
                                    .m = tokens,
                                    .n = matrix->in,
                                    .k = matrix->out,
                                    .lda = lddy,
                                    .ldb = matrix->out,
                                    .ldc = matrix->in};
    context->device->kernels->gemm(context->device, &shape, dy, w, dx);
}
