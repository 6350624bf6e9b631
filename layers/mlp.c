// SwiGLU (Shazeer, arXiv 2002.05202): y = (silu(x Wgate) * (x Wup)) Wdown. Sends nothing; keeps or
// recalls the two hidden arrays and computes their product again in the backward pass.
#include "layers/matrix.h"

#include <stdlib.h>

typedef struct mlp_layer {
    canto_layer base;
    canto_matrix w_gate, w_up, w_down;
    float *gate, *up;             // [T, d_mlp]
    float *hidden;                // [T, d_mlp]: the product
    float *dgate, *dup, *dhidden; // [T, d_mlp]
} mlp_layer;

static canto_status create_matrices(const canto_builder *builder, mlp_layer *layer)
{
    const canto_model_config *config = builder->config;
    const int64_t d = config->d_model;
    const int64_t m = config->d_mlp;
    CANTO_TRY(canto_matrix_create(builder, "mlp.w_gate", d, m, 1, true, &layer->w_gate));
    CANTO_TRY(canto_matrix_create(builder, "mlp.w_up", d, m, 1, true, &layer->w_up));
    return canto_matrix_create(builder, "mlp.w_down", m, d, canto_matrix_branch_factor(config),
                               true, &layer->w_down);
}

static canto_status mlp_create(const canto_builder *builder, canto_layer **out)
{
    mlp_layer *layer = calloc(1, sizeof *layer);
    if (!layer) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for layer %d", builder->layer);
    *out = &layer->base;
    layer->base = (canto_layer){.ops = &canto_layer_mlp, .context = builder->context};
    CANTO_TRY(create_matrices(builder, layer));
    const int64_t count = builder->tokens * builder->config->d_mlp;
    CANTO_TRY(canto_builder_recall(builder, "mlp gate", count, &layer->gate));
    CANTO_TRY(canto_builder_recall(builder, "mlp up", count, &layer->up));
    layer->base.recalled = canto_arena_mark(&builder->arenas->work);
    CANTO_TRY(canto_builder_scratch(builder, "mlp hidden", count, &layer->hidden));
    if (!builder->context->gradients) return CANTO_OK;
    CANTO_TRY(canto_builder_scratch(builder, "mlp dgate", count, &layer->dgate));
    CANTO_TRY(canto_builder_scratch(builder, "mlp dup", count, &layer->dup));
    return canto_builder_scratch(builder, "mlp dhidden", count, &layer->dhidden);
}

static void widen(mlp_layer *layer, int64_t tokens, const float *x)
{
    const canto_context *context = layer->base.context;
    const int64_t m = layer->w_gate.out;
    canto_matrix_forward(context, &layer->w_gate, tokens, x, layer->gate, m);
    canto_matrix_forward(context, &layer->w_up, tokens, x, layer->up, m);
}

static void narrow(mlp_layer *layer, int64_t tokens, float *y)
{
    const canto_context *context = layer->base.context;
    const canto_matrix *down = &layer->w_down;
    context->device->kernels->glu_forward(context->device, tokens * down->in, layer->gate,
                                          layer->up, layer->hidden);
    canto_matrix_forward(context, down, tokens, layer->hidden, y, down->out);
}

static canto_status mlp_decode(canto_layer *base, int64_t position, int64_t tokens, const float *x,
                               float *y)
{
    (void)position;
    widen((mlp_layer *)base, tokens, x);
    narrow((mlp_layer *)base, tokens, y);
    return CANTO_OK;
}

static canto_status mlp_forward(canto_layer *base, const float *x, float *y)
{
    return mlp_decode(base, 0, base->context->plan->tokens, x, y);
}

static canto_status mlp_recall(canto_layer *base, const float *x)
{
    widen((mlp_layer *)base, base->context->plan->tokens, x);
    return CANTO_OK;
}

static void mlp_output(canto_layer *base, float *y)
{
    narrow((mlp_layer *)base, base->context->plan->tokens, y);
}

static canto_status mlp_backward(canto_layer *base, const float *x, const float *dy, float *dx)
{
    mlp_layer *layer = (mlp_layer *)base;
    const canto_context *context = base->context;
    const canto_device *device = context->device;
    const int64_t tokens = context->plan->tokens;
    const int64_t m = layer->w_gate.out;
    const int64_t d = layer->w_down.out;
    device->kernels->glu_forward(device, tokens * m, layer->gate, layer->up, layer->hidden);
    canto_matrix_backward_weight(context, &layer->w_down, tokens, layer->hidden, dy, d);
    canto_matrix_backward_input(context, &layer->w_down, tokens, dy, d, 0, layer->dhidden);
    device->kernels->glu_backward(device, tokens * m, layer->gate, layer->up, layer->dhidden,
                                  layer->dgate, layer->dup);
    canto_matrix_backward_weight(context, &layer->w_gate, tokens, x, layer->dgate, m);
    canto_matrix_backward_weight(context, &layer->w_up, tokens, x, layer->dup, m);
    canto_matrix_backward_input(context, &layer->w_gate, tokens, layer->dgate, m, 0, dx);
    canto_matrix_backward_input(context, &layer->w_up, tokens, layer->dup, m, 1, dx);
    return CANTO_OK;
}

const canto_layer_ops canto_layer_mlp = {
    .name = "mlp",
    .create = mlp_create,
    .forward = mlp_forward,
    .backward = mlp_backward,
    .recall = mlp_recall,
    .output = mlp_output,
    .decode = mlp_decode,
};
