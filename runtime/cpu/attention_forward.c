// Softmax attention over one banded rectangle, forward: blocks of 64 lanes x 64 keys with a running
// maximum and sum per lane (online softmax, Milakov and Gimelshein 2018; blocked as in
// FlashAttention, Dao et al. 2022). Exponentials are base 2, with scale * log2(e) folded into the
// packed queries. Keeps one block of everything on the stack, O(1) per thread; tasks are
// independent, so that the result does not depend on the number of threads.
#include "runtime/cpu/attention_block.h"
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/exp.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, LANES = CANTO_BLOCK_LANES, KEYS = CANTO_BLOCK_KEYS };

// What one task works on; rows are as long as the task's padded sizes, not as the arrays'.
typedef struct space {
    alignas(CANTO_TILE_ALIGN) float queries[DIM * LANES]; // [key_dim, width], scaled
    alignas(CANTO_TILE_ALIGN) float keys[KEYS * DIM];     // [keys, key_ld]
    alignas(CANTO_TILE_ALIGN) float values[KEYS * DIM];   // [keys, value_ld]
    alignas(CANTO_TILE_ALIGN) float scores[KEYS * LANES]; // [keys, width], then probabilities
    alignas(CANTO_TILE_ALIGN) float out[LANES * DIM];     // [lanes, value_ld], not normalised
    alignas(CANTO_TILE_ALIGN) float largest[LANES];       // running maximum of the scores
    alignas(CANTO_TILE_ALIGN) float sum[LANES];           // of the probabilities
    canto_attention_pairs pairs;
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

static void mask_scores(const canto_attention_task *task, space *s)
{
    for (int j = 0; j < s->pairs.keys; j++) {
        float *row = s->scores + j * task->width;
        for (int i = 0; i < s->pairs.lane_begin[j]; i++) row[i] = -INFINITY;
        for (int i = s->pairs.lane_end[j]; i < task->width; i++) row[i] = -INFINITY;
    }
}

// largest[i] takes in the block; base[i] is what to subtract: 0 while a lane has seen no key, so
// that -inf minus -inf never happens.
static void raise_largest(int keys, int width, const float *scores, float *largest, float *base)
{
    for (int j = 0; j < keys; j++) {
        for (int i = 0; i < width; i++) {
            float score = scores[j * width + i];
            largest[i] = score > largest[i] ? score : largest[i];
        }
    }
    for (int i = 0; i < width; i++) base[i] = largest[i] == -INFINITY ? 0 : largest[i];
}

// scores become probabilities against base, sum[i] takes them in.
static void exponentiate(int keys, int width, const float *base, float *scores, float *sum)
{
    for (int j = 0; j < keys; j++) {
        for (int i = 0; i < width; i++) {
            float p = canto_cpu_exp2(scores[j * width + i] - base[i]);
            scores[j * width + i] = p;
            sum[i] += p;
        }
    }
}

// The old maximum gives way to the new one: what was summed so far shrinks.
static void rescale(const canto_attention_task *task, const float *old, const float *base, space *s)
{
    for (int i = 0; i < task->lanes; i++) {
        if (old[i] == base[i]) continue;
        float factor = canto_cpu_exp2(old[i] - base[i]);
        s->sum[i] *= factor;
        for (int c = 0; c < task->value_ld; c++) s->out[i * task->value_ld + c] *= factor;
    }
}

static void add_block(const canto_attention_task *task, space *s)
{
    const int keys = s->pairs.keys, width = task->width;
    float old[LANES], base[LANES];
    canto_tile_product(keys, width, task->shape->key_dim,
                       (canto_tile_factor){s->keys, task->key_ld, 1}, s->queries, width, false,
                       s->scores, width);
    if (!s->pairs.full) mask_scores(task, s);
    memcpy(old, s->largest, sizeof old);
    raise_largest(keys, width, s->scores, s->largest, base);
    rescale(task, old, base, s);
    exponentiate(keys, width, base, s->scores, s->sum);
    const canto_tile_factor probabilities = {s->scores, 1, width};
    if (s->pairs.full)
        canto_tile_product(task->lanes, task->value_ld, keys, probabilities, s->values,
                           task->value_ld, true, s->out, task->value_ld);
    else
        canto_tile_band_product(task->lanes, task->value_ld,
                                (canto_tile_ranges){s->pairs.key_begin, s->pairs.key_end},
                                probabilities, s->values, task->value_ld, s->out, task->value_ld);
}

// The task's partial result is merged with what o and lse hold.
static void finish(const canto_attention_task *task, space *s, float *o, float *lse)
{
    const int dim = task->shape->value_dim;
    for (int i = 0; i < task->lanes; i++) {
        if (s->sum[i] == 0) continue; // no keys
        float *row = s->out + i * task->value_ld;
        const float inverse = 1 / s->sum[i];
        for (int c = 0; c < dim; c++) row[c] *= inverse;
        double own = s->largest[i] * CANTO_LN_2 + log((double)s->sum[i]);
        int64_t at = canto_attention_row(task, task->q0 + i / task->share) + i % task->share;
        canto_attention_merge_row(dim, row, (float)own, o + at * dim, &lse[at]);
    }
}

static void run_task(const canto_attention_task *task, const float *q, const float *kv, float *o,
                     float *lse)
{
    const canto_attention_shape *shape = task->shape;
    const int64_t stride = canto_attention_kv_width(shape);
    int64_t k0, k1;
    canto_attention_keys(task, &k0, &k1);
    if (k0 >= k1) return;
    space s;
    canto_attention_pack_columns(task, q, shape->key_dim, (float)(shape->scale * CANTO_LOG2_E),
                                 s.queries);
    memset(s.out, 0, (size_t)task->lanes * (size_t)task->value_ld * sizeof *s.out);
    for (int i = 0; i < LANES; i++) {
        s.largest[i] = -INFINITY;
        s.sum[i] = 0;
    }
    for (; k0 < k1; k0 = s.pairs.k1) {
        canto_attention_pairs_make(task, k0, k1, &s.pairs);
        canto_tile_copy(s.pairs.keys, shape->key_dim, kv + canto_attention_key_at(task, k0), stride,
                        s.keys, task->key_ld);
        canto_tile_copy(s.pairs.keys, shape->value_dim, kv + canto_attention_value_at(task, k0),
                        stride, s.values, task->value_ld);
        add_block(task, &s);
    }
    finish(task, &s, o, lse);
}

void CANTO_CPU(attention_forward)(const canto_device *device, const canto_attention_shape *shape,
                                  const canto_band *tile, const float *q, const float *kv, float *o,
                                  float *lse)
{
    const int share = canto_attention_share(shape);
    const int rows = canto_attention_rows(share);
    const int64_t blocks = (tile->q1 - tile->q0 + rows - 1) / rows;
    const int64_t tasks = blocks > 0 ? blocks * (shape->heads / share) : 0;
    // Last blocks first: under a causal mask they are the longest.
#pragma omp parallel for schedule(dynamic, 1) if (canto_attention_is_large(shape, tile))
    for (int64_t i = 0; i < tasks; i++) {
        const canto_attention_task task = canto_attention_task_make(
            shape, tile, (int)(i / blocks) * share, tile->q0 + (blocks - 1 - i % blocks) * rows);
        run_task(&task, q, kv, o, lse);
    }
}
