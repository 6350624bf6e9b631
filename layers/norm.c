// RMSNorm (Zhang and Sennrich, arXiv 1910.07467) with the model's weights.
#include "layers/norm.h"

canto_status canto_norm_create(const canto_builder *builder, const char *name, canto_norm *norm)
{
    const int64_t n = builder->config->d_model;
    const canto_param how = {.dims_n = 1, .dims = {n}, .init = CANTO_INIT_ONES};
    norm->n = n;
    CANTO_TRY(canto_builder_param(builder, name, &how, &norm->id));
    return canto_builder_scratch(builder, "rstd of a norm", builder->tokens, &norm->rstd);
}

void canto_norm_forward(const canto_context *context, const canto_norm *norm, int64_t tokens,
                        const float *x, float *y)
{
    const float *w = canto_params_value(context->params, norm->id);
    context->device->kernels->norm_forward(context->device, tokens, norm->n, context->eps, x, w, y,
                                           norm->rstd);
}

void canto_norm_backward(const canto_context *context, const canto_norm *norm, int64_t tokens,
                         const float *x, const float *dy, float *dx)
{
    const float *w = canto_params_value(context->params, norm->id);
    float *dw = canto_params_grad(context->params, norm->id);
    context->device->kernels->norm_backward(context->device, tokens, norm->n, x, w, norm->rstd, dy,
                                            dx, dw);
}
