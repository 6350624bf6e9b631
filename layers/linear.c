// Linear attention, every kind in the table of layers/mixer.h:
//
//     q, k, v = x Wq, x Wk, x Wv;  q, k = feature(q) [/ sqrt(key_dim)], feature(k);  turn q and k
//     y = read of the state, which decays by constants or by gates of the data (layers/gates.h;
//         parallel/recur.h: one affine scan over the sequence)
//     o = y / (normaliser + eps), or y normed;  o = o * (x Wgate) or silu(x Wgate);  out = o Wo
//
// Basic: Katharopoulos et al., arXiv 2006.16236. Lightning: Qin et al., arXiv 2405.17381.
// Retention: Sun et al., arXiv 2307.08621. GLA: Yang et al., arXiv 2312.06635. What is sent is the
// plan's business. Kept for the backward pass: the incoming states; q and kv before the feature
// map, y and the gates unless they are recalled. What follows y looks at one token at a time and is
// done with CANTO_LAYER_ROWS of them together. Decoding keeps one state.
#include "layers/gates.h"
#include "layers/heads.h"
#include "parallel/recur.h"

#include <math.h>
#include <stdlib.h>

// Keeps y / normaliser finite where all features vanish.
#define NORMALISER_EPS 1e-6f

typedef struct linear_layer {
    canto_layer base;
    const canto_mixer_kind *kind;
    canto_heads heads;
    canto_linear_shape shape;
    canto_gates gates;        // of the state, of gated kinds; g is NULL otherwise
    canto_matrix w_gate;      // of kinds with an output gate
    float *raw_q, *raw_kv;    // projections; [T, q_width], [T, kv_width]
    float *q, *kv;            // after the feature map; the same arrays when nothing is kept
    float *y;                 // [T, heads, columns]; its gradient once that is known
    bool keeps_gate;          // for all tokens
    float *gate;              // [T or rows, heads * value_dim]
    float *o;                 // [rows, heads, value_dim]: y, normalised
    float *gated;             // [rows, heads * value_dim]: o * gate or o * silu(gate), or o itself
    float *rstd;              // [rows, heads]
    float *states;            // incoming states of segments; for decoding the state
    float *dq, *dkv;          // [T, ...]
    float *dy, *dout, *dgate; // [rows, ...]
    void *work;
} linear_layer;

// What forward fills from its input and the incoming states.
static canto_status create_recalled(const canto_builder *builder, linear_layer *layer)
{
    const int64_t tokens = builder->tokens;
    const canto_heads *heads = &layer->heads;
    const int64_t y_width = heads->heads * canto_linear_columns(&layer->shape);
    CANTO_TRY(canto_builder_recall(builder, "q before features",
                                   tokens * canto_heads_q_width(heads), &layer->raw_q));
    CANTO_TRY(canto_builder_recall(builder, "kv before features",
                                   tokens * canto_heads_kv_width(heads), &layer->raw_kv));
    CANTO_TRY(canto_builder_recall(builder, "y", tokens * y_width, &layer->y));
    layer->keeps_gate = builder->context->gradients && !builder->forgets;
    if (layer->kind->gate && layer->keeps_gate)
        CANTO_TRY(
            canto_builder_hold(builder, "gate", tokens * canto_heads_o_width(heads), &layer->gate));
    if (layer->kind->gated)
        CANTO_TRY(canto_gates_create(builder, canto_heads_k_width(heads), &layer->gates));
    layer->base.recalled = canto_arena_mark(&builder->arenas->work);
    return CANTO_OK;
}

static canto_status create_features(const canto_builder *builder, linear_layer *layer)
{
    const int64_t q_count = builder->tokens * canto_heads_q_width(&layer->heads);
    const int64_t kv_count = builder->tokens * canto_heads_kv_width(&layer->heads);
    layer->q = layer->raw_q;
    layer->kv = layer->raw_kv;
    if (layer->kind->gated) CANTO_TRY(canto_gates_create_scratch(builder, &layer->gates));
    if (!builder->context->gradients) return CANTO_OK;
    CANTO_TRY(canto_builder_scratch(builder, "q", q_count, &layer->q));
    return canto_builder_scratch(builder, "kv", kv_count, &layer->kv);
}

