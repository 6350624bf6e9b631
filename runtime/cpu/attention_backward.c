// Softmax attention over one banded rectangle, backward, from the final lse and delta of each row
// (FlashAttention-2, Dao 2023): per block
//
//     P = exp(scale q k' - lse),  dV += P' dO,  dS = P * (dO V' - delta),
//     dQ += scale dS K,  dK += scale dS' Q
//
// in five products. Keeps one block of everything on the stack, O(1) per thread. A task owns the
// heads that share keys or values, and visits their blocks in one order: the result does not depend
// on the number of threads.
#include "runtime/cpu/attention_block.h"
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/exp.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, LANES = CANTO_BLOCK_LANES, KEYS = CANTO_BLOCK_KEYS };

typedef struct arrays {
    const float *q, *kv, *dout, *lse, *delta; // borrowed
    float *dq, *dkv;                          // borrowed
} arrays;

// What one block works on; rows are as long as the task's padded sizes, not as the arrays'.
typedef struct space {
    alignas(CANTO_TILE_ALIGN) float queries[LANES * DIM];        // [width, key_ld]
    alignas(CANTO_TILE_ALIGN) float query_columns[DIM * LANES];  // [key_dim, width], scaled
    alignas(CANTO_TILE_ALIGN) float outs[LANES * DIM];           // dout, [width, value_ld]
    alignas(CANTO_TILE_ALIGN) float out_columns[DIM * LANES];    // dout, [value_dim, width]
    alignas(CANTO_TILE_ALIGN) float keys[KEYS * DIM];            // [keys, key_ld]
    alignas(CANTO_TILE_ALIGN) float values[KEYS * DIM];          // [keys, value_ld]
    alignas(CANTO_TILE_ALIGN) float probabilities[KEYS * LANES]; // [keys, width]
    alignas(CANTO_TILE_ALIGN) float slopes[KEYS * LANES];        // dS, [keys, width]
    alignas(CANTO_TILE_ALIGN) float dq[LANES * DIM];             // [lanes, key_ld], of all blocks
    alignas(CANTO_TILE_ALIGN) float dkv[KEYS * DIM];             // dK or dV of this block
    alignas(CANTO_TILE_ALIGN) float lse[LANES];                  // base 2, +inf: skip the lane
    alignas(CANTO_TILE_ALIGN) float delta[LANES];
    canto_attention_pairs pairs;
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

static void load_rows(const canto_attention_task *task, const arrays *a, space *s)
{
    const canto_attention_shape *shape = task->shape;
    canto_attention_pack_rows(task, a->q, shape->key_dim, s->queries, task->key_ld);
    canto_attention_pack_columns(task, a->q, shape->key_dim, (float)(shape->scale * CANTO_LOG2_E),
                                 s->query_columns);
    canto_attention_pack_rows(task, a->dout, shape->value_dim, s->outs, task->value_ld);
    canto_attention_pack_columns(task, a->dout, shape->value_dim, 1, s->out_columns);
    memset(s->dq, 0, (size_t)task->lanes * (size_t)task->key_ld * sizeof *s->dq);
    for (int i = 0; i < LANES; i++) {
        s->lse[i] = INFINITY;
        s->delta[i] = 0;
        if (i >= task->lanes) continue;
        int64_t at = canto_attention_row(task, task->q0 + i / task->share) + i % task->share;
        if (a->lse[at] == -INFINITY) continue;
        s->lse[i] = (float)(a->lse[at] * CANTO_LOG2_E);
        s->delta[i] = a->delta[at];
    }
}

// A lane that is skipped has probability 0; its other numbers become 0, lest 0 times NaN is added.
static void clear_skipped(const canto_attention_task *task, space *s)
{
    for (int i = 0; i < task->lanes; i++) {
        if (s->lse[i] != INFINITY) continue;
        memset(s->queries + i * task->key_ld, 0, (size_t)task->key_ld * sizeof *s->queries);
        memset(s->outs + i * task->value_ld, 0, (size_t)task->value_ld * sizeof *s->outs);
        for (int c = 0; c < task->shape->key_dim; c++) s->query_columns[c * task->width + i] = 0;
        for (int c = 0; c < task->shape->value_dim; c++) s->out_columns[c * task->width + i] = 0;
    }
}

// Scores become probabilities, products of dout with the values become dS.
static void differentiate(int keys, int width, const float *lse, const float *delta,
                          float *probabilities, float *slopes)
{
    for (int j = 0; j < keys; j++) {
        for (int i = 0; i < width; i++) {
            float p = canto_cpu_exp2(probabilities[j * width + i] - lse[i]);
            probabilities[j * width + i] = p;
            slopes[j * width + i] = p * (slopes[j * width + i] - delta[i]);
        }
    }
}

// s->dkv [keys, ld] = left [keys, lanes] times right [lanes, ld], over the allowed pairs.
static void sum_over_lanes(const canto_attention_task *task, const float *left, const float *right,
                           int ld, space *s)
{
    const canto_tile_factor factor = {left, task->width, 1};
    const canto_tile_ranges ranges = {s->pairs.lane_begin, s->pairs.lane_end};
    if (s->pairs.full) {
        canto_tile_product(s->pairs.keys, ld, task->lanes, factor, right, ld, false, s->dkv, ld);
        return;
    }
    memset(s->dkv, 0, (size_t)s->pairs.keys * (size_t)ld * sizeof *s->dkv);
    canto_tile_band_product(s->pairs.keys, ld, ranges, factor, right, ld, s->dkv, ld);
}

static void sum_over_keys(const canto_attention_task *task, space *s)
{
    const canto_tile_factor factor = {s->slopes, 1, task->width};
    const canto_tile_ranges ranges = {s->pairs.key_begin, s->pairs.key_end};
    const int ld = task->key_ld;
    if (s->pairs.full)
        canto_tile_product(task->lanes, ld, s->pairs.keys, factor, s->keys, ld, true, s->dq, ld);
    else
        canto_tile_band_product(task->lanes, ld, ranges, factor, s->keys, ld, s->dq, ld);
}

static void add_block(const canto_attention_task *task, const arrays *a, space *s)
{
    const canto_attention_shape *shape = task->shape;
    const int64_t stride = canto_attention_kv_width(shape);
    const int64_t key_at = canto_attention_key_at(task, s->pairs.k0);
    const int64_t value_at = canto_attention_value_at(task, s->pairs.k0);
    const int keys = s->pairs.keys, width = task->width;
    canto_tile_copy(keys, shape->key_dim, a->kv + key_at, stride, s->keys, task->key_ld);
    canto_tile_copy(keys, shape->value_dim, a->kv + value_at, stride, s->values, task->value_ld);
    canto_tile_product(keys, width, shape->key_dim, (canto_tile_factor){s->keys, task->key_ld, 1},
                       s->query_columns, width, false, s->probabilities, width);
    canto_tile_product(keys, width, shape->value_dim,
                       (canto_tile_factor){s->values, task->value_ld, 1}, s->out_columns, width,
                       false, s->slopes, width);
    differentiate(keys, width, s->lse, s->delta, s->probabilities, s->slopes);
    sum_over_lanes(task, s->probabilities, s->outs, task->value_ld, s);
    canto_tile_add(keys, shape->value_dim, 1, s->dkv, task->value_ld, a->dkv + value_at, stride);
    sum_over_lanes(task, s->slopes, s->queries, task->key_ld, s);
    canto_tile_add(keys, shape->key_dim, shape->scale, s->dkv, task->key_ld, a->dkv + key_at,
                   stride);
    sum_over_keys(task, s);
}

static void store_rows(const canto_attention_task *task, const space *s, float *dq)
{
    const int dim = task->shape->key_dim;
    for (int64_t q = task->q0; q < task->q1; q++) {
        int64_t lane = (q - task->q0) * task->share;
        canto_tile_add(task->share, dim, task->shape->scale, s->dq + lane * task->key_ld,
                       task->key_ld, dq + canto_attention_row(task, q) * dim, dim);
    }
}

static void run_task(const canto_attention_task *task, const arrays *a)
{
    int64_t k0, k1;
    canto_attention_keys(task, &k0, &k1);
    if (k0 >= k1) return;
    space s;
    load_rows(task, a, &s);
    clear_skipped(task, &s);
    for (; k0 < k1; k0 = s.pairs.k1) {
        canto_attention_pairs_make(task, k0, k1, &s.pairs);
        add_block(task, a, &s);
    }
    store_rows(task, &s, a->dq);
}

// Number of consecutive query heads of which no other head shares keys or values: the least common
// multiple of the two group sizes.
static int closed_group(const canto_attention_shape *shape)
{
    int per_key = shape->heads / shape->key_heads;
    int per_value = shape->heads / shape->value_heads;
    int group = per_key;
    while (group % per_value != 0) group += per_key;
    return group;
}

void CANTO_CPU(attention_backward)(const canto_device *device, const canto_attention_shape *shape,
                                   const canto_band *tile, const float *q, const float *kv,
                                   const float *dout, const float *lse, const float *delta,
                                   float *dq, float *dkv)
{
    const arrays a = {q, kv, dout, lse, delta, dq, dkv};
    const int share = canto_attention_share(shape);
    const int group = closed_group(shape);
#pragma omp parallel for schedule(dynamic, 1) if (canto_attention_is_large(shape, tile))
    for (int first = 0; first < shape->heads; first += group) {
        for (int head = first; head < first + group; head += share) {
            for (int64_t q0 = tile->q0; q0 < tile->q1; q0 += canto_attention_rows(share)) {
                const canto_attention_task task = canto_attention_task_make(shape, tile, head, q0);
                run_task(&task, &a);
            }
        }
    }
}
