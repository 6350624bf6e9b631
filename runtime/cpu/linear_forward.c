// Linear attention with a constant decay, forward, in chunks of 64 tokens (the block form of
// Lightning Attention-2, Qin et al. 2024, and of LASP-2, Sun et al. 2025): the outputs of a run,
// and what an incoming state adds to outputs that are there already. Keeps one state and
// one chunk on the stack; key/value heads are independent, so that the result does not depend on
// the number of threads.
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/gated_block.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, COLUMNS = CANTO_LINEAR_COLUMNS_MAX, CHUNK = CANTO_CHUNK };

typedef struct space {
    alignas(CANTO_TILE_ALIGN) float state[DIM * COLUMNS];     // [key_dim, column_ld]
    alignas(CANTO_TILE_ALIGN) float keys[CHUNK * DIM];        // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float key_columns[DIM * CHUNK]; // [key_dim, padded n]
    alignas(CANTO_TILE_ALIGN) float x[CHUNK * COLUMNS];       // [n, column_ld]
    alignas(CANTO_TILE_ALIGN) float scores[CHUNK * CHUNK];    // [n, padded n]
    alignas(CANTO_TILE_ALIGN) float y[CHUNK * COLUMNS];       // [n, column_ld]
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

// The rows of query head h from token t on.
static canto_tile_factor queries_of(const canto_linear_head *it, int64_t t, int h, const float *q)
{
    const canto_linear_shape *shape = it->shape;
    return (canto_tile_factor){q + (t * shape->heads + h) * shape->key_dim,
                               (int64_t)shape->heads * shape->key_dim, 1};
}

// s->y = what the state at the chunk's beginning gives to its n tokens.
static void read_state(const canto_linear_head *it, int n, canto_tile_factor queries, space *s)
{
    canto_tile_product(n, it->column_ld, it->shape->key_dim, queries, s->state, it->column_ld,
                       false, s->y, it->column_ld);
    canto_linear_scale_from_start(it, n, s->y, it->column_ld);
}

// s->y += what the chunk's tokens give to each other.
static void read_chunk(const canto_linear_head *it, int n, canto_tile_factor queries, space *s)
{
    const int width = canto_tile_pad(n);
    int begin[CHUNK], end[CHUNK];
    for (int i = 0; i < n; i++) {
        begin[i] = 0;
        end[i] = i + 1;
    }
    canto_tile_product(n, width, it->shape->key_dim, queries, s->key_columns, width, false,
                       s->scores, width);
    canto_linear_scale_pairs(it, n, s->scores, width);
    canto_tile_band_product(n, it->column_ld, (canto_tile_ranges){begin, end},
                            (canto_tile_factor){s->scores, width, 1}, s->x, it->column_ld, s->y,
                            it->column_ld);
}

static void store_outputs(const canto_linear_head *it, int64_t t, int n, int h, const space *s,
                          float *y)
{
    for (int i = 0; i < n; i++)
        memcpy(y + ((t + i) * it->shape->heads + h) * it->columns, s->y + i * it->column_ld,
               (size_t)it->columns * sizeof *y);
}

static void forward_head(const canto_linear_head *it, int64_t tokens, const float *q,
                         const float *kv, const float *state_in, float *y, float *state_out)
{
    space s;
    canto_linear_load_state(it, state_in, s.state);
    for (int64_t t = 0; t < tokens; t += CHUNK) {
        const int n = canto_chunk_length(tokens, t);
        canto_linear_pack(it, t, n, kv, s.keys, s.x);
        canto_linear_columns_of(n, it->shape->key_dim, s.keys, it->key_ld, s.key_columns);
        for (int h = it->first; h < it->last; h++) {
            const canto_tile_factor queries = queries_of(it, t, h, q);
            read_state(it, n, queries, &s);
            read_chunk(it, n, queries, &s);
            store_outputs(it, t, n, h, &s, y);
        }
        if (state_out || t + n < tokens) canto_linear_advance(it, n, s.keys, s.x, s.state);
    }
    if (state_out) canto_linear_store_state(it, s.state, state_out);
}

void CANTO_CPU(linear_forward)(const canto_device *device, const canto_linear_shape *shape,
                               int64_t tokens, const float *q, const float *kv, const float *gates,
                               const float *state_in, float *y, float *state_out)
{
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, g, tokens);
        if (shape->gated)
            canto_gated_forward_head(&it, tokens, q, kv, gates, state_in, y, state_out);
        else
            forward_head(&it, tokens, q, kv, state_in, y, state_out);
    }
}

static void read_head(const canto_linear_head *it, int64_t tokens, const float *q,
                      const float *state_in, float *y)
{
    space s;
    canto_linear_load_state(it, state_in, s.state);
    for (int64_t t = 0; t < tokens; t += CHUNK) {
        const int n = canto_chunk_length(tokens, t);
        const float before = (float)canto_linear_decay(it, t); // of the chunks before this one
        for (int h = it->first; h < it->last; h++) {
            read_state(it, n, queries_of(it, t, h, q), &s);
            canto_tile_add(n, it->columns, before, s.y, it->column_ld,
                           y + (t * it->shape->heads + h) * it->columns,
                           (int64_t)it->shape->heads * it->columns);
        }
    }
}

void CANTO_CPU(linear_read)(const canto_device *device, const canto_linear_shape *shape,
                            int64_t tokens, const float *q, const float *gates,
                            const float *state_in, float *y)
{
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, g, tokens);
        if (shape->gated)
            canto_gated_read_head(&it, tokens, q, gates, state_in, y);
        else
            read_head(&it, tokens, q, state_in, y);
    }
}
