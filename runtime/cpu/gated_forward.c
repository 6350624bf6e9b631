// Gated linear attention, forward, in chunks (see gated_block.h): the outputs of a run, and what an
// incoming state adds to outputs that are there already. Keeps one state and one chunk on the
// stack.
#include "runtime/cpu/gated_block.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, COLUMNS = CANTO_LINEAR_COLUMNS_MAX, CHUNK = CANTO_CHUNK };

typedef struct space {
    alignas(CANTO_TILE_ALIGN) float state[DIM * COLUMNS];   // [key_dim, column_ld]: S or T
    alignas(CANTO_TILE_ALIGN) float rise[CHUNK * DIM];      // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float rows[CHUNK * DIM];      // [n, key_ld]: v, then u of each head
    alignas(CANTO_TILE_ALIGN) float v_columns[DIM * CHUNK]; // [key_dim, padded n]
    alignas(CANTO_TILE_ALIGN) float x[CHUNK * COLUMNS];     // [n, column_ld]
    alignas(CANTO_TILE_ALIGN) float scores[CHUNK * CHUNK];  // [n, padded n]
    alignas(CANTO_TILE_ALIGN) float y[CHUNK * COLUMNS];     // [n, column_ld]
    double sum[DIM], total[DIM];                            // [key_dim]
    float factors[DIM];                                     // [key_ld]
    int begin[CHUNK], end[CHUNK];
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

// rows = u of query head h.
static void load_queries(const canto_linear_head *it, int64_t t, int n, int h, const float *q,
                         space *s)
{
    const int64_t heads = it->shape->heads, dim = it->shape->key_dim;
    canto_tile_copy(n, (int)dim, q + (t * heads + h) * dim, heads * dim, s->rows, it->key_ld);
    canto_gated_rise(it, n, s->rise, s->rows);
}

static void load_keys(const canto_linear_head *it, int64_t t, int n, const float *kv, space *s)
{
    canto_linear_pack(it, t, n, kv, s->rows, s->x);
    canto_gated_fall(it, n, s->rise, s->rows);
    canto_linear_columns_of(n, it->shape->key_dim, s->rows, it->key_ld, s->v_columns);
    for (int i = 0; i < n; i++) {
        s->begin[i] = 0;
        s->end[i] = i + 1;
    }
}

// y = what the state gives to the n tokens in `rows`.
static void read_state(const canto_linear_head *it, int n, space *s)
{
    canto_tile_product(n, it->column_ld, it->shape->key_dim,
                       (canto_tile_factor){s->rows, it->key_ld, 1}, s->state, it->column_ld, false,
                       s->y, it->column_ld);
}

// y += what the chunk's tokens give to each other.
static void read_chunk(const canto_linear_head *it, int n, space *s)
{
    const int width = canto_tile_pad(n);
    canto_tile_product(n, width, it->shape->key_dim, (canto_tile_factor){s->rows, it->key_ld, 1},
                       s->v_columns, width, false, s->scores, width);
    canto_tile_band_product(n, it->column_ld, (canto_tile_ranges){s->begin, s->end},
                            (canto_tile_factor){s->scores, width, 1}, s->x, it->column_ld, s->y,
                            it->column_ld);
}

// The state after the chunk.
static void advance(const canto_linear_head *it, int n, space *s)
{
    canto_tile_product(it->shape->key_dim, it->column_ld, n,
                       (canto_tile_factor){s->v_columns, canto_tile_pad(n), 1}, s->x, it->column_ld,
                       true, s->state, it->column_ld);
    canto_gated_scale_rows(it, s->rise + (n - 1) * it->key_ld, s->state);
}

void canto_gated_forward_head(const canto_linear_head *it, int64_t tokens, const float *q,
                              const float *kv, const float *gates, const float *state_in, float *y,
                              float *state_out)
{
    const int64_t heads = it->shape->heads;
    space s;
    canto_linear_load_state(it, state_in, s.state);
    for (int64_t t = 0, n; t < tokens; t += n) {
        n = canto_gated_chunk(it, gates, tokens, t, s.rise, s.sum);
        canto_gated_factors(it, gates, t, NULL, s.factors);
        canto_gated_scale_rows(it, s.factors, s.state);
        load_keys(it, t, (int)n, kv, &s);
        for (int h = it->first; h < it->last; h++) {
            load_queries(it, t, (int)n, h, q, &s);
            read_state(it, (int)n, &s);
            read_chunk(it, (int)n, &s);
            canto_tile_store((int)n, it->columns, s.y, it->column_ld,
                             y + (t * heads + h) * it->columns, heads * it->columns);
        }
        if (state_out || t + n < tokens) advance(it, (int)n, &s);
    }
    if (state_out) canto_linear_store_state(it, s.state, state_out);
}

// T = what is left of the incoming state, from the beginning anew for every chunk: what has decayed
// below 1e-30 is gone, and nothing is read once all of it is.
void canto_gated_read_head(const canto_linear_head *it, int64_t tokens, const float *q,
                           const float *gates, const float *state_in, float *y)
{
    const int64_t heads = it->shape->heads;
    space s;
    for (int d = 0; d < it->shape->key_dim; d++) s.total[d] = 0;
    for (int64_t t = 0, n; t < tokens; t += n) {
        if (!canto_gated_factors(it, gates, t, s.total, s.factors)) return;
        n = canto_gated_chunk(it, gates, tokens, t, s.rise, s.sum);
        canto_linear_load_state(it, state_in, s.state);
        canto_gated_scale_rows(it, s.factors, s.state);
        for (int h = it->first; h < it->last; h++) {
            load_queries(it, t, (int)n, h, q, &s);
            read_state(it, (int)n, &s);
            canto_tile_add((int)n, it->columns, 1, s.y, it->column_ld,
                           y + (t * heads + h) * it->columns, heads * it->columns);
        }
        canto_gated_add(it, gates, t, s.sum, s.total);
    }
}
