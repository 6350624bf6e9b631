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

static bool is_half(const canto_context *context)
{
    return context->dtype == CANTO_BF16;
}

static canto_status create_halves(const canto_builder *builder, canto_head *head)
{
    canto_arena *work = &builder->arenas->work;
    if (!is_half(builder->context)) return CANTO_OK;
    CANTO_TRY(canto_arena_array(work, "normed rows in bf16", head->tokens * head->norm.n,
                                sizeof *head->half_normed, (void **)&head->half_normed));
    if (!builder->context->gradients) return CANTO_OK;
    return canto_arena_array(work, "gradients of logits in bf16", head->tokens * head->columns,
                             sizeof *head->half_logits, (void **)&head->half_logits);
}

canto_status canto_head_create(const canto_builder *builder, int embedding, canto_head *head)
{
    const canto_model_config *config = builder->config;
    const int64_t d = config->d_model;
    *head = (canto_head){.vocab = config->vocab,
                         .id = embedding,
                         .tokens = smaller(builder->tokens, CANTO_LOSS_TOKENS),
                         .columns = smaller(config->vocab, is_half(builder->context)
                                                               ? CANTO_LOSS_COLUMNS_BF16
                                                               : CANTO_LOSS_COLUMNS)};
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
    CANTO_TRY(create_halves(builder, head));
    CANTO_TRY(canto_builder_scratch(&tile, "lse", head->tokens, &head->lse));
    CANTO_TRY(canto_builder_scratch(&tile, "logits of targets", head->tokens, &head->picked));
    CANTO_TRY(canto_arena_array(&builder->arenas->work, "targets", builder->tokens,
                                sizeof *head->targets, (void **)&head->targets));
    return canto_arena_array(&builder->arenas->work, "loss", 1, sizeof *head->sum,
                             (void **)&head->sum);
}

// Operands of products: rows of the head's matrix from `first` on, and the normed rows, which
// norm_rows has made.
static const void *weights(const canto_context *context, const canto_head *head, int64_t first)
{
    const int64_t at = first * head->norm.n;
    if (is_half(context)) return canto_params_half(context->params, head->id) + at;
    return canto_params_value(context->params, head->id) + at;
}

static const void *normed(const canto_context *context, const canto_head *head)
{
    return is_half(context) ? (const void *)head->half_normed : head->normed;
}

static void norm_rows(const canto_context *context, const canto_head *head, int64_t tokens,
                      const float *x)
{
    const int64_t d = head->norm.n;
    canto_norm_forward(context, &head->norm, tokens, x, head->normed);
    if (is_half(context))
        context->device->kernels->narrow(context->device, tokens, d, d, head->normed,
                                         head->half_normed);
}

// Gradients of a tile of logits as an operand.
static const void *operand(const canto_context *context, const canto_head *head, int64_t tokens,
                           int64_t n)
{
    if (!is_half(context)) return head->logits;
    context->device->kernels->narrow(context->device, tokens, n, n, head->logits,
                                     head->half_logits);
    return head->half_logits;
}

// Logits of one tile, columns [first, first + n) of the vocabulary.
static void tile_logits(const canto_context *context, const canto_head *head, int64_t tokens,
                        int64_t first, int64_t n)
{
    const int64_t d = head->norm.n;
    const canto_gemm_shape shape = {.trans_b = true,
                                    .in = context->dtype,
                                    .m = tokens,
                                    .n = n,
                                    .k = d,
                                    .lda = d,
                                    .ldb = d,
                                    .ldc = n};
    context->device->kernels->gemm(context->device, &shape, normed(context, head),
                                   weights(context, head, first), head->logits);
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
        float *dw = canto_params_grad(context->params, head->id) + first * d;
        if (n < head->vocab) tile_logits(context, head, tokens, first, n);
        device->kernels->loss_tile_backward(device, tokens, n, first, targets, head->lse, scale,
                                            head->logits);
        const void *dlogits = operand(context, head, tokens, n);
        const canto_gemm_shape to_w = {.trans_a = true,
                                       .adds = true,
                                       .in = context->dtype,
                                       .m = n,
                                       .n = d,
                                       .k = tokens,
                                       .lda = n,
                                       .ldb = d,
                                       .ldc = d};
        const canto_gemm_shape to_x = {.adds = first > 0,
                                       .in = context->dtype,
                                       .m = tokens,
                                       .n = d,
                                       .k = n,
                                       .lda = n,
                                       .ldb = d,
                                       .ldc = d};
        device->kernels->gemm(device, &to_w, dlogits, normed(context, head), dw);
        device->kernels->gemm(device, &to_x, dlogits, weights(context, head, first), head->dnormed);
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
        norm_rows(context, head, n, x + t * d);
        block_loss(context, head, n, own);
        if (dx) block_gradients(context, head, n, x + t * d, own, scale, dx + t * d);
    }
    return canto_device_download(device, loss_sum, head->sum, sizeof *loss_sum);
}

canto_status canto_head_logits(const canto_context *context, const canto_head *head, const float *x,
                               float *logits)
{
    const canto_device *device = context->device;
    norm_rows(context, head, 1, x);
    for (int64_t first = 0; first < head->vocab; first += head->columns) {
        const int64_t n = smaller(head->columns, head->vocab - first);
        tile_logits(context, head, 1, first, n);
        CANTO_TRY(canto_device_download(device, logits + first, head->logits,
                                        sizeof *logits * (size_t)n));
    }
    return CANTO_OK;
}
