// What the forward and the backward pass of attention share: how one banded rectangle is cut into
// tasks, panels and blocks of keys, and which pairs the band allows.
//
// A lane is one (query row, query head) pair. A task is a run of lanes that read the same key and
// value head: all heads of a group, row by row, so that a block of keys and values is packed once
// for all of them. Scores are kept transposed, [keys, lanes], in panels of CANTO_PANEL lanes:
// maxima, sums and exponentials then run along vectors without reductions across them, the lanes
// that may see a key are one run, and so are the keys that a lane may see; both only move up.
#ifndef CANTO_RUNTIME_CPU_ATTENTION_BLOCK_H
#define CANTO_RUNTIME_CPU_ATTENTION_BLOCK_H

#include "runtime/backend.h"
#include "runtime/cpu/level.h"
#include "runtime/cpu/pack.h"

#define canto_attention_share     CANTO_CPU(attention_share)
#define canto_attention_is_large  CANTO_CPU(attention_is_large)
#define canto_attention_task_make CANTO_CPU(attention_task_make)
#define canto_attention_keys      CANTO_CPU(attention_keys)
#define canto_attention_keys_of   CANTO_CPU(attention_keys_of)
#define canto_attention_lanes_of  CANTO_CPU(attention_lanes_of)
#define canto_attention_seen_by   CANTO_CPU(attention_seen_by)
#define canto_attention_merge_row CANTO_CPU(attention_merge_row)

#define CANTO_LOG2_E 1.44269504088896340736
#define CANTO_LN_2   0.69314718055994530942

typedef struct canto_attention_task {
    const canto_attention_shape *shape; // borrowed
    const canto_band *tile;             // borrowed
    int head, share;                    // query heads [head, head + share)
    int64_t q0, q1;                     // positions of the rows
    int lanes, panels;                  // (q1 - q0) * share, and the panels that they fill
} canto_attention_task;

// Number of consecutive query heads that a task takes: they share a key head and a value head. At
// most `lanes`.
int canto_attention_share(const canto_attention_shape *shape, int lanes);
// The task of `share` heads from `head` on whose first row is q0, of at most `lanes` lanes.
canto_attention_task canto_attention_task_make(const canto_attention_shape *shape,
                                               const canto_band *tile, int head, int share,
                                               int64_t q0, int lanes);
// Whether a rectangle is worth waking threads for.
bool canto_attention_is_large(const canto_attention_shape *shape, const canto_band *tile);

// Positions [*k0, *k1) of the keys that any row of the task may see; empty if *k0 >= *k1.
void canto_attention_keys(const canto_attention_task *task, int64_t *k0, int64_t *k1);

// A range of small numbers; empty if begin >= end.
typedef struct canto_range {
    int begin, end;
} canto_range;

// Of the `keys` keys from position k0 on, those that lane i sees.
canto_range canto_attention_keys_of(const canto_attention_task *task, int i, int64_t k0, int keys);
// Lanes of the task that see the key at a position.
canto_range canto_attention_lanes_of(const canto_attention_task *task, int64_t position);

// Of the `keys` keys from position k0 on, those that any of lanes [first, last) sees, and those
// that all of them see. `all` lies in `any`, also where it is empty.
typedef struct canto_attention_seen {
    canto_range any, all;
} canto_attention_seen;
canto_attention_seen canto_attention_seen_by(const canto_attention_task *task, int first, int last,
                                             int64_t k0, int keys);

// Where the numbers of a task begin.
static inline int64_t canto_attention_row(const canto_attention_task *task, int64_t position)
{
    return (position - task->tile->q0) * task->shape->heads + task->head;
}

// Row of lane i in arrays [T, heads].
static inline int64_t canto_attention_row_of(const canto_attention_task *task, int i)
{
    return canto_attention_row(task, task->q0 + i / task->share) + i % task->share;
}

static inline int64_t canto_attention_key_at(const canto_attention_task *task, int64_t position)
{
    const canto_attention_shape *s = task->shape;
    return (position - task->tile->k0) * canto_attention_kv_width(s) +
           (int64_t)(task->head / (s->heads / s->key_heads)) * s->key_dim;
}

static inline int64_t canto_attention_value_at(const canto_attention_task *task, int64_t position)
{
    const canto_attention_shape *s = task->shape;
    return (position - task->tile->k0) * canto_attention_kv_width(s) +
           (int64_t)s->key_heads * s->key_dim +
           (int64_t)(task->head / (s->heads / s->value_heads)) * s->value_dim;
}

// All lanes of the task as rows of x [T, heads, dim].
static inline canto_rows canto_attention_lanes(const canto_attention_task *task, const float *x,
                                               int dim)
{
    return (canto_rows){.x = x,
                        .dtype = CANTO_F32,
                        .at = canto_attention_row(task, task->q0) * dim,
                        .stride = (int64_t)task->shape->heads * dim,
                        .n = task->lanes,
                        .columns = dim,
                        .share = task->share,
                        .inner = dim};
}

// n keys, or values, from a position on as rows of kv.
static inline canto_rows canto_attention_keys_at(const canto_attention_task *task, int64_t position,
                                                 int n, const float *kv)
{
    return (canto_rows){.x = kv,
                        .dtype = CANTO_F32,
                        .at = canto_attention_key_at(task, position),
                        .stride = canto_attention_kv_width(task->shape),
                        .n = n,
                        .columns = task->shape->key_dim};
}

static inline canto_rows canto_attention_values_at(const canto_attention_task *task,
                                                   int64_t position, int n, const float *kv)
{
    canto_rows rows = canto_attention_keys_at(task, position, n, kv);
    rows.at = canto_attention_value_at(task, position);
    rows.columns = task->shape->value_dim;
    return rows;
}

// (o, lse) of one row = its merge with another partial: the only place where partials meet.
void canto_attention_merge_row(int value_dim, const float *o_other, float lse_other, float *o,
                               float *lse);

#endif
