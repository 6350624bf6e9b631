// Softmax attention (Vaswani et al., arXiv 1706.03762) with grouped heads (Ainslie et al., arXiv
// 2305.13245) and rotary positions:
//
//     q, k, v = x Wq, x Wk, x Wv;  turn q and k;  o = attention under the plan's mask;  y = o Wo
//
// What is sent is the plan's business. Kept for the backward pass: o, lse; q, kv unless they are
// recalled. Decoding keeps the keys and values of all earlier tokens.
#include "layers/heads.h"

#include <math.h>
#include <stdlib.h>

typedef struct softmax_layer {
    canto_layer base;
    canto_heads heads;
    canto_attention_shape shape;
    int64_t window; // 0: everything before
    int mask;       // of the plan
    float *q;       // [T, heads, key_dim], turned
    float *kv;      // [T, kv_width], turned; [capacity, kv_width] for decoding
    float *o;       // [T, heads, value_dim]
    float *lse;     // [T, heads]
    float *dq, *dkv, *dout, *delta;
    void *work; // of the plan
} softmax_layer;

static canto_status create_backward(const canto_builder *builder, softmax_layer *layer)
{
    const int64_t tokens = builder->tokens;
    const canto_heads *heads = &layer->heads;
    CANTO_TRY(
        canto_builder_scratch(builder, "dq", tokens * canto_heads_q_width(heads), &layer->dq));
    CANTO_TRY(
        canto_builder_scratch(builder, "dkv", tokens * canto_heads_kv_width(heads), &layer->dkv));
    CANTO_TRY(
        canto_builder_scratch(builder, "dout", tokens * canto_heads_o_width(heads), &layer->dout));
    return canto_builder_scratch(builder, "delta", tokens * heads->heads, &layer->delta);
}

static canto_status create_plan(const canto_builder *builder, softmax_layer *layer)
{
    canto_plan *plan = builder->context->plan;
    const int64_t left = layer->window ? layer->window - 1 : CANTO_UNLIMITED;
    CANTO_TRY(canto_plan_add_mask(plan, &builder->arenas->tables, left, 0, &layer->mask));
    const size_t bytes = canto_plan_work_bytes(plan, layer->mask, &layer->shape);
    return canto_arena_take(&builder->arenas->work, "attention buffers", bytes, &layer->work);
}

static canto_status create_buffers(const canto_builder *builder, softmax_layer *layer)
{
    const int64_t tokens = builder->tokens;
    const canto_heads *heads = &layer->heads;
    const int64_t kv_width = canto_heads_kv_width(heads);
    CANTO_TRY(canto_builder_recall(builder, "q", tokens * canto_heads_q_width(heads), &layer->q));
    if (builder->context->plan)
        CANTO_TRY(canto_builder_recall(builder, "kv", tokens * kv_width, &layer->kv));
    layer->base.recalled = canto_arena_mark(&builder->arenas->work);
    CANTO_TRY(canto_builder_keep(builder, "o", tokens * canto_heads_o_width(heads), &layer->o));
    CANTO_TRY(canto_builder_keep(builder, "lse", tokens * heads->heads, &layer->lse));
    if (!builder->context->plan)
        return canto_builder_hold(builder, "key/value cache", builder->capacity * kv_width,
                                  &layer->kv);
    if (builder->context->gradients) CANTO_TRY(create_backward(builder, layer));
    return create_plan(builder, layer);
}

static canto_status softmax_create(const canto_builder *builder, canto_layer **out)
{
    const canto_mixer_config *mixer = canto_model_mixer(builder->config, builder->layer);
    softmax_layer *layer = calloc(1, sizeof *layer);
    if (!layer) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for layer %d", builder->layer);
    *out = &layer->base;
    layer->base = (canto_layer){.ops = &canto_layer_softmax, .context = builder->context};
    layer->window = mixer->window;
    layer->shape = (canto_attention_shape){.heads = mixer->heads,
                                           .key_heads = mixer->kv_heads,
                                           .value_heads = mixer->kv_heads,
                                           .key_dim = mixer->key_dim,
                                           .value_dim = mixer->value_dim,
                                           .scale = 1.0f / sqrtf((float)mixer->key_dim)};
    CANTO_TRY(canto_heads_create(builder, mixer, &layer->heads));
    return create_buffers(builder, layer);
}

