// Two matrix products and a log sigmoid, forward and backward. Kept for the backward pass: both
// products; the gates themselves cost less to make again than to keep.
#include "layers/gates.h"

enum { RANK = 16 };
#define DIVISOR 16.0f

canto_status canto_gates_create(const canto_builder *builder, int64_t width, canto_gates *gates)
{
    const canto_param bias = {.dims_n = 1, .dims = {width}, .init = CANTO_INIT_ZEROS};
    const int64_t tokens = builder->tokens;
    CANTO_TRY(canto_matrix_create(builder, "mixer.decay_down", builder->config->d_model, RANK, 1,
                                  false, &gates->down));
    CANTO_TRY(canto_matrix_create(builder, "mixer.decay_up", RANK, width, 1, false, &gates->up));
    CANTO_TRY(canto_builder_param(builder, "mixer.decay_bias", &bias, &gates->bias));
    CANTO_TRY(canto_builder_recall(builder, "hidden gates", tokens * RANK, &gates->hidden));
    return canto_builder_recall(builder, "gates before bias", tokens * width, &gates->raw);
}

canto_status canto_gates_create_scratch(const canto_builder *builder, canto_gates *gates)
{
    const int64_t tokens = builder->tokens, width = gates->up.out;
    gates->g = gates->raw;
    if (!builder->context->gradients) return CANTO_OK;
    CANTO_TRY(canto_builder_scratch(builder, "gates", tokens * width, &gates->g));
    CANTO_TRY(canto_builder_scratch(builder, "dgates", tokens * width, &gates->dg));
    return canto_builder_scratch(builder, "dhidden", tokens * RANK, &gates->dhidden);
}

void canto_gates_forward(const canto_context *context, canto_gates *gates, int64_t tokens,
                         const float *x)
{
    canto_matrix_forward(context, &gates->down, tokens, x, gates->hidden, RANK);
    canto_matrix_forward(context, &gates->up, tokens, gates->hidden, gates->raw, gates->up.out);
    canto_gates_again(context, gates, tokens);
}

void canto_gates_again(const canto_context *context, canto_gates *gates, int64_t tokens)
{
    const float *bias = canto_params_value(context->params, gates->bias);
    context->device->kernels->log_sigmoid_forward(context->device, tokens, gates->up.out, DIVISOR,
                                                  gates->raw, bias, gates->g);
}

void canto_gates_backward(const canto_context *context, canto_gates *gates, int64_t tokens,
                          const float *x, float *dx)
{
    const int64_t width = gates->up.out;
    const float *bias = canto_params_value(context->params, gates->bias);
    context->device->kernels->log_sigmoid_backward(context->device, tokens, width, DIVISOR,
                                                   gates->raw, bias, gates->dg, gates->dg,
                                                   canto_params_grad(context->params, gates->bias));
    canto_matrix_backward_weight(context, &gates->up, tokens, gates->hidden, gates->dg, width);
    canto_matrix_backward_input(context, &gates->up, tokens, gates->dg, width, false,
                                gates->dhidden);
    canto_matrix_backward_weight(context, &gates->down, tokens, x, gates->dhidden, RANK);
    canto_matrix_backward_input(context, &gates->down, tokens, gates->dhidden, RANK, true, dx);
}
