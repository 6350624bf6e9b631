// Makes the parts of a model in the order of their buckets: blocks first, surroundings last.
#include "layers/stack.h"

#include <stdlib.h>

static canto_status create_blocks(canto_builder *builder, canto_stack *stack)
{
    const int64_t count = builder->tokens * builder->config->d_model;
    float *spare = NULL;
    CANTO_TRY(canto_arena_array(&builder->arenas->step, "tokens", builder->tokens,
                                sizeof *stack->tokens, (void **)&stack->tokens));
    CANTO_TRY(canto_builder_hold(builder, "embedded tokens", count, &stack->x));
    if (!builder->context->gradients)
        CANTO_TRY(canto_builder_hold(builder, "middle of all blocks", count, &spare));
    stack->out = stack->x;
    for (int i = 0; i < stack->config.layers; i++) {
        builder->layer = i;
        CANTO_TRY(canto_block_create(builder, stack->out, spare, &stack->blocks[i]));
        stack->out = stack->blocks[i].out;
    }
    return CANTO_OK;
}

static canto_status create_surroundings(canto_builder *builder, canto_stack *stack)
{
    const canto_param how = {.dims_n = 2,
                             .dims = {stack->config.vocab, stack->config.d_model},
                             .decays = true,
                             .init = CANTO_INIT_NORMAL,
                             .std = (float)stack->config.init_std};
    const size_t mark = canto_arena_mark(&builder->arenas->work);
    builder->layer = stack->config.layers;
    CANTO_TRY(canto_builder_param(builder, "embed.table", &how, &stack->embedding));
    CANTO_TRY(canto_head_create(builder, stack->embedding, &stack->head));
    canto_arena_release(&builder->arenas->work, mark);
    return CANTO_OK;
}

// Room for the operands of the largest product of a block.
static canto_status create_operands(const canto_builder *builder, canto_stack *stack)
{
    const canto_params *params = &stack->params;
    canto_context *context = &stack->context;
    int64_t widest = 0;
    for (int p = 0; p < params->n; p++) {
        const canto_param *param = &params->list[p];
        for (int i = 0; param->bucket < stack->config.layers && i < param->dims_n; i++)
            widest = param->dims[i] > widest ? param->dims[i] : widest;
    }
    const int64_t count = canto_layer_rows(builder->tokens) * widest;
    canto_arena *arena = &builder->arenas->step;
    CANTO_TRY(canto_arena_array(arena, "left operand in bf16", count, sizeof *context->left,
                                (void **)&context->left));
    return canto_arena_array(arena, "right operand in bf16", count, sizeof *context->right,
                             (void **)&context->right);
}

canto_status canto_stack_create(canto_arenas *arenas, const canto_stack_desc *desc,
                                canto_stack *stack)
{
    *stack = (canto_stack){.config = *desc->config};
    stack->context = (canto_context){.device = desc->device,
                                     .params = &stack->params,
                                     .plan = desc->plan,
                                     .gradients = desc->gradients,
                                     .dtype = desc->plan ? stack->config.dtype : CANTO_F32,
                                     .eps = (float)stack->config.norm_eps};
    canto_builder builder = {.context = &stack->context,
                             .config = &stack->config,
                             .arenas = arenas,
                             .ropes = &stack->ropes,
                             .tokens = desc->tokens,
                             .capacity = desc->capacity};
    stack->blocks = calloc((size_t)stack->config.layers, sizeof *stack->blocks);
    if (!stack->blocks)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "model: no memory for %d blocks", stack->config.layers);
    CANTO_TRY(canto_params_begin(&stack->params, desc->device, stack->config.layers + 1));
    CANTO_TRY(create_blocks(&builder, stack));
    CANTO_TRY(create_surroundings(&builder, stack));
    if (stack->context.dtype == CANTO_BF16) CANTO_TRY(create_operands(&builder, stack));
    return canto_params_allocate(&stack->params, &arenas->params, desc->gradients,
                                 stack->context.dtype == CANTO_BF16);
}

void canto_stack_destroy(canto_stack *stack)
{
    for (int i = 0; stack->blocks && i < stack->config.layers; i++)
        canto_block_destroy(&stack->blocks[i]);
    free(stack->blocks);
    stack->blocks = NULL;
    canto_params_destroy(&stack->params);
}

canto_status canto_stack_embed(canto_stack *stack, int64_t tokens_n, const int32_t *tokens)
{
    for (int64_t t = 0; t < tokens_n; t++) {
        CANTO_CHECK(tokens[t] >= 0 && tokens[t] < stack->config.vocab,
                    "embedding: token %d at %lld lies outside of the vocabulary of %d", tokens[t],
                    (long long)t, stack->config.vocab);
    }
    const canto_device *device = stack->context.device;
    const float *table = canto_params_value(&stack->params, stack->embedding);
    CANTO_TRY(
        canto_device_upload(device, stack->tokens, tokens, sizeof *tokens * (size_t)tokens_n));
    device->kernels->embed_forward(device, tokens_n, stack->config.d_model, stack->tokens, table,
                                   stack->x);
    return CANTO_OK;
}
