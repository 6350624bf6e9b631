// Cuts a banded rectangle into tasks and tells which pairs are allowed; see the header.
#include "runtime/cpu/attention_block.h"

#include "runtime/cpu/cpu.h"
#include "runtime/cpu/simd.h"

static int64_t smaller(int64_t x, int64_t y)
{
    return x < y ? x : y;
}

static int64_t larger(int64_t x, int64_t y)
{
    return x > y ? x : y;
}

int canto_attention_share(const canto_attention_shape *shape, int lanes)
{
    const int per_key = shape->heads / shape->key_heads;
    const int per_value = shape->heads / shape->value_heads;
    int share = (int)smaller(smaller(per_key, per_value), lanes);
    while (per_key % share != 0 || per_value % share != 0) share--;
    return share;
}

canto_attention_task canto_attention_task_make(const canto_attention_shape *shape,
                                               const canto_band *tile, int head, int share,
                                               int64_t q0, int lanes)
{
    canto_attention_task task = {
        .shape = shape, .tile = tile, .head = head, .share = share, .q0 = q0};
    task.q1 = smaller(q0 + lanes / share, tile->q1);
    task.lanes = (int)(task.q1 - task.q0) * share;
    task.panels = (task.lanes + CANTO_PANEL - 1) / CANTO_PANEL;
    return task;
}

bool canto_attention_is_large(const canto_attention_shape *shape, const canto_band *tile)
{
    const double pairs = (double)(tile->q1 - tile->q0) * (double)(tile->k1 - tile->k0);
    return pairs * shape->heads * (shape->key_dim + shape->value_dim) > CANTO_CPU_PARALLEL_MIN;
}

void canto_attention_keys(const canto_attention_task *task, int64_t *k0, int64_t *k1)
{
    *k0 = larger(task->tile->k0, task->q0 + task->tile->lo);
    *k1 = smaller(task->tile->k1, task->q1 + task->tile->hi);
}

// [low, high) cut to [0, n), times `unit`.
static canto_range cut(int64_t low, int64_t high, int64_t n, int unit)
{
    low = smaller(larger(low, 0), n);
    high = smaller(larger(high, low), n);
    return (canto_range){(int)low * unit, (int)high * unit};
}

canto_range canto_attention_keys_of(const canto_attention_task *task, int i, int64_t k0, int keys)
{
    const int64_t to_query = task->q0 + i / task->share - k0;
    return cut(to_query + task->tile->lo, to_query + task->tile->hi + 1, keys, 1);
}

canto_range canto_attention_lanes_of(const canto_attention_task *task, int64_t position)
{
    const int64_t to_first = position - task->q0;
    return cut(to_first - task->tile->hi, to_first - task->tile->lo + 1, task->q1 - task->q0,
               task->share);
}

canto_attention_seen canto_attention_seen_by(const canto_attention_task *task, int first, int last,
                                             int64_t k0, int keys)
{
    const canto_range early = canto_attention_keys_of(task, first, k0, keys);
    const canto_range late = canto_attention_keys_of(task, last - 1, k0, keys);
    canto_attention_seen seen = {.any = {early.begin, late.end}, .all = {late.begin, early.end}};
    if (seen.all.begin >= seen.all.end) seen.all = (canto_range){seen.any.begin, seen.any.begin};
    return seen;
}