static canto_status create_output(const canto_builder *builder, linear_layer *layer)
{
    const int64_t rows = canto_layer_rows(builder->tokens), heads = layer->shape.heads;
    const int64_t o_count = rows * canto_heads_o_width(&layer->heads);
    CANTO_TRY(canto_builder_scratch(builder, "o", o_count, &layer->o));
    CANTO_TRY(canto_builder_scratch(builder, "rstd of y", rows * heads, &layer->rstd));
    layer->gated = layer->o;
    if (!layer->kind->gate) return CANTO_OK;
    CANTO_TRY(canto_matrix_create(builder, "mixer.gate", builder->config->d_model,
                                  canto_heads_o_width(&layer->heads), 1, false, &layer->w_gate));
    if (!layer->keeps_gate)
        CANTO_TRY(canto_builder_scratch(builder, "gate", o_count, &layer->gate));
    return canto_builder_scratch(builder, "gated o", o_count, &layer->gated);
}

static canto_status create_backward(const canto_builder *builder, linear_layer *layer)
{
    const int64_t tokens = builder->tokens, rows = canto_layer_rows(tokens);
    const canto_heads *heads = &layer->heads;
    const int64_t y_width = heads->heads * canto_linear_columns(&layer->shape);
    const int64_t o_count = rows * canto_heads_o_width(heads);
    CANTO_TRY(
        canto_builder_scratch(builder, "dq", tokens * canto_heads_q_width(heads), &layer->dq));
    CANTO_TRY(
        canto_builder_scratch(builder, "dkv", tokens * canto_heads_kv_width(heads), &layer->dkv));
    CANTO_TRY(canto_builder_scratch(builder, "dy", rows * y_width, &layer->dy));
    CANTO_TRY(canto_builder_scratch(builder, "dout", o_count, &layer->dout));
    if (!layer->kind->gate) return CANTO_OK;
    return canto_builder_scratch(builder, "dgate", o_count, &layer->dgate);
}

static canto_status create_states(const canto_builder *builder, linear_layer *layer)
{
    const canto_plan *plan = builder->context->plan;
    const int64_t state = canto_linear_state_count(&layer->shape);
    if (!plan) return canto_builder_hold(builder, "state", state, &layer->states);
    CANTO_TRY(canto_builder_keep(builder, "incoming states",
                                 canto_recur_states_count(plan, &layer->shape), &layer->states));
    return canto_arena_take(&builder->arenas->work, "linear attention buffers",
                            canto_recur_work_bytes(plan, &layer->shape), &layer->work);
}

static canto_status upload_decay(const canto_builder *builder, const canto_mixer_config *mixer,
                                 float *log_decay)
{
    if (builder->arenas->step.measuring) return CANTO_OK;
    for (int h = 0; h < mixer->kv_heads; h++) {
        const float own = -canto_decay_slope(mixer->decay, h, mixer->kv_heads, builder->layer,
                                             builder->config->layers);
        CANTO_TRY(canto_device_upload(builder->context->device, log_decay + h, &own, sizeof own));
    }
    return CANTO_OK;
}

static canto_status set_shape(const canto_builder *builder, const canto_mixer_config *mixer,
                              linear_layer *layer)
{
    layer->shape =
        (canto_linear_shape){.heads = mixer->heads,
                             .kv_heads = mixer->kv_heads,
                             .key_dim = mixer->key_dim,
                             .value_dim = mixer->value_dim,
                             .ones = mixer->normaliser,
                             .gate = mixer->kind->gated ? CANTO_GATE_KEY : CANTO_GATE_NONE};
    if (mixer->decay == CANTO_DECAY_NONE) return CANTO_OK;
    float *log_decay;
    CANTO_TRY(canto_builder_hold(builder, "decays", mixer->kv_heads, &log_decay));
    layer->shape.log_decay = log_decay;
    return upload_decay(builder, mixer, log_decay);
}

