// Linear attention with a constant decay, backward, in chunks of 64 tokens. The states before each
// chunk are computed once more, first to last, into `work`; then the chunks are walked last to
// first with G = the gradient of the state after the chunk. With a, i, j as in linear_block.h:
//
//     dq_i = a^(i+1) S dy_i       + sum_{j <= i} a^(i-j) (dy_i . x_j) k_j
//     dk_j = a^(n-1-j) G x_j      + sum_{i >= j} a^(i-j) (dy_i . x_j) q_i
//     dx_j = a^(n-1-j) G' k_j     + sum_{i >= j} a^(i-j) (q_i . k_j) dy_i
//     G   <- a^n G + sum_i a^(i+1) q_i dy_i'
//
// States and G are kept transposed, [columns, key_dim], which is how dq and dk read them; a copy of
// G the other way round serves dx. Keeps one chunk on the stack, one state per chunk in `work`.
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/gated_block.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, COLUMNS = CANTO_LINEAR_COLUMNS_MAX, CHUNK = CANTO_CHUNK };

typedef struct arrays {
    const float *q, *kv, *dy; // borrowed
    float *dq, *dkv;          // borrowed
} arrays;

typedef struct space {
    alignas(CANTO_TILE_ALIGN) float keys[CHUNK * DIM];            // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float key_columns[DIM * CHUNK];     // [key_dim, padded n]
    alignas(CANTO_TILE_ALIGN) float x[CHUNK * COLUMNS];           // [n, column_ld]
    alignas(CANTO_TILE_ALIGN) float x_columns[COLUMNS * CHUNK];   // [columns, padded n]
    alignas(CANTO_TILE_ALIGN) float queries[CHUNK * DIM];         // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float dy[CHUNK * COLUMNS];          // [n, column_ld]
    alignas(CANTO_TILE_ALIGN) float scores[CHUNK * CHUNK];        // a^(i-j) q_i . k_j
    alignas(CANTO_TILE_ALIGN) float slopes[CHUNK * CHUNK];        // a^(i-j) dy_i . x_j
    alignas(CANTO_TILE_ALIGN) float dq[CHUNK * DIM];              // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float dkeys[CHUNK * DIM];           // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float dx[CHUNK * COLUMNS];          // [n, column_ld]
    int zeros[CHUNK], diagonal[CHUNK], after[CHUNK], ends[CHUNK]; // 0, i, i + 1, n
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

// The part of `work` that belongs to one key/value head.
typedef struct work_of_head {
    float *states;           // [chunks, columns, key_ld], transposed, before each chunk
    float *gradient_columns; // [columns, key_ld]: G transposed
    float *gradient;         // [key_dim, column_ld]
} work_of_head;

static int64_t state_columns_count(const canto_linear_head *it)
{
    return (int64_t)it->columns * it->key_ld;
}

static int64_t state_rows_count(const canto_linear_head *it)
{
    return (int64_t)it->shape->key_dim * it->column_ld;
}

static int64_t work_count(const canto_linear_head *it, int64_t tokens)
{
    return (canto_chunk_count(tokens) + 1) * state_columns_count(it) + state_rows_count(it);
}

size_t CANTO_CPU(linear_work_bytes)(const canto_linear_shape *shape, int64_t tokens)
{
    const canto_linear_head it = canto_linear_head_make(shape, 0, 0);
    const int64_t count = shape->gated ? canto_gated_work_count(&it) : work_count(&it, tokens);
    return (size_t)(shape->kv_heads * count) * sizeof(float);
}

static work_of_head work_make(const canto_linear_head *it, int64_t tokens, float *work)
{
    work_of_head w;
    w.states = work + it->head * work_count(it, tokens);
    w.gradient_columns = w.states + canto_chunk_count(tokens) * state_columns_count(it);
    w.gradient = w.gradient_columns + state_columns_count(it);
    return w;
}

// to [columns, key_ld] = head's part of a state array, transposed (NULL: zero).
static void load_transposed(const canto_linear_head *it, const float *from, float *to)
{
    memset(to, 0, (size_t)state_columns_count(it) * sizeof *to);
    if (from)
        canto_tile_transpose(it->shape->key_dim, it->columns, 1, from + canto_linear_state_at(it),
                             it->columns, to, it->key_ld);
}

static void recompute_states(const canto_linear_head *it, int64_t tokens, const float *kv,
                             const float *state_in, const work_of_head *w, space *s)
{
    const int64_t size = state_columns_count(it);
    load_transposed(it, state_in, w->states);
    for (int64_t t = 0; t + CHUNK < tokens; t += CHUNK) {
        const float *before = w->states + t / CHUNK * size;
        float *state = w->states + (t / CHUNK + 1) * size;
        memcpy(state, before, (size_t)size * sizeof *state);
        canto_linear_pack(it, t, CHUNK, kv, s->keys, s->x);
        canto_linear_scale_to_end(it, CHUNK, s->keys, it->key_ld);
        canto_linear_scale(size, it->power[CHUNK], state);
        canto_tile_product(it->columns, it->key_ld, CHUNK,
                           (canto_tile_factor){s->x, 1, it->column_ld}, s->keys, it->key_ld, true,
                           state, it->key_ld);
    }
}

static void load_chunk(const canto_linear_head *it, int64_t t, int n, const float *kv, space *s)
{
    canto_linear_pack(it, t, n, kv, s->keys, s->x);
    canto_linear_columns_of(n, it->shape->key_dim, s->keys, it->key_ld, s->key_columns);
    canto_linear_columns_of(n, it->columns, s->x, it->column_ld, s->x_columns);
    for (int i = 0; i < n; i++) {
        s->zeros[i] = 0;
        s->diagonal[i] = i;
        s->after[i] = i + 1;
        s->ends[i] = n;
    }
}

// dkeys and dx = what the tokens after the chunk ask of it, through G.
static void receive_gradient(const canto_linear_head *it, int n, const work_of_head *w, space *s)
{
    canto_tile_product(n, it->key_ld, it->columns, (canto_tile_factor){s->x, it->column_ld, 1},
                       w->gradient_columns, it->key_ld, false, s->dkeys, it->key_ld);
    canto_linear_scale_to_end(it, n, s->dkeys, it->key_ld);
    canto_tile_product(n, it->column_ld, it->shape->key_dim,
                       (canto_tile_factor){s->keys, it->key_ld, 1}, w->gradient, it->column_ld,
                       false, s->dx, it->column_ld);
    canto_linear_scale_to_end(it, n, s->dx, it->column_ld);
}

static void differentiate_pairs(const canto_linear_head *it, int n, space *s)
{
    const int width = canto_tile_pad(n);
    canto_tile_product(n, width, it->shape->key_dim, (canto_tile_factor){s->queries, it->key_ld, 1},
                       s->key_columns, width, false, s->scores, width);
    canto_tile_product(n, width, it->columns, (canto_tile_factor){s->dy, it->column_ld, 1},
                       s->x_columns, width, false, s->slopes, width);
    canto_linear_scale_pairs(it, n, s->scores, width);
    canto_linear_scale_pairs(it, n, s->slopes, width);
}

// dq of the chunk; `state` is the one before it, transposed.
static void query_gradient(const canto_linear_head *it, int n, const float *state, space *s)
{
    const canto_tile_factor slopes = {s->slopes, canto_tile_pad(n), 1};
    canto_tile_product(n, it->key_ld, it->columns, (canto_tile_factor){s->dy, it->column_ld, 1},
                       state, it->key_ld, false, s->dq, it->key_ld);
    canto_linear_scale_from_start(it, n, s->dq, it->key_ld);
    canto_tile_band_product(n, it->key_ld, (canto_tile_ranges){s->zeros, s->after}, slopes, s->keys,
                            it->key_ld, s->dq, it->key_ld);
}

// dkeys and dx += what the chunk's own tokens ask of it.
static void key_gradient(const canto_linear_head *it, int n, space *s)
{
    const int width = canto_tile_pad(n);
    const canto_tile_ranges later = {s->diagonal, s->ends};
    canto_tile_band_product(n, it->key_ld, later, (canto_tile_factor){s->slopes, 1, width},
                            s->queries, it->key_ld, s->dkeys, it->key_ld);
    canto_tile_band_product(n, it->column_ld, later, (canto_tile_factor){s->scores, 1, width},
                            s->dy, it->column_ld, s->dx, it->column_ld);
}

static void chunk_backward(const canto_linear_head *it, int64_t t, int n, const arrays *a,
                           const work_of_head *w, space *s)
{
    const canto_linear_shape *shape = it->shape;
    const int64_t stride = canto_linear_kv_width(shape);
    load_chunk(it, t, n, a->kv, s);
    receive_gradient(it, n, w, s);
    canto_linear_scale(state_columns_count(it), it->power[n], w->gradient_columns);
    for (int h = it->first; h < it->last; h++) {
        canto_linear_pack_queries(it, t, n, h, a->q, a->dy, s->queries, s->dy);
        differentiate_pairs(it, n, s);
        query_gradient(it, n, w->states + t / CHUNK * state_columns_count(it), s);
        canto_tile_store(n, shape->key_dim, s->dq, it->key_ld,
                         a->dq + (t * shape->heads + h) * shape->key_dim,
                         (int64_t)shape->heads * shape->key_dim);
        key_gradient(it, n, s);
        canto_linear_scale_from_start(it, n, s->queries, it->key_ld);
        canto_tile_product(it->columns, it->key_ld, n, (canto_tile_factor){s->dy, 1, it->column_ld},
                           s->queries, it->key_ld, true, w->gradient_columns, it->key_ld);
    }
    canto_tile_store(n, shape->key_dim, s->dkeys, it->key_ld, a->dkv + canto_linear_key_at(it, t),
                     stride);
    canto_tile_store(n, shape->value_dim, s->dx, it->column_ld,
                     a->dkv + canto_linear_value_at(it, t), stride);
    canto_tile_transpose(it->columns, shape->key_dim, 1, w->gradient_columns, it->key_ld,
                         w->gradient, it->column_ld);
}

static void head_backward(const canto_linear_head *it, int64_t tokens, const arrays *a,
                          const float *state_in, const float *dstate_out, const work_of_head *w)
{
    space s;
    recompute_states(it, tokens, a->kv, state_in, w, &s);
    load_transposed(it, dstate_out, w->gradient_columns);
    canto_linear_load_state(it, dstate_out, w->gradient);
    for (int64_t c = canto_chunk_count(tokens) - 1; c >= 0; c--) {
        const int64_t t = c * CHUNK;
        chunk_backward(it, t, canto_chunk_length(tokens, t), a, w, &s);
    }
}

void CANTO_CPU(linear_backward)(const canto_device *device, const canto_linear_shape *shape,
                                int64_t tokens, const float *q, const float *kv, const float *gates,
                                const float *state_in, const float *dy, const float *dstate_out,
                                float *dq, float *dkv, float *dgates, void *work)
{
    const arrays a = {q, kv, dy, dq, dkv};
    const canto_gated_arrays gated = {q, kv, gates, dy, state_in, dstate_out, dq, dkv, dgates};
    if (tokens == 0) return;
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, g, tokens);
        if (shape->gated) {
            canto_gated_backward_head(&it, tokens, &gated,
                                      (float *)work + g * canto_gated_work_count(&it));
        } else {
            const work_of_head w = work_make(&it, tokens, work); // of another size than gated work
            head_backward(&it, tokens, &a, state_in, dstate_out, &w);
        }
    }
}
