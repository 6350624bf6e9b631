// Cuts a banded rectangle into tasks and blocks of keys; see the header.
#include "runtime/cpu/attention_block.h"

#include "runtime/cpu/cpu.h"

static int64_t smaller(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

static int64_t larger(int64_t x, int64_t y)
{
    return x > y ? x : y;
}

int canto_attention_share(const canto_attention_shape *shape)
{
    int per_key = shape->heads / shape->key_heads;
    int per_value = shape->heads / shape->value_heads;
    int share = (int)smaller(smaller(per_key, per_value), CANTO_BLOCK_LANES);
    while (per_key % share != 0 || per_value % share != 0) share--;
    return share;
}

int canto_attention_rows(int share)
{
    return CANTO_BLOCK_LANES / share;
}

bool canto_attention_is_large(const canto_attention_shape *shape, const canto_band *tile)
{
    const double pairs = (double)(tile->q1 - tile->q0) * (double)(tile->k1 - tile->k0);
    return pairs * shape->heads * (shape->key_dim + shape->value_dim) > CANTO_CPU_PARALLEL_MIN;
}

canto_attention_task canto_attention_task_make(const canto_attention_shape *shape,
                                               const canto_band *tile, int head, int64_t q0)
{
    canto_attention_task task = {.shape = shape, .tile = tile, .head = head, .q0 = q0};
    task.share = canto_attention_share(shape);
    task.q1 = smaller(q0 + canto_attention_rows(task.share), tile->q1);
    task.lanes = (int)(task.q1 - task.q0) * task.share;
    task.width = canto_tile_pad(task.lanes);
    task.key_ld = canto_tile_pad(shape->key_dim);
    task.value_ld = canto_tile_pad(shape->value_dim);
    return task;
}

void canto_attention_keys(const canto_attention_task *task, int64_t *k0, int64_t *k1)
{
    *k0 = larger(task->tile->k0, task->q0 + task->tile->lo);
    *k1 = smaller(task->tile->k1, task->q1 + task->tile->hi);
}

// [*begin, *end) = [low, high) cut to [0, n), times `unit`; 0, 0 if nothing is left.
static void set_range(int64_t low, int64_t high, int64_t n, int unit, int *begin, int *end)
{
    low = larger(low, 0);
    high = smaller(high, n);
    *begin = low < high ? (int)low * unit : 0;
    *end = low < high ? (int)high * unit : 0;
}

void canto_attention_pairs_make(const canto_attention_task *task, int64_t k0, int64_t k1,
                                canto_attention_pairs *pairs)
{
    const int64_t lo = task->tile->lo, hi = task->tile->hi;
    pairs->k0 = k0;
    pairs->k1 = smaller(k1, k0 + CANTO_BLOCK_KEYS);
    pairs->keys = (int)(pairs->k1 - k0);
    pairs->full = k0 - (task->q1 - 1) >= lo && pairs->k1 - 1 - task->q0 <= hi;
    if (pairs->full) return;
    for (int j = 0; j < pairs->keys; j++) {
        int64_t to_first = k0 + j - task->q0; // key minus query for the first row
        set_range(to_first - hi, to_first - lo + 1, task->q1 - task->q0, task->share,
                  &pairs->lane_begin[j], &pairs->lane_end[j]);
    }
    for (int i = 0; i < task->lanes; i++) {
        int64_t to_query = task->q0 + i / task->share - k0;
        set_range(to_query + lo, to_query + hi + 1, pairs->keys, 1, &pairs->key_begin[i],
                  &pairs->key_end[i]);
    }
}

void canto_attention_pack_rows(const canto_attention_task *task, const float *x, int dim, float *to,
                               int ld)
{
    memset(to, 0, (size_t)task->width * (size_t)ld * sizeof *to);
    for (int64_t q = task->q0; q < task->q1; q++) {
        int64_t lane = (q - task->q0) * task->share;
        canto_tile_copy(task->share, dim, x + canto_attention_row(task, q) * dim, dim,
                        to + lane * ld, ld);
    }
}

void canto_attention_pack_columns(const canto_attention_task *task, const float *x, int dim,
                                  float factor, float *to)
{
    memset(to, 0, (size_t)dim * (size_t)task->width * sizeof *to);
    for (int64_t q = task->q0; q < task->q1; q++) {
        int64_t lane = (q - task->q0) * task->share;
        canto_tile_transpose(task->share, dim, factor, x + canto_attention_row(task, q) * dim, dim,
                             to + lane, task->width);
    }
}