static canto_status softmax_recall(canto_layer *base, const float *x)
{
    softmax_layer *layer = (softmax_layer *)base;
    const canto_context *context = base->context;
    const int64_t tokens = context->plan->tokens;
    canto_heads_project(context, &layer->heads, tokens, x, layer->q, layer->kv);
    canto_heads_rotate(context, &layer->heads, 0, tokens, 1, layer->q, layer->kv);
    return CANTO_OK;
}

static void softmax_output(canto_layer *base, const float *x, float *y)
{
    (void)x;
    softmax_layer *layer = (softmax_layer *)base;
    const canto_matrix *wo = &layer->heads.wo;
    canto_matrix_forward(base->context, wo, base->context->plan->tokens, layer->o, y, wo->out);
}

static canto_status softmax_forward(canto_layer *base, const float *x, float *y)
{
    softmax_layer *layer = (softmax_layer *)base;
    CANTO_TRY(softmax_recall(base, x));
    CANTO_TRY(canto_plan_attend_forward(base->context->plan, layer->mask, &layer->shape, layer->q,
                                        layer->kv, layer->o, layer->lse, layer->work));
    softmax_output(base, x, y);
    return CANTO_OK;
}

static canto_status softmax_backward(canto_layer *base, const float *x, const float *dy, float *dx)
{
    softmax_layer *layer = (softmax_layer *)base;
    const canto_context *context = base->context;
    const canto_matrix *wo = &layer->heads.wo;
    const int64_t tokens = context->plan->tokens;
    canto_matrix_backward_weight(context, wo, tokens, layer->o, dy, wo->out);
    canto_matrix_backward_input(context, wo, tokens, dy, wo->out, false, layer->dout);
    CANTO_TRY(canto_plan_attend_backward(context->plan, layer->mask, &layer->shape, layer->q,
                                         layer->kv, layer->o, layer->lse, layer->dout, layer->delta,
                                         layer->dq, layer->dkv, layer->work));
    canto_heads_rotate(context, &layer->heads, 0, tokens, -1, layer->dq, layer->dkv);
    canto_heads_project_backward(context, &layer->heads, tokens, x, layer->dq, layer->dkv, false,
                                 dx);
    return CANTO_OK;
}

// One banded rectangle: the new queries against the part of the cache that any of them sees.
static canto_status softmax_decode(canto_layer *base, int64_t position, int64_t tokens,
                                   const float *x, float *y)
{
    softmax_layer *layer = (softmax_layer *)base;
    const canto_context *context = base->context;
    const canto_heads *heads = &layer->heads;
    const int64_t kv_width = canto_heads_kv_width(heads);
    float *new_kv = layer->kv + position * kv_width;
    canto_heads_project(context, heads, tokens, x, layer->q, new_kv);
    canto_heads_rotate(context, heads, position, tokens, 1, layer->q, new_kv);

    canto_band tile = {position, position + tokens, 0, position + tokens, CANTO_BAND_MIN, 0};
    if (layer->window) {
        tile.lo = 1 - layer->window;
        tile.k0 = position + tile.lo > 0 ? position + tile.lo : 0;
    }
    context->device->kernels->fill(context->device, tokens * canto_heads_o_width(heads), 0,
                                   layer->o);
    context->device->kernels->fill(context->device, tokens * heads->heads, -INFINITY, layer->lse);
    context->device->kernels->attention_forward(context->device, &layer->shape, &tile, layer->q,
                                                layer->kv + tile.k0 * kv_width, layer->o,
                                                layer->lse);
    canto_matrix_forward(context, &heads->wo, tokens, layer->o, y, heads->wo.out);
    return CANTO_OK;
}

static canto_traffic softmax_traffic(const canto_layer *base, bool backward)
{
    const softmax_layer *layer = (const softmax_layer *)base;
    return canto_plan_attend_traffic(base->context->plan, layer->mask, &layer->shape, backward);
}

const canto_layer_ops canto_layer_softmax = {
    .name = "softmax",
    .create = softmax_create,
    .forward = softmax_forward,
    .backward = softmax_backward,
    .recall = softmax_recall,
    .output = softmax_output,
    .decode = softmax_decode,
    .traffic = softmax_traffic,
};
