// What a segment of gated linear attention publishes: its end state from a zero state and the sum
// of its gates; in the backward pass the gradient of its incoming state when nothing is asked of
// its end state, and the same sum. One walk over chunks each. Keeps one state and one chunk on the
// stack.
#include "runtime/cpu/gated_block.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, COLUMNS = CANTO_LINEAR_COLUMNS_MAX, CHUNK = CANTO_CHUNK };

typedef struct space {
    alignas(CANTO_TILE_ALIGN) float state[DIM * COLUMNS]; // [key_dim, column_ld], or its gradient
    alignas(CANTO_TILE_ALIGN) float rise[CHUNK * DIM];    // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float rows[CHUNK * DIM];    // [n, key_ld]: v or u
    alignas(CANTO_TILE_ALIGN) float x[CHUNK * COLUMNS];   // [n, column_ld], or dy
    double sum[DIM], total[DIM];                          // [key_dim]
    float factors[DIM];                                   // [key_ld]
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

static void begin(const canto_linear_head *it, space *s)
{
    canto_linear_load_state(it, NULL, s->state);
    for (int d = 0; d < it->shape->key_dim; d++) s->total[d] = 0;
}

static void publish(const canto_linear_head *it, const space *s, float *summary)
{
    const int dim = it->shape->key_dim;
    float *transition = summary + canto_linear_state_count(it->shape) + (int64_t)it->head * dim;
    canto_linear_store_state(it, s->state, summary);
    for (int d = 0; d < dim; d++) transition[d] = (float)s->total[d];
}

// state += rows' x
static void take_in(const canto_linear_head *it, int n, space *s)
{
    canto_tile_product(it->shape->key_dim, it->column_ld, n,
                       (canto_tile_factor){s->rows, 1, it->key_ld}, s->x, it->column_ld, true,
                       s->state, it->column_ld);
}

void canto_gated_summary_head(const canto_linear_head *it, int64_t tokens, const float *kv,
                              const float *gates, float *summary)
{
    space s;
    begin(it, &s);
    for (int64_t t = 0, n; t < tokens; t += n) {
        n = canto_gated_chunk(it, gates, tokens, t, s.rise, s.sum);
        canto_gated_factors(it, gates, t, NULL, s.factors);
        canto_gated_scale_rows(it, s.factors, s.state);
        canto_linear_pack(it, t, (int)n, kv, s.rows, s.x);
        canto_gated_fall(it, (int)n, s.rise, s.rows);
        take_in(it, (int)n, &s);
        canto_gated_scale_rows(it, s.rise + (n - 1) * it->key_ld, s.state);
        canto_gated_add(it, gates, t, s.sum, s.total);
    }
    publish(it, &s, summary);
}

// sum_t diag(exp(gates of tokens 0 .. t)) q_t dy_t': once nothing is left of the incoming state,
// only gates are added up.
void canto_gated_backward_summary_head(const canto_linear_head *it, int64_t tokens, const float *q,
                                       const float *gates, const float *dy, float *summary)
{
    space s;
    bool left = true;
    begin(it, &s);
    for (int64_t t = 0, n; t < tokens; t += n) {
        left = left && canto_gated_factors(it, gates, t, s.total, s.factors);
        n = canto_gated_chunk(it, gates, tokens, t, left ? s.rise : NULL, s.sum);
        for (int h = it->first; left && h < it->last; h++) {
            canto_linear_pack_queries(it, t, (int)n, h, q, dy, s.rows, s.x);
            canto_gated_rise(it, (int)n, s.rise, s.rows);
            for (int i = 0; i < n; i++) canto_gated_rise(it, 1, s.factors, s.rows + i * it->key_ld);
            take_in(it, (int)n, &s);
        }
        canto_gated_add(it, gates, t, s.sum, s.total);
    }
    publish(it, &s, summary);
}
