// One matrix product forward, two backward.
#include "layers/matrix.h"

#include <math.h>

double canto_matrix_branch_factor(const canto_model_config *config)
{
    return 1.0 / sqrt(2.0 * config->layers);
}

canto_status canto_matrix_create(const canto_builder *builder, const char *name, int64_t in,
                                 int64_t out, double std_factor, bool decays, canto_matrix *matrix)
{
    const canto_param how = {.dims_n = 2,
                             .dims = {in, out},
                             .decays = decays,
                             .init = CANTO_INIT_NORMAL,
                             .std = (float)(builder->config->init_std * std_factor)};
    *matrix = (canto_matrix){.in = in, .out = out};
    return canto_builder_param(builder, name, &how, &matrix->id);
}

// --- bf16 ---

// Tokens [t, t + rows) of x as bf16 numbers, next to each other.
static const uint16_t *narrowed(const canto_context *context, int64_t t, int64_t rows, int64_t n,
                                const float *x, int64_t ld, uint16_t *to)
{
    context->device->kernels->narrow(context->device, rows, n, ld, x + t * ld, to);
    return to;
}

// y or dx, some tokens at a time: x W with ld of y, or dy W'.
static void product_of_rows(const canto_context *context, const canto_gemm_shape *shape, int id,
                            const float *x, float *y)
{
    const uint16_t *w = canto_params_half(context->params, id);
    canto_gemm_shape part = *shape;
    part.in = CANTO_BF16;
    part.lda = shape->k;
    for (int64_t t = 0; t < shape->m; t += CANTO_LAYER_ROWS) {
        part.m = canto_layer_rows(shape->m - t);
        const uint16_t *left = narrowed(context, t, part.m, shape->k, x, shape->lda, context->left);
        context->device->kernels->gemm(context->device, &part, left, w, y + t * shape->ldc);
    }
}

// dw, a sum over tokens.
static void product_over_rows(const canto_context *context, const canto_gemm_shape *shape,
                              const float *x, const float *dy, float *dw)
{
    canto_gemm_shape part = *shape;
    part.in = CANTO_BF16;
    part.ldb = shape->n;
    for (int64_t t = 0; t < shape->k; t += CANTO_LAYER_ROWS) {
        part.k = canto_layer_rows(shape->k - t);
        const uint16_t *left = narrowed(context, t, part.k, shape->m, x, shape->lda, context->left);
        const uint16_t *right =
            narrowed(context, t, part.k, shape->n, dy, shape->ldb, context->right);
        context->device->kernels->gemm(context->device, &part, left, right, dw);
    }
}

// --- either ---

static void run(const canto_context *context, const canto_gemm_shape *shape, int id, const float *x,
                float *y)
{
    if (context->dtype == CANTO_BF16)
        product_of_rows(context, shape, id, x, y);
    else
        context->device->kernels->gemm(context->device, shape, x,
                                       canto_params_value(context->params, id), y);
}

void canto_matrix_forward(const canto_context *context, const canto_matrix *matrix, int64_t tokens,
                          const float *x, float *y, int64_t ldy)
{
    const canto_gemm_shape shape = {.m = tokens,
                                    .n = matrix->out,
                                    .k = matrix->in,
                                    .lda = matrix->in,
                                    .ldb = matrix->out,
                                    .ldc = ldy};
    run(context, &shape, matrix->id, x, y);
}

void canto_matrix_backward_weight(const canto_context *context, const canto_matrix *matrix,
                                  int64_t tokens, const float *x, const float *dy, int64_t lddy)
{
    float *dw = canto_params_grad(context->params, matrix->id);
    const canto_gemm_shape shape = {.trans_a = true,
                                    .adds = true,
                                    .m = matrix->in,
                                    .n = matrix->out,
                                    .k = tokens,
                                    .lda = matrix->in,
                                    .ldb = lddy,
                                    .ldc = matrix->out};
    if (context->dtype == CANTO_BF16)
        product_over_rows(context, &shape, x, dy, dw);
    else
        context->device->kernels->gemm(context->device, &shape, x, dy, dw);
}

void canto_matrix_backward_input(const canto_context *context, const canto_matrix *matrix,
                                 int64_t tokens, const float *dy, int64_t lddy, bool adds,
                                 float *dx)
{
    const canto_gemm_shape shape = {.trans_b = true,
                                    .adds = adds,
                                    .m = tokens,
                                    .n = matrix->in,
                                    .k = matrix->out,
                                    .lda = lddy,
                                    .ldb = matrix->out,
                                    .ldc = matrix->in};
    run(context, &shape, matrix->id, dy, dx);
}