static canto_status linear_create(const canto_builder *builder, canto_layer **out)
{
    const canto_mixer_config *mixer = canto_model_mixer(builder->config, builder->layer);
    linear_layer *layer = calloc(1, sizeof *layer);
    if (!layer) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for layer %d", builder->layer);
    *out = &layer->base;
    layer->base = (canto_layer){.ops = &canto_layer_linear, .context = builder->context};
    layer->kind = mixer->kind;
    CANTO_TRY(set_shape(builder, mixer, layer));
    CANTO_TRY(canto_heads_create(builder, mixer, &layer->heads));
    CANTO_TRY(create_recalled(builder, layer));
    CANTO_TRY(create_features(builder, layer));
    CANTO_TRY(create_output(builder, layer));
    if (builder->context->gradients) CANTO_TRY(create_backward(builder, layer));
    return create_states(builder, layer);
}

// q and kv from their projections: feature map, scale of q, positions, from row `first` of the
// rotary table on.
static void features(linear_layer *layer, int64_t first, int64_t tokens)
{
    const canto_device *device = layer->base.context->device;
    const canto_feature feature = layer->kind->feature;
    const int64_t q_width = canto_heads_q_width(&layer->heads);
    const int64_t k_width = canto_heads_k_width(&layer->heads);
    const int64_t row = canto_heads_kv_width(&layer->heads);
    device->kernels->feature_forward(device, feature, tokens, q_width, q_width, layer->raw_q,
                                     layer->q);
    device->kernels->feature_forward(device, feature, tokens, k_width, row, layer->raw_kv,
                                     layer->kv);
    if (layer->kv != layer->raw_kv)
        device->kernels->feature_forward(device, CANTO_FEATURE_IDENTITY, tokens, row - k_width, row,
                                         layer->raw_kv + k_width, layer->kv + k_width);
    if (layer->kind->scale_q)
        device->kernels->scale(device, tokens * q_width, 1.0f / sqrtf((float)layer->shape.key_dim),
                               layer->q);
    canto_heads_rotate(layer->base.context, &layer->heads, first, tokens, 1, layer->q, layer->kv);
}

// In place: gradients of q and kv to those of their projections.
static void features_backward(linear_layer *layer, int64_t tokens)
{
    const canto_device *device = layer->base.context->device;
    const canto_feature feature = layer->kind->feature;
    const int64_t q_width = canto_heads_q_width(&layer->heads);
    const int64_t k_width = canto_heads_k_width(&layer->heads);
    const int64_t row = canto_heads_kv_width(&layer->heads);
    canto_heads_rotate(layer->base.context, &layer->heads, 0, tokens, -1, layer->dq, layer->dkv);
    if (layer->kind->scale_q)
        device->kernels->scale(device, tokens * q_width, 1.0f / sqrtf((float)layer->shape.key_dim),
                               layer->dq);
    device->kernels->feature_backward(device, feature, tokens, q_width, q_width, layer->raw_q,
                                      layer->dq, layer->dq);
    device->kernels->feature_backward(device, feature, tokens, k_width, row, layer->raw_kv,
                                      layer->dkv, layer->dkv);
}

// Elements that one root mean square is taken over; 0: no norm.
static int64_t norm_width(const linear_layer *layer)
{
    const int64_t widths[] = {
        [CANTO_OUTPUT_NORM_NONE] = 0,
        [CANTO_OUTPUT_NORM_HEAD] = layer->shape.value_dim,
        [CANTO_OUTPUT_NORM_FULL] = canto_heads_o_width(&layer->heads),
    };
    return widths[layer->kind->output_norm];
}

// Tokens [first, first + n), with their rows of arrays that are kept for all.
typedef struct rows {
    int64_t n;
    float *y, *gate;
} rows;

static rows rows_of(const linear_layer *layer, int64_t tokens, int64_t first)
{
    const int64_t gate = layer->keeps_gate ? first * canto_heads_o_width(&layer->heads) : 0;
    return (rows){.n = canto_layer_rows(tokens - first),
                  .y = layer->y + first * layer->heads.heads * canto_linear_columns(&layer->shape),
                  .gate = layer->gate ? layer->gate + gate : NULL};
}

