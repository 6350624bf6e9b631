// Decays, packing and the state's step by one chunk; see the header.
#include "runtime/cpu/linear_block.h"

#include <float.h>
#include <math.h>

double canto_linear_decay(const canto_linear_head *it, int64_t tokens)
{
    if (!it->shape->log_decay || tokens == 0) return 1;
    return exp((double)tokens * it->shape->log_decay[it->head]);
}

canto_linear_head canto_linear_head_make(const canto_linear_shape *shape, int head, int64_t tokens)
{
    const int group = shape->heads / shape->kv_heads;
    canto_linear_head it = {.shape = shape, .head = head};
    it.first = head * group;
    it.last = it.first + group;
    it.columns = canto_linear_columns(shape);
    it.key_ld = canto_tile_pad(shape->key_dim);
    it.column_ld = canto_tile_pad(it.columns);
    for (int n = 0; n <= canto_chunk_length(tokens, 0); n++) {
        double power = canto_linear_decay(&it, n);
        it.power[n] = power < FLT_MIN ? 0 : (float)power; // denormal numbers are slow
    }
    return it;
}

void canto_linear_pack(const canto_linear_head *it, int64_t t, int n, const float *kv, float *keys,
                       float *x)
{
    const canto_linear_shape *shape = it->shape;
    const int64_t stride = canto_linear_kv_width(shape);
    canto_tile_copy(n, shape->key_dim, kv + canto_linear_key_at(it, t), stride, keys, it->key_ld);
    canto_tile_copy(n, shape->value_dim, kv + canto_linear_value_at(it, t), stride, x,
                    it->column_ld);
    for (int i = 0; shape->ones && i < n; i++) x[i * it->column_ld + shape->value_dim] = 1;
}

void canto_linear_pack_queries(const canto_linear_head *it, int64_t t, int n, int h, const float *q,
                               const float *dy, float *queries, float *dy_rows)
{
    const int64_t heads = it->shape->heads, row = t * heads + h;
    canto_tile_copy(n, it->shape->key_dim, q + row * it->shape->key_dim, heads * it->shape->key_dim,
                    queries, it->key_ld);
    canto_tile_copy(n, it->columns, dy + row * it->columns, heads * it->columns, dy_rows,
                    it->column_ld);
}

void canto_linear_columns_of(int n, int columns, const float *from, int ld, float *to)
{
    const int width = canto_tile_pad(n);
    canto_tile_transpose(n, columns, 1, from, ld, to, width);
    for (int c = 0; c < columns; c++) {
        for (int i = n; i < width; i++) to[c * width + i] = 0;
    }
}

void canto_linear_scale(int64_t n, float factor, float *x)
{
    if (factor == 1) return;
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

void canto_linear_scale_from_start(const canto_linear_head *it, int n, float *x, int ld)
{
    for (int i = 0; i < n; i++) canto_linear_scale(ld, it->power[i + 1], x + i * ld);
}

void canto_linear_scale_to_end(const canto_linear_head *it, int n, float *x, int ld)
{
    for (int i = 0; i < n; i++) canto_linear_scale(ld, it->power[n - 1 - i], x + i * ld);
}

void canto_linear_scale_pairs(const canto_linear_head *it, int n, float *scores, int ld)
{
    if (!it->shape->log_decay) return;
    float falling[CANTO_CHUNK]; // falling[n - 1 - d] = power[d]: row i reads it from n - 1 - i on
    for (int d = 0; d < n; d++) falling[n - 1 - d] = it->power[d];
    for (int i = 0; i < n; i++) {
        for (int j = 0; j <= i; j++) scores[i * ld + j] *= falling[n - 1 - i + j];
    }
}

void canto_linear_advance(const canto_linear_head *it, int n, float *keys, const float *x,
                          float *state)
{
    const int rows = it->shape->key_dim;
    canto_linear_scale_to_end(it, n, keys, it->key_ld);
    canto_linear_scale((int64_t)rows * it->column_ld, it->power[n], state);
    canto_tile_product(rows, it->column_ld, n, (canto_tile_factor){keys, 1, it->key_ld}, x,
                       it->column_ld, true, state, it->column_ld);
}

void canto_linear_load_state(const canto_linear_head *it, const float *from, float *state)
{
    const int rows = it->shape->key_dim;
    if (from)
        canto_tile_copy(rows, it->columns, from + canto_linear_state_at(it), it->columns, state,
                        it->column_ld);
    else
        memset(state, 0, (size_t)rows * (size_t)it->column_ld * sizeof *state);
}

void canto_linear_store_state(const canto_linear_head *it, const float *state, float *to)
{
    for (int r = 0; r < it->shape->key_dim; r++)
        memcpy(to + canto_linear_state_at(it) + (int64_t)r * it->columns, state + r * it->column_ld,
               (size_t)it->columns * sizeof *to);
}
