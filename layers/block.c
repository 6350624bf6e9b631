// Pre-norm residual block. Norms are computed again in the backward pass: they cost less than the
// memory of their results.
#include "layers/block.h"

#include <stdlib.h>

static canto_status create_streams(const canto_builder *builder, float *x, float *spare,
                                   canto_block *block)
{
    const int64_t count = builder->tokens * builder->config->d_model;
    block->x = x;
    block->mid = spare;
    block->out = x;
    CANTO_TRY(canto_builder_scratch(builder, "normed rows", count, &block->normed));
    if (!builder->context->gradients) return CANTO_OK;
    CANTO_TRY(canto_builder_hold(builder, "middle of a block", count, &block->mid));
    CANTO_TRY(canto_builder_hold(builder, "output of a block", count, &block->out));
    return canto_builder_scratch(builder, "gradient of normed rows", count, &block->dnormed);
}

// The mixer and the mlp run one after the other, so their scratch is the same memory.
static canto_status create_sharing(const canto_builder *builder, const canto_layer_ops *ops,
                                   canto_layer **out)
{
    const size_t mark = canto_arena_mark(&builder->arenas->work);
    CANTO_TRY(ops->create(builder, out));
    canto_arena_release(&builder->arenas->work, mark);
    return CANTO_OK;
}

canto_status canto_block_create(const canto_builder *builder, float *x, float *spare,
                                canto_block *block)
{
    const canto_mixer_config *mixer = canto_model_mixer(builder->config, builder->layer);
    const size_t mark = canto_arena_mark(&builder->arenas->work);
    CANTO_TRY(create_streams(builder, x, spare, block));
    CANTO_TRY(canto_norm_create(builder, "norm1.weight", &block->norm1));
    CANTO_TRY(canto_norm_create(builder, "norm2.weight", &block->norm2));
    CANTO_TRY(create_sharing(
        builder, mixer->kind->softmax ? &canto_layer_softmax : &canto_layer_linear, &block->mixer));
    CANTO_TRY(create_sharing(builder, &canto_layer_mlp, &block->mlp));
    canto_arena_release(&builder->arenas->work, mark);
    return CANTO_OK;
}

void canto_block_destroy(canto_block *block)
{
    free(block->mixer);
    free(block->mlp);
    *block = (canto_block){0};
}

canto_status canto_block_forward(canto_block *block)
{
    const canto_context *context = block->mixer->context;
    const int64_t tokens = context->plan->tokens;
    const int64_t count = tokens * block->norm1.n;
    canto_norm_forward(context, &block->norm1, tokens, block->x, block->normed);
    CANTO_TRY(canto_layer_forward(block->mixer, block->normed, block->mid));
    context->device->kernels->add(context->device, count, block->x, block->mid);
    canto_norm_forward(context, &block->norm2, tokens, block->mid, block->normed);
    CANTO_TRY(canto_layer_forward(block->mlp, block->normed, block->out));
    context->device->kernels->add(context->device, count, block->mid, block->out);
    return CANTO_OK;
}

// The gradient of a sum goes to both terms: `dstream` stays, and each branch adds its own.
canto_status canto_block_backward(canto_block *block, float *dstream)
{
    const canto_context *context = block->mixer->context;
    const int64_t tokens = context->plan->tokens;
    canto_norm_forward(context, &block->norm2, tokens, block->mid, block->normed);
    CANTO_TRY(canto_layer_backward(block->mlp, block->normed, dstream, block->dnormed));
    canto_norm_backward(context, &block->norm2, tokens, block->mid, block->dnormed, dstream);
    canto_norm_forward(context, &block->norm1, tokens, block->x, block->normed);
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
    canto_norm_forward(context, &block->norm2, tokens, block->mid, block->normed);
    CANTO_TRY(block->mlp->ops->decode(block->mlp, position, tokens, block->normed, block->out));
    context->device->kernels->add(context->device, count, block->mid, block->out);
    return CANTO_OK;
}
