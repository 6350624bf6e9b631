// What the forward and the backward pass of attention share: how one banded rectangle is cut into
// tasks and blocks, and which pairs of a block the band allows.
//
// A lane is one (query row, query head) pair. A task is up to CANTO_BLOCK_LANES lanes that read the
// same key and value head: all heads of a group, row by row, so that a block of keys and values is
// packed once for the whole group. Scores are kept transposed, [keys, lanes]: maxima, sums and
// exponentials then run along vectors without reductions across them, and the lanes that may see a
// key are one run, as are the keys that a lane may see.
#ifndef CANTO_RUNTIME_CPU_ATTENTION_BLOCK_H
#define CANTO_RUNTIME_CPU_ATTENTION_BLOCK_H

#include "runtime/backend.h"
#include "runtime/cpu/tile.h"

#include <math.h>

#define canto_attention_is_large     CANTO_CPU(attention_is_large)
#define canto_attention_keys         CANTO_CPU(attention_keys)
#define canto_attention_merge_row    CANTO_CPU(attention_merge_row)
#define canto_attention_pack_columns CANTO_CPU(attention_pack_columns)
#define canto_attention_pack_rows    CANTO_CPU(attention_pack_rows)
#define canto_attention_pairs_make   CANTO_CPU(attention_pairs_make)
#define canto_attention_rows         CANTO_CPU(attention_rows)
#define canto_attention_share        CANTO_CPU(attention_share)
#define canto_attention_task_make    CANTO_CPU(attention_task_make)

enum { CANTO_BLOCK_LANES = 64, CANTO_BLOCK_KEYS = 64 };

#define CANTO_LOG2_E 1.44269504088896340736
#define CANTO_LN_2   0.69314718055994530942

typedef struct canto_attention_task {
    const canto_attention_shape *shape; // borrowed
    const canto_band *tile;             // borrowed
    int head, share;                    // query heads [head, head + share)
    int64_t q0, q1;                     // positions of the rows
    int lanes, width;                   // (q1 - q0) * share, and padded
    int key_ld, value_ld;               // padded key_dim and value_dim
} canto_attention_task;

// The pairs of one block of keys that the band allows.
typedef struct canto_attention_pairs {
    int64_t k0, k1; // positions of the keys
    int keys;
    bool full; // all pairs: the ranges are not set
    int lane_begin[CANTO_BLOCK_KEYS], lane_end[CANTO_BLOCK_KEYS]; // lanes that see a key
    int key_begin[CANTO_BLOCK_LANES], key_end[CANTO_BLOCK_LANES]; // keys that a lane sees
} canto_attention_pairs;

// Number of consecutive query heads that a task takes: they share a key head and a value head.
int canto_attention_share(const canto_attention_shape *shape);
// Rows of the rectangle that a task takes.
int canto_attention_rows(int share);
canto_attention_task canto_attention_task_make(const canto_attention_shape *shape,
                                               const canto_band *tile, int head, int64_t q0);

// Whether a rectangle is worth waking threads for.
bool canto_attention_is_large(const canto_attention_shape *shape, const canto_band *tile);

// Positions [*k0, *k1) of the keys that any row of the task may see; empty if *k0 >= *k1.
void canto_attention_keys(const canto_attention_task *task, int64_t *k0, int64_t *k1);
// The next block of keys from k0 on, of at most CANTO_BLOCK_KEYS, before k1.
void canto_attention_pairs_make(const canto_attention_task *task, int64_t k0, int64_t k1,
                                canto_attention_pairs *pairs);

// Where the numbers of a task begin.
static inline int64_t canto_attention_row(const canto_attention_task *task, int64_t position)
{
    return (position - task->tile->q0) * task->shape->heads + task->head;
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

// to [width, ld] = the task's rows of x [T, heads, dim]; and transposed, [dim, width], times
// factor.
void canto_attention_pack_rows(const canto_attention_task *task, const float *x, int dim, float *to,
                               int ld);
void canto_attention_pack_columns(const canto_attention_task *task, const float *x, int dim,
                                  float factor, float *to);

// (o, lse) of one row = its merge with another partial: the only place where partials meet.
void canto_attention_merge_row(int value_dim, const float *o_other, float lse_other, float *o,
                               float *lse);

#endif