static void compute_gate(const linear_layer *layer, rows at, const float *x)
{
    const canto_matrix *w = &layer->w_gate;
    if (at.gate) canto_matrix_forward(layer->base.context, w, at.n, x, at.gate, w->out);
}

// o from y, and gated from o and the gate.
static void read_out(linear_layer *layer, rows at)
{
    const canto_context *context = layer->base.context;
    const canto_device *device = context->device;
    const int64_t count = at.n * canto_heads_o_width(&layer->heads);
    const int64_t width = norm_width(layer);
    if (layer->shape.ones) {
        device->kernels->linear_normalise(device, at.n * layer->shape.heads, layer->shape.value_dim,
                                          NORMALISER_EPS, at.y, layer->o);
    } else if (width) {
        device->kernels->norm_forward(device, count / width, width, context->eps, at.y, NULL,
                                      layer->o, layer->rstd);
    } else {
        device->kernels->copy(device, count, at.y, layer->o);
    }
    if (layer->kind->gate == CANTO_OUTPUT_GATE_LINEAR)
        device->kernels->multiply(device, count, layer->o, at.gate, layer->gated);
    if (layer->kind->gate == CANTO_OUTPUT_GATE_SWISH)
        device->kernels->glu_forward(device, count, at.gate, layer->o, layer->gated);
}

// y becomes its gradient, from that of o; needs the rstd of read_out.
static void read_out_backward(linear_layer *layer, rows at)
{
    const canto_device *device = layer->base.context->device;
    const int64_t count = at.n * canto_heads_o_width(&layer->heads);
    const int64_t width = norm_width(layer);
    if (layer->shape.ones) {
        const int64_t entries = at.n * layer->shape.heads;
        device->kernels->linear_normalise_backward(device, entries, layer->shape.value_dim,
                                                   NORMALISER_EPS, at.y, layer->dout, layer->dy);
        device->kernels->copy(device, entries * canto_linear_columns(&layer->shape), layer->dy,
                              at.y);
    } else if (width) {
        device->kernels->fill(device, count, 0, layer->dy);
        device->kernels->norm_backward(device, count / width, width, at.y, NULL, layer->rstd,
                                       layer->dout, layer->dy, NULL);
        device->kernels->copy(device, count, layer->dy, at.y);
    } else {
        device->kernels->copy(device, count, layer->dout, at.y);
    }
}

// All that is made of the input alone: of row `first` of the rotary table and those after it.
static void project(linear_layer *layer, int64_t first, int64_t tokens, const float *x)
{
    const canto_context *context = layer->base.context;
    canto_heads_project(context, &layer->heads, tokens, x, layer->raw_q, layer->raw_kv);
    features(layer, first, tokens);
    if (layer->kind->gated) canto_gates_forward(context, &layer->gates, tokens, x);
}

static void project_output(linear_layer *layer, int64_t tokens, const float *x, float *out)
{
    const canto_matrix *wo = &layer->heads.wo;
    for (int64_t t = 0; t < tokens; t += CANTO_LAYER_ROWS) {
        const rows at = rows_of(layer, tokens, t);
        compute_gate(layer, at, x + t * wo->out);
        read_out(layer, at);
        canto_matrix_forward(layer->base.context, wo, at.n, layer->gated, out + t * wo->out,
                             wo->out);
    }
}

static void linear_output(canto_layer *base, const float *x, float *y)
{
    project_output((linear_layer *)base, base->context->plan->tokens, x, y);
}

static canto_status linear_forward(canto_layer *base, const float *x, float *y)
{
    linear_layer *layer = (linear_layer *)base;
    canto_plan *plan = base->context->plan;
    project(layer, 0, plan->tokens, x);
    CANTO_TRY(canto_recur_forward(plan, &layer->shape, layer->q, layer->kv, layer->gates.g,
                                  layer->y, layer->states, layer->work));
    linear_output(base, x, y);
    return CANTO_OK;
}

static canto_status linear_recall(canto_layer *base, const float *x)
{
    linear_layer *layer = (linear_layer *)base;
    canto_plan *plan = base->context->plan;
    project(layer, 0, plan->tokens, x);
    return canto_recur_again(plan, &layer->shape, layer->q, layer->kv, layer->gates.g,
                             layer->states, layer->y, layer->work);
}

