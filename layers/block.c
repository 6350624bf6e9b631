// Pre-norm residual block. Norms are computed again in the backward pass: they cost less than the
// memory of their results. What else is, the table `recalls` tells.
#include "layers/block.h"

#include <stdlib.h>

// --- making ---

// The builder of a part that forgets when as much as `least` is computed again.
static canto_builder forgetting(const canto_builder *builder, canto_recompute least)
{
    canto_builder part = *builder;
    part.forgets = builder->context->gradients && builder->config->recompute >= least;
    return part;
}

// What is wanted of the middle of a forgetful block ends where its mixer's backward pass begins.
static canto_status create_streams(const canto_builder *builder, float *x, float *spare,
                                   canto_block *block)
{
    const int64_t d = builder->config->d_model, count = builder->tokens * d;
    block->x = x;
    block->mid = spare;
    block->out = x;
    CANTO_TRY(canto_builder_scratch(builder, "normed rows", count, &block->normed));
    if (!builder->context->gradients) return CANTO_OK;
    const canto_builder middle = forgetting(builder, CANTO_RECOMPUTE_BLOCK);
    CANTO_TRY(canto_builder_recall(&middle, "middle of a block", count, &block->mid));
    CANTO_TRY(canto_builder_hold(builder, "output of a block", count, &block->out));
    CANTO_TRY(canto_builder_scratch(builder, "gradient of rows",
                                    canto_layer_rows(builder->tokens) * d, &block->drows));
    block->dnormed = block->mid;
    if (middle.forgets) return CANTO_OK;
    return canto_builder_scratch(builder, "gradient of normed rows", count, &block->dnormed);
}

// The mixer and the mlp run one after the other, so their scratch is the same memory. What the
// mixer recalls for the middle of the block has to outlive the mlp's backward pass.
static canto_status create_layers(const canto_builder *builder, canto_block *block)
{
    const canto_mixer_config *config = canto_model_mixer(builder->config, builder->layer);
    const canto_layer_ops *ops = config->kind->softmax ? &canto_layer_softmax : &canto_layer_linear;
    const canto_builder mixer = forgetting(builder, CANTO_RECOMPUTE_ATTENTION);
    const canto_builder mlp = forgetting(builder, CANTO_RECOMPUTE_BLOCK);
    canto_arena *work = &builder->arenas->work;
    const size_t mark = canto_arena_mark(work);
    CANTO_TRY(ops->create(&mixer, &block->mixer));
    canto_arena_release(work, mlp.forgets ? block->mixer->recalled : mark);
    return canto_mlp_create(&mlp, &block->mlp);
}

canto_status canto_block_create(const canto_builder *builder, float *x, float *spare,
                                canto_block *block)
{
    const size_t mark = canto_arena_mark(&builder->arenas->work);
    canto_builder few = *builder;
    few.tokens = canto_layer_rows(builder->tokens);
    block->recompute = builder->config->recompute;
    CANTO_TRY(create_streams(builder, x, spare, block));
    CANTO_TRY(canto_norm_create(builder, "norm1.weight", &block->norm1));
    CANTO_TRY(canto_norm_create(&few, "norm2.weight", &block->norm2));
    CANTO_TRY(create_layers(builder, block));
    canto_arena_release(&builder->arenas->work, mark);
    return CANTO_OK;
}

void canto_block_destroy(canto_block *block)
{
    free(block->mixer);
    *block = (canto_block){0};
}

// --- what the backward pass computes again ---

static canto_status recall_nothing(canto_block *block)
{
    (void)block;
    return CANTO_OK;
}

// `normed` is the layer's input again.
static canto_status recall_mixer(canto_block *block)
{
    return canto_layer_recall(block->mixer, block->normed);
}

static canto_status recall_middle(canto_block *block)
{
    const canto_context *context = block->mixer->context;
    const int64_t tokens = context->plan->tokens;
    canto_norm_forward(context, &block->norm1, tokens, block->x, block->normed);
    CANTO_TRY(recall_mixer(block));
    block->mixer->ops->output(block->mixer, block->normed, block->mid);
    context->device->kernels->add(context->device, tokens * block->norm1.n, block->x, block->mid);
    return CANTO_OK;
}

