// Projections into heads: keys and values land side by side in one row, which is what travels.
#include "layers/heads.h"

int64_t canto_heads_q_width(const canto_heads *heads)
{
    return (int64_t)heads->heads * heads->key_dim;
}

int64_t canto_heads_k_width(const canto_heads *heads)
{
    return (int64_t)heads->kv_heads * heads->key_dim;
}

int64_t canto_heads_kv_width(const canto_heads *heads)
{
    return canto_heads_k_width(heads) + (int64_t)heads->kv_heads * heads->value_dim;
}

int64_t canto_heads_o_width(const canto_heads *heads)
{
    return (int64_t)heads->heads * heads->value_dim;
}

canto_status canto_heads_create(const canto_builder *builder, const canto_mixer_config *mixer,
                                canto_heads *heads)
{
    const canto_model_config *config = builder->config;
    const int64_t d = config->d_model;
    *heads = (canto_heads){.heads = mixer->heads,
                           .kv_heads = mixer->kv_heads,
                           .key_dim = mixer->key_dim,
                           .value_dim = mixer->value_dim};
    const int64_t k = canto_heads_k_width(heads);
    const int64_t v = canto_heads_kv_width(heads) - k;
    CANTO_TRY(canto_matrix_create(builder, "mixer.wq", d, canto_heads_q_width(heads), 1, true,
                                  &heads->wq));
    CANTO_TRY(canto_matrix_create(builder, "mixer.wk", d, k, 1, true, &heads->wk));
    CANTO_TRY(canto_matrix_create(builder, "mixer.wv", d, v, 1, true, &heads->wv));
    CANTO_TRY(canto_matrix_create(builder, "mixer.wo", canto_heads_o_width(heads), d,
                                  canto_matrix_branch_factor(config), true, &heads->wo));
    if (mixer->rope) CANTO_TRY(canto_builder_rope(builder, mixer->key_dim, &heads->rope));
    return CANTO_OK;
}

void canto_heads_project(const canto_context *context, const canto_heads *heads, int64_t tokens,
                         const float *x, float *q, float *kv)
{
    const int64_t row = canto_heads_kv_width(heads);
    canto_matrix_forward(context, &heads->wq, tokens, x, q, heads->wq.out);
    canto_matrix_forward(context, &heads->wk, tokens, x, kv, row);
    canto_matrix_forward(context, &heads->wv, tokens, x, kv + heads->wk.out, row);
}

void canto_heads_project_backward(const canto_context *context, const canto_heads *heads,
                                  int64_t tokens, const float *x, const float *dq, const float *dkv,
                                  bool adds, float *dx)
{
    const int64_t row = canto_heads_kv_width(heads);
    const float *dv = dkv + heads->wk.out;
    canto_matrix_backward_weight(context, &heads->wq, tokens, x, dq, heads->wq.out);
    canto_matrix_backward_weight(context, &heads->wk, tokens, x, dkv, row);
    canto_matrix_backward_weight(context, &heads->wv, tokens, x, dv, row);
    canto_matrix_backward_input(context, &heads->wq, tokens, dq, heads->wq.out, adds, dx);
    canto_matrix_backward_input(context, &heads->wk, tokens, dkv, row, true, dx);
    canto_matrix_backward_input(context, &heads->wv, tokens, dv, row, true, dx);
}

void canto_heads_rotate(const canto_context *context, const canto_heads *heads, int64_t first,
                        int64_t tokens, int direction, float *q, float *kv)
{
    if (!heads->rope) return;
    const int dim = heads->key_dim;
    const float *table = heads->rope + first * dim;
    context->device->kernels->rope(context->device, tokens, heads->heads, dim,
                                   canto_heads_q_width(heads), table, direction, q);
    context->device->kernels->rope(context->device, tokens, heads->kv_heads, dim,
                                   canto_heads_kv_width(heads), table, direction, kv);
}