// dx = the gradient through the gate; dout becomes that of the ungated output.
static void gate_backward(linear_layer *layer, rows at, const float *x, float *dx)
{
    const canto_context *context = layer->base.context;
    const canto_device *device = context->device;
    const int64_t width = layer->w_gate.out, count = at.n * width;
    if (layer->kind->gate == CANTO_OUTPUT_GATE_SWISH) {
        device->kernels->glu_backward(device, count, at.gate, layer->o, layer->dout, layer->dgate,
                                      layer->dout);
    } else {
        device->kernels->multiply(device, count, layer->dout, layer->o, layer->dgate);
        device->kernels->multiply(device, count, layer->dout, at.gate, layer->dout);
    }
    canto_matrix_backward_weight(context, &layer->w_gate, at.n, x, layer->dgate, width);
    canto_matrix_backward_input(context, &layer->w_gate, at.n, layer->dgate, width, false, dx);
}

// From the gradient of the layer's output to that of y; dx = what goes through the gate.
static void output_backward(linear_layer *layer, int64_t tokens, const float *x, const float *dout,
                            float *dx)
{
    const canto_context *context = layer->base.context;
    const canto_matrix *wo = &layer->heads.wo;
    for (int64_t t = 0; t < tokens; t += CANTO_LAYER_ROWS) {
        const rows at = rows_of(layer, tokens, t);
        const float *own = dout + t * wo->out;
        if (!layer->keeps_gate) compute_gate(layer, at, x + t * wo->out);
        read_out(layer, at);
        canto_matrix_backward_weight(context, wo, at.n, layer->gated, own, wo->out);
        canto_matrix_backward_input(context, wo, at.n, own, wo->out, false, layer->dout);
        if (at.gate) gate_backward(layer, at, x + t * wo->out, dx + t * wo->out);
        read_out_backward(layer, at);
    }
}

static canto_status linear_backward(canto_layer *base, const float *x, const float *dy, float *dx)
{
    linear_layer *layer = (linear_layer *)base;
    const canto_context *context = base->context;
    const int64_t tokens = context->plan->tokens;
    output_backward(layer, tokens, x, dy, dx);
    features(layer, 0, tokens);
    if (layer->kind->gated) canto_gates_again(context, &layer->gates, tokens);
    CANTO_TRY(canto_recur_backward(context->plan, &layer->shape, layer->q, layer->kv,
                                   layer->gates.g, layer->states, layer->y, layer->dq, layer->dkv,
                                   layer->gates.dg, layer->work));
    features_backward(layer, tokens);
    canto_heads_project_backward(context, &layer->heads, tokens, x, layer->dq, layer->dkv,
                                 layer->gate != NULL, dx);
    if (layer->kind->gated) canto_gates_backward(context, &layer->gates, tokens, x, dx);
    return CANTO_OK;
}

static canto_status linear_decode(canto_layer *base, int64_t position, int64_t tokens,
                                  const float *x, float *y)
{
    linear_layer *layer = (linear_layer *)base;
    const canto_context *context = base->context;
    project(layer, position, tokens, x);
    const canto_linear_run run = {
        .tokens = tokens, .q = layer->q, .kv = layer->kv, .gates = layer->gates.g};
    context->device->kernels->linear_forward(context->device, &layer->shape, &run,
                                             position ? layer->states : NULL, layer->y,
                                             layer->states);
    project_output(layer, tokens, x, y);
    return CANTO_OK;
}

static canto_traffic linear_traffic(const canto_layer *base, bool backward)
{
    const linear_layer *layer = (const linear_layer *)base;
    return canto_plan_recur_traffic(base->context->plan, &layer->shape, backward);
}

const canto_layer_ops canto_layer_linear = {
    .name = "linear",
    .create = linear_create,
    .forward = linear_forward,
    .backward = linear_backward,
    .recall = linear_recall,
    .output = linear_output,
    .decode = linear_decode,
    .traffic = linear_traffic,
};
