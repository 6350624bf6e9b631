// What the passes of linear attention share: chunks of 64 tokens, powers of the decay, packing.
//
// Inside a chunk of n tokens that begins with state S, with a = exp(log_decay) and i, j counted
// from 0 (all exponents of a are >= 0, so nothing overflows):
//
//     y_i = a^(i+1) S' q_i + sum_{j <= i} a^(i-j) (q_i . k_j) x_j
//     S  <- a^n S + sum_j a^(n-1-j) k_j x_j'
#ifndef CANTO_RUNTIME_CPU_LINEAR_BLOCK_H
#define CANTO_RUNTIME_CPU_LINEAR_BLOCK_H

#include "runtime/cpu/cpu.h"
#include "runtime/cpu/tile.h"

#define canto_linear_advance          CANTO_CPU(linear_advance)
#define canto_linear_columns_of       CANTO_CPU(linear_columns_of)
#define canto_linear_decay            CANTO_CPU(linear_decay)
#define canto_linear_head_make        CANTO_CPU(linear_head_make)
#define canto_linear_load_state       CANTO_CPU(linear_load_state)
#define canto_linear_pack             CANTO_CPU(linear_pack)
#define canto_linear_pack_queries     CANTO_CPU(linear_pack_queries)
#define canto_linear_scale            CANTO_CPU(linear_scale)
#define canto_linear_scale_from_start CANTO_CPU(linear_scale_from_start)
#define canto_linear_scale_pairs      CANTO_CPU(linear_scale_pairs)
#define canto_linear_scale_to_end     CANTO_CPU(linear_scale_to_end)
#define canto_linear_store_state      CANTO_CPU(linear_store_state)

enum { CANTO_CHUNK = 64, CANTO_LINEAR_COLUMNS_MAX = CANTO_HEAD_DIM_MAX + CANTO_TILE_PAD };

// One key/value head of a run.
typedef struct canto_linear_head {
    const canto_linear_shape *shape; // borrowed
    int head;
    int first, last;              // its query heads [first, last)
    int columns;                  // of a state
    int key_ld, column_ld;        // padded key_dim and columns
    float power[CANTO_CHUNK + 1]; // power[n] = exp(n log_decay)
} canto_linear_head;

canto_linear_head canto_linear_head_make(const canto_linear_shape *shape, int head, int64_t tokens);
// exp(tokens log_decay)
double canto_linear_decay(const canto_linear_head *it, int64_t tokens);

// Whether a run is worth waking threads for.
static inline bool canto_linear_is_long(const canto_linear_shape *shape, int64_t tokens)
{
    return tokens * canto_linear_state_count(shape) > CANTO_CPU_PARALLEL_MIN;
}

// Tokens of the chunk that begins at t, and the number of chunks of a run.
static inline int canto_chunk_length(int64_t tokens, int64_t t)
{
    return tokens - t < CANTO_CHUNK ? (int)(tokens - t) : CANTO_CHUNK;
}

static inline int64_t canto_chunk_count(int64_t tokens)
{
    return (tokens + CANTO_CHUNK - 1) / CANTO_CHUNK;
}

// Where the numbers of a token begin.
static inline int64_t canto_linear_key_at(const canto_linear_head *it, int64_t t)
{
    return t * canto_linear_kv_width(it->shape) + (int64_t)it->head * it->shape->key_dim;
}

static inline int64_t canto_linear_value_at(const canto_linear_head *it, int64_t t)
{
    return t * canto_linear_kv_width(it->shape) +
           (int64_t)it->shape->kv_heads * it->shape->key_dim +
           (int64_t)it->head * it->shape->value_dim;
}

static inline int64_t canto_linear_state_at(const canto_linear_head *it)
{
    return (int64_t)it->head * it->shape->key_dim * it->columns;
}

// keys [n, key_ld] and x [n, column_ld] of n tokens from t on; x ends with the column of ones.
void canto_linear_pack(const canto_linear_head *it, int64_t t, int n, const float *kv, float *keys,
                       float *x);
// queries [n, key_ld] and dy [n, column_ld] of query head h.
void canto_linear_pack_queries(const canto_linear_head *it, int64_t t, int n, int h, const float *q,
                               const float *dy, float *queries, float *dy_rows);
// to [columns, padded n] = from' , from [n, ld]; the padding becomes 0.
void canto_linear_columns_of(int n, int columns, const float *from, int ld, float *to);

// Row i of x [n, ld] is multiplied by power[i + 1]: from the incoming state to token i.
void canto_linear_scale_from_start(const canto_linear_head *it, int n, float *x, int ld);
// Row i is multiplied by power[n - 1 - i]: from token i to the outgoing state.
void canto_linear_scale_to_end(const canto_linear_head *it, int n, float *x, int ld);
// scores [n, ld]: element (i, j <= i) is multiplied by power[i - j].
void canto_linear_scale_pairs(const canto_linear_head *it, int n, float *scores, int ld);
void canto_linear_scale(int64_t n, float factor, float *x);

// state [key_dim, column_ld] takes in the n tokens of keys, which it scales in place, and x.
void canto_linear_advance(const canto_linear_head *it, int n, float *keys, const float *x,
                          float *state);
// state [key_dim, column_ld] = head's part of a state array (NULL: zero), and back.
void canto_linear_load_state(const canto_linear_head *it, const float *from, float *state);
void canto_linear_store_state(const canto_linear_head *it, const float *state, float *to);

#endif
