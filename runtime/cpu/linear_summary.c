// What a segment of matrix-state attention publishes in the backward pass: the gradient of its
// incoming state when nothing is asked of its end state, sum_t A_t' q_t dy_t', and its transition.
// Without r one walk forward: once nothing is left of the incoming state, only gates are added up.
// Keeps one chunk on the stack and two states in `work`.
#include "runtime/cpu/linear_walks.h"

enum { DIM = CANTO_HEAD_DIM_MAX };

// s->queries = q of head h times what is left of the incoming state when they read it, panels.
static void load_queries(const canto_linear_head *it, int64_t t, int h, const float *factors,
                         canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim;
    const canto_rows q = canto_linear_queries(it, it->run->q, t, d->n, h);
    canto_pack_rows(&q, s->rows, dim);
    for (int i = 0; i < d->n; i++) {
        float *row = s->rows + i * dim;
        const float scale = d->from_start ? d->from_start[i] : 1;
        for (int c = 0; c < dim; c++) row[c] *= scale * factors[c];
        for (int c = 0; d->rise && c < dim; c++) row[c] *= d->rise[i * dim + c] * d->before[c];
    }
    const canto_rows rows = canto_walk_rows((canto_left){s->rows, dim}, d->n, dim);
    canto_pack_panels(&rows, NULL, s->queries, CANTO_X_PANEL);
}

// w->gradient = the sum, turned.
static void sum_queries(const canto_linear_head *it, const float *dy, const canto_walk_of_head *w)
{
    float factors[DIM];
    double total[DIM] = {0};
    canto_walk_space s;
    canto_linear_powers powers;
    canto_decay_begin(it, &powers);
    canto_linear_load_state(it, NULL, true, w->gradient);
    for (int64_t t = 0; t < it->run->tokens; t += s.decay.n) {
        if (canto_decay_is_gone(it, total, factors)) return;
        canto_decay_chunk(it, &powers, t, &s.decay);
        for (int h = it->first; h < it->last; h++) {
            const canto_rows rows = canto_linear_outputs(it, dy, t, s.decay.n, h);
            load_queries(it, t, h, factors, &s);
            canto_pack_panels(&rows, NULL, s.dy, CANTO_X_PANEL);
            canto_walk_add_outer(it, s.decay.n, s.dy, s.queries, 1, w->gradient);
        }
        canto_decay_total(it, &s.decay, total);
    }
}

static void walk_back(const canto_linear_head *it, const canto_walk_arrays *a,
                      canto_walk_of_head *w)
{
    canto_walk_space s;
    s.soon = (canto_soon){0};
    canto_walk_back_begin(it, a, w);
    for (int64_t block = canto_chunk_count(it->run->tokens) - 1; block >= 0; block--)
        canto_walk_back_block(it, a, w, block, &s);
}

void CANTO_CPU(linear_backward_summary)(const canto_device *device, const canto_linear_shape *shape,
                                        const canto_linear_run *run, const float *dy,
                                        float *summary, void *work)
{
    const canto_walk_arrays a = {.dy = dy};
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, run->tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, run, g);
        canto_walk_of_head w = canto_walk_work(&it, work);
        if (shape->erases)
            walk_back(&it, &a, &w);
        else
            sum_queries(&it, dy, &w);
        canto_linear_turn(it.columns, shape->key_dim, w.gradient, w.ungradient);
        canto_linear_store_state(&it, w.ungradient, summary);
        canto_linear_transition(&it, summary + canto_linear_state_count(shape));
    }
}
