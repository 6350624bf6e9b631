// What a segment of linear attention publishes: its end state from a zero state, and in the
// backward pass the gradient of its incoming state when nothing is asked of its end state. Both are
// one walk over chunks of 64 tokens with one product each. Keeps one state and one chunk on the
// stack.
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/gated_block.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, COLUMNS = CANTO_LINEAR_COLUMNS_MAX, CHUNK = CANTO_CHUNK };

typedef struct space {
    alignas(CANTO_TILE_ALIGN) float state[DIM * COLUMNS]; // [key_dim, column_ld], or its gradient
    alignas(CANTO_TILE_ALIGN) float keys[CHUNK * DIM];    // [n, key_ld], or queries
    alignas(CANTO_TILE_ALIGN) float x[CHUNK * COLUMNS];   // [n, column_ld], or dy
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

static void summarise(const canto_linear_head *it, int64_t tokens, const float *kv,
                      float *state_out)
{
    space s;
    canto_linear_load_state(it, NULL, s.state);
    for (int64_t t = 0; t < tokens; t += CHUNK) {
        const int n = canto_chunk_length(tokens, t);
        canto_linear_pack(it, t, n, kv, s.keys, s.x);
        canto_linear_advance(it, n, s.keys, s.x, s.state);
    }
    canto_linear_store_state(it, s.state, state_out);
}

void CANTO_CPU(linear_summary)(const canto_device *device, const canto_linear_shape *shape,
                               int64_t tokens, const float *kv, const float *gates, float *summary)
{
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, g, tokens);
        if (shape->gated)
            canto_gated_summary_head(&it, tokens, kv, gates, summary);
        else
            summarise(&it, tokens, kv, summary);
    }
}

// s->state += sum over the chunk of power[i + 1] q_i dy_i' for query head h.
static void add_queries(const canto_linear_head *it, int64_t t, int n, int h, const float *q,
                        const float *dy, space *s)
{
    canto_linear_pack_queries(it, t, n, h, q, dy, s->keys, s->x);
    canto_linear_scale_from_start(it, n, s->keys, it->key_ld);
    canto_tile_product(it->shape->key_dim, it->column_ld, n,
                       (canto_tile_factor){s->keys, 1, it->key_ld}, s->x, it->column_ld, true,
                       s->state, it->column_ld);
}

static void summarise_backward(const canto_linear_head *it, int64_t tokens, const float *q,
                               const float *dy, float *dstate_in)
{
    space s;
    canto_linear_load_state(it, NULL, s.state);
    for (int64_t c = canto_chunk_count(tokens) - 1; c >= 0; c--) {
        const int64_t t = c * CHUNK;
        const int n = canto_chunk_length(tokens, t);
        canto_linear_scale((int64_t)it->shape->key_dim * it->column_ld, it->power[n], s.state);
        for (int h = it->first; h < it->last; h++) add_queries(it, t, n, h, q, dy, &s);
    }
    canto_linear_store_state(it, s.state, dstate_in);
}

void CANTO_CPU(linear_backward_summary)(const canto_device *device, const canto_linear_shape *shape,
                                        int64_t tokens, const float *q, const float *gates,
                                        const float *dy, float *summary)
{
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, g, tokens);
        if (shape->gated)
            canto_gated_backward_summary_head(&it, tokens, q, gates, dy, summary);
        else
            summarise_backward(&it, tokens, q, dy, summary);
    }
}