// Before the backward pass of the block, and of its mixer; the mlp looks after itself.
static const struct {
    canto_status (*first)(canto_block *), (*mixer)(canto_block *);
} recalls[] = {
    [CANTO_RECOMPUTE_NONE] = {recall_nothing, recall_nothing},
    [CANTO_RECOMPUTE_ATTENTION] = {recall_nothing, recall_mixer},
    [CANTO_RECOMPUTE_BLOCK] = {recall_middle, recall_nothing},
};

// --- running ---

static void begin_mlp(const canto_block *block)
{
    const canto_plan *plan = block->mixer->context->plan;
    if (plan) canto_trace_begin(plan->trace, CANTO_TRACE_COMPUTE, "mlp", NULL, 0);
}

static void end_mlp(const canto_block *block)
{
    const canto_plan *plan = block->mixer->context->plan;
    if (plan) canto_trace_end(plan->trace);
}

// out = mid + mlp(norm(mid))
static void mlp_forward(canto_block *block, int64_t tokens)
{
    const canto_context *context = block->mixer->context;
    const int64_t d = block->norm2.n;
    begin_mlp(block);
    for (int64_t t = 0; t < tokens; t += CANTO_LAYER_ROWS) {
        const int64_t n = canto_layer_rows(tokens - t);
        const float *mid = block->mid + t * d;
        canto_norm_forward(context, &block->norm2, n, mid, block->normed);
        canto_mlp_forward(&block->mlp, t, n, block->normed, block->out + t * d);
        context->device->kernels->add(context->device, n * d, mid, block->out + t * d);
    }
    end_mlp(block);
}

static void mlp_backward(canto_block *block, int64_t tokens, float *dstream)
{
    const canto_context *context = block->mixer->context;
    const int64_t d = block->norm2.n;
    begin_mlp(block);
    for (int64_t t = 0; t < tokens; t += CANTO_LAYER_ROWS) {
        const int64_t n = canto_layer_rows(tokens - t);
        const float *mid = block->mid + t * d;
        float *own = dstream + t * d;
        canto_norm_forward(context, &block->norm2, n, mid, block->normed);
        canto_mlp_backward(&block->mlp, t, n, block->normed, own, block->drows);
        canto_norm_backward(context, &block->norm2, n, mid, block->drows, own);
    }
    end_mlp(block);
}

canto_status canto_block_forward(canto_block *block)
{
    const canto_context *context = block->mixer->context;
    const int64_t tokens = context->plan->tokens;
    canto_norm_forward(context, &block->norm1, tokens, block->x, block->normed);
    CANTO_TRY(canto_layer_forward(block->mixer, block->normed, block->mid));
    context->device->kernels->add(context->device, tokens * block->norm1.n, block->x, block->mid);
    mlp_forward(block, tokens);
    return CANTO_OK;
}

// The gradient of a sum goes to both terms: `dstream` stays, and each branch adds its own.
canto_status canto_block_backward(canto_block *block, float *dstream)
{
    const canto_context *context = block->mixer->context;
    const int64_t tokens = context->plan->tokens;
    CANTO_TRY(recalls[block->recompute].first(block));
    mlp_backward(block, tokens, dstream);
    canto_norm_forward(context, &block->norm1, tokens, block->x, block->normed);
    CANTO_TRY(recalls[block->recompute].mixer(block));
    CANTO_TRY(canto_layer_backward(block->mixer, block->normed, dstream, block->dnormed));
    canto_norm_backward(context, &block->norm1, tokens, block->x, block->dnormed, dstream);
    return CANTO_OK;
}

canto_status canto_block_decode(canto_block *block, int64_t position, int64_t tokens)
{
    const canto_context *context = block->mixer->context;
    const int64_t count = tokens * block->norm1.n;
    canto_norm_forward(context, &block->norm1, tokens, block->x, block->normed);
    CANTO_TRY(block->mixer->ops->decode(block->mixer, position, tokens, block->normed, block->mid));
    context->device->kernels->add(context->device, count, block->x, block->mid);
    mlp_forward(block, tokens);
    return CANTO_OK;
}
