// One training step of a model, forward and backward face to face. What is sent is the business of
// the plan (activations' sake) and of the gradient reducer; a bucket is a block, the last bucket is
// what surrounds them.
#include "layers/model.h"
#include "layers/stack.h"

#include <stdlib.h>

struct canto_model {
    canto_stack stack;
    float *dstream; // [tokens, d_model]: gradient of the residual stream, in the place of its end
};

canto_status canto_model_create(canto_arenas *arenas, const canto_model_config *config,
                                canto_plan *plan, const canto_device *device, bool gradients,
                                canto_model **out)
{
    const canto_stack_desc desc = {.config = config,
                                   .device = device,
                                   .plan = plan,
                                   .gradients = gradients,
                                   .tokens = plan->tokens};
    canto_model *model = calloc(1, sizeof *model);
    if (!model) CANTO_FAIL(CANTO_ERROR_MEMORY, "model: no memory for its description");
    canto_status status = canto_stack_create(arenas, &desc, &model->stack);
    if (status == CANTO_OK) model->dstream = model->stack.out;
    if (status != CANTO_OK) canto_model_destroy(&model);
    *out = model;
    return status;
}

void canto_model_destroy(canto_model **model)
{
    if (!*model) return;
    canto_stack_destroy(&(*model)->stack);
    free(*model);
    *model = NULL;
}

canto_params *canto_model_params(canto_model *model)
{
    return &model->stack.params;
}

void canto_model_zero_grads(canto_model *model)
{
    const canto_device *device = model->stack.context.device;
    const canto_params *params = &model->stack.params;
    device->kernels->fill(device, canto_params_count(params), 0, params->grads);
}

canto_traffic canto_model_traffic(const canto_model *model, bool backward)
{
    const canto_stack *stack = &model->stack;
    canto_traffic sum = {0};
    for (int i = 0; i < stack->config.layers; i++) {
        const canto_layer *mixer = stack->blocks[i].mixer;
        if (mixer->ops->traffic) sum = canto_traffic_add(sum, mixer->ops->traffic(mixer, backward));
    }
    return sum;
}

// The parameters of a bucket as the forward pass reads them.
static canto_status need_bucket(canto_model *model, canto_grad *grad, int bucket)
{
    if (grad) {
        CANTO_TRY(canto_grad_poll(grad));
        CANTO_TRY(canto_grad_gather_need(grad, bucket));
    }
    canto_params_round(&model->stack.params, bucket);
    return CANTO_OK;
}

canto_status canto_model_forward(canto_model *model, const int32_t *tokens, canto_grad *grad)
{
    canto_stack *stack = &model->stack;
    canto_trace *trace = stack->context.plan->trace;
    CANTO_TRY(need_bucket(model, grad, stack->config.layers));
    CANTO_TRY(canto_stack_embed(stack, stack->context.plan->tokens, tokens));
    for (int i = 0; i < stack->config.layers; i++) {
        CANTO_TRY(need_bucket(model, grad, i));
        canto_trace_begin(trace, CANTO_TRACE_COMPUTE, "block", "layer", i);
        CANTO_TRY(canto_block_forward(&stack->blocks[i]));
        canto_trace_end(trace);
    }
    return CANTO_OK;
}

canto_status canto_model_loss(canto_model *model, const int32_t *targets, float scale,
                              bool gradients, double *loss_sum)
{
    canto_stack *stack = &model->stack;
    const int64_t tokens = stack->context.plan->tokens;
    CANTO_CHECK(!gradients || stack->context.gradients,
                "model: gradients of a model that was made without");
    for (int64_t t = 0; t < tokens; t++) {
        CANTO_CHECK(targets[t] >= -1 && targets[t] < stack->config.vocab,
                    "loss: target %d at %lld lies outside of the vocabulary of %d", targets[t],
                    (long long)t, stack->config.vocab);
    }
    return canto_head_loss(&stack->context, &stack->head, tokens, stack->out, targets, scale,
                           gradients ? model->dstream : NULL, loss_sum);
}

static canto_status start_bucket(canto_grad *grad, int bucket)
{
    if (!grad) return CANTO_OK;
    CANTO_TRY(canto_grad_start(grad, bucket));
    return canto_grad_poll(grad);
}

canto_status canto_model_backward(canto_model *model, canto_grad *grad)
{
    canto_stack *stack = &model->stack;
    const canto_context *context = &stack->context;
    canto_trace *trace = context->plan->trace;
    for (int i = stack->config.layers - 1; i >= 0; i--) {
        canto_trace_begin(trace, CANTO_TRACE_COMPUTE, "block backward", "layer", i);
        CANTO_TRY(canto_block_backward(&stack->blocks[i], model->dstream));
        canto_trace_end(trace);
        CANTO_TRY(start_bucket(grad, i));
    }
    const canto_device *device = stack->context.device;
    device->kernels->embed_backward(device, context->plan->tokens, stack->config.d_model,
                                    stack->tokens, model->dstream,
                                    canto_params_grad(&stack->params, stack->embedding));
    return start_bucket(grad, stack->config.layers);
}
