// Cross-entropy fused with the head (the idea of Wijmans et al., arXiv 2411.09009): for each block
// of tokens, one pass over the tiles of the vocabulary finds the log-sum-exp, a second computes
// each tile again, turns it into its gradient and uses it up. A vocabulary of one tile needs no
// second product. Sums of the loss are in double.
#include "layers/loss.h"

#include <math.h>

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

canto_status canto_head_create(const canto_builder *builder, int embedding, canto_head *head)
{
    const canto_model_config *config = builder->config;
    const int64_t d = config->d_model;
    *head = (canto_head){.vocab = config->vocab,
                         .id = embedding,
                         .tokens = smaller(builder->tokens, CANTO_LOSS_TOKENS),
                         .columns = smaller(config->vocab, CANTO_LOSS_COLUMNS)};
    const canto_param how = {.name = "head.weight",
                             .dims_n = 2,
                             .dims = {config->vocab, d},
                             .decays = true,
                             .init = CANTO_INIT_NORMAL,
                             .std = (float)config->init_std};
    canto_builder tile = *builder;
    tile.tokens = head->tokens;
    CANTO_TRY(canto_norm_create(&tile, "norm.weight", &head->norm));
    if (!config->tied) CANTO_TRY(canto_builder_param(builder, how.name, &how, &head->id));
    CANTO_TRY(canto_builder_scratch(&tile, "normed rows", head->tokens * d, &head->normed));
    CANTO_TRY(canto_builder_scratch(&tile, "dnormed rows", head->tokens * d, &head->dnormed));
    CANTO_TRY(canto_builder_scratch(&tile, "gradient of rows", head->tokens * d, &head->drows));
    CANTO_TRY(canto_builder_scratch(&tile, "logits", head->tokens * head->columns, &head->logits));
    CANTO_TRY(canto_builder_scratch(&tile, "lse", head->tokens, &head->lse));
    CANTO_TRY(canto_builder_scratch(&tile, "logits of targets", head->tokens, &head->picked));
    CANTO_TRY(canto_arena_array(&builder->arenas->work, "targets", builder->tokens,
                                sizeof *head->targets, (void **)&head->targets));
    return canto_arena_array(&builder->arenas->work, "loss", 1, sizeof *head->sum,
                             (void **)&head->sum);
}

// Logits of one tile, columns [first, first + n) of the vocabulary.
static void tile_logits(const canto_context *context, const canto_head *head, int64_t tokens,
                        int64_t first, int64_t n)
{
    const int64_t d = head->norm.n;
    const float *w = canto_params_value(context->params, head->id) + first * d;
    const canto_gemm_shape shape = {
        .trans_b = true, .m = tokens, .n = n, .k = d, .lda = d, .ldb = d, .ldc = n};
    context->device->kernels->gemm(context->device, &shape, head->normed, w, head->logits);
}

// *sum += the loss of a block of tokens; targets and sum are of the device.
static void block_loss(const canto_context *context, const canto_head *head, int64_t tokens,
                       const int32_t *targets)
{
    const canto_device *device = context->device;
    device->kernels->fill(device, tokens, -INFINITY, head->lse);
    for (int64_t first = 0; first < head->vocab; first += head->columns) {
        const int64_t n = smaller(head->columns, head->vocab - first);
        tile_logits(context, head, tokens, first, n);
        device->kernels->loss_tile(device, tokens, n, first, head->logits, targets, head->lse,
                                   head->picked);
    }
    device->kernels->loss_sum(device, tokens, targets, head->lse, head->picked, head->sum);
}

// After block_loss of the same block. dx: [tokens, d_model], may be x.
static void block_gradients(const canto_context *context, const canto_head *head, int64_t tokens,
                            const float *x, const int32_t *targets, float scale, float *dx)
{
    const canto_device *device = context->device;
    const int64_t d = head->norm.n;
    for (int64_t first = 0; first < head->vocab; first += head->columns) {
        const int64_t n = smaller(head->columns, head->vocab - first);
        const float *w = canto_params_value(context->params, head->id) + first * d;
        float *dw = canto_params_grad(context->params, head->id) + first * d;
        if (n < head->vocab) tile_logits(context, head, tokens, first, n);
        device->kernels->loss_tile_backward(device, tokens, n, first, targets, head->lse, scale,
                                            head->logits);
        const canto_gemm_shape to_w = {.trans_a = true,
                                       .adds = true,
                                       .m = n,
                                       .n = d,
                                       .k = tokens,
                                       .lda = n,
                                       .ldb = d,
                                       .ldc = d};
        const canto_gemm_shape to_x = {
            .adds = first > 0, .m = tokens, .n = d, .k = n, .lda = n, .ldb = d, .ldc = d};
        device->kernels->gemm(device, &to_w, head->logits, head->normed, dw);
        device->kernels->gemm(device, &to_x, head->logits, w, head->dnormed);
    }
    device->kernels->fill(device, tokens * d, 0, head->drows);
    canto_norm_backward(context, &head->norm, tokens, x, head->dnormed, head->drows);
    device->kernels->copy(device, tokens * d, head->drows, dx);
}

canto_status canto_head_loss(const canto_context *context, const canto_head *head, int64_t tokens,
                             const float *x, const int32_t *targets, float scale, float *dx,
                             double *loss_sum)
{
    const canto_device *device = context->device;
    const int64_t d = head->norm.n;
    *loss_sum = 0;
    CANTO_TRY(canto_device_upload(device, head->sum, loss_sum, sizeof *loss_sum));
    CANTO_TRY(
        canto_device_upload(device, head->targets, targets, sizeof *targets * (size_t)tokens));
    for (int64_t t = 0; t < tokens; t += head->tokens) {
        const int64_t n = smaller(head->tokens, tokens - t);
        const int32_t *own = head->targets + t;
        canto_norm_forward(context, &head->norm, n, x + t * d, head->normed);
        block_loss(context, head, n, own);
        if (dx) block_gradients(context, head, n, x + t * d, own, scale, dx + t * d);
    }
    return canto_device_download(device, loss_sum, head->sum, sizeof *loss_sum);
}

canto_status canto_head_logits(const canto_context *context, const canto_head *head, const float *x,
                               float *logits)
{
    const canto_device *device = context->device;
    canto_norm_forward(context, &head->norm, 1, x, head->normed);
    for (int64_t first = 0; first < head->vocab; first += head->columns) {
        const int64_t n = smaller(head->columns, head->vocab - first);
        tile_logits(context, head, 1, first, n);
        CANTO_TRY(canto_device_download(device, logits + first, head->logits,
                                        sizeof *logits * (size_t)n));
    }
    return CANTO_OK;
}
