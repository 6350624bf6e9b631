// The walk forward of the backward pass: see linear_backward.c.
#include "runtime/cpu/linear_walks.h"

// x <- x', from the turned state at the chunk's beginning.
static void erase(const canto_linear_head *it, int64_t t, canto_left keys,
                  const canto_walk_of_head *w, float *x, canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim;
    const canto_rows r = canto_linear_erasers(it, it->run->erase, t, d->n);
    const canto_rows key_rows = canto_walk_rows(keys, d->n, dim);
    const canto_left left = canto_linear_left(&r, d->rise, false, s->rows);
    float scale[CANTO_CHUNK];
    for (int i = 0; i < d->n; i++) scale[i] = d->from_start ? -d->from_start[i] : -1;
    canto_pack_transposed(&key_rows, 1, CANTO_COLUMNS, s->keys, (int64_t)dim * CANTO_COLUMNS);
    canto_linear_scores(d->n, dim, left, s->keys, s->pairs);
    canto_linear_weigh(d->n, d->pairs, d->pairs_row, -1, true, s->pairs);
    canto_linear_turn(it->columns, dim, w->state, w->unturned);
    const canto_product_of p = {.rows = d->n,
                                .columns = it->columns,
                                .first = {.a = left.at,
                                          .row = left.stride,
                                          .column = 1,
                                          .b = w->unturned,
                                          .panel = (int64_t)dim * CANTO_COLUMNS,
                                          .depth = dim},
                                .scale = scale,
                                .keep = 1,
                                .c = x,
                                .c_row = CANTO_COLUMNS,
                                .c_panel = CANTO_X_PANEL,
                                .padded = true};
    canto_product(&p);
    canto_linear_solve(d->n, it->column_panels, s->pairs, false, x);
}

// dq of query head h.
static void query_gradient(const canto_linear_head *it, int64_t t, int h, bool single,
                           const canto_walk_arrays *a, const float *state, canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const canto_rows dy = canto_linear_outputs(it, a->dy, t, d->n, h);
    const canto_rows dq = canto_linear_queries(it, a->d->dq, t, d->n, h);
    const canto_left left = {a->dy + dy.at, dy.stride};
    canto_linear_scores(d->n, it->columns, left, s->turned_x, s->slopes);
    canto_linear_weigh(d->n, d->pairs, d->pairs_row, 1, false, s->slopes);
    const canto_product_of p = {.rows = d->n,
                                .columns = it->shape->key_dim,
                                .first = {.a = left.at,
                                          .row = left.stride,
                                          .column = 1,
                                          .b = state,
                                          .panel = (int64_t)it->columns * CANTO_COLUMNS,
                                          .depth = it->columns},
                                .second =
                                    canto_walk_triangle(s->slopes, false, s->keys, d->n, single, s),
                                .scale = d->from_start,
                                .soon = &s->soon,
                                .c = s->dv,
                                .c_row = CANTO_COLUMNS,
                                .c_panel = CANTO_X_PANEL,
                                .single = single,
                                .padded = true};
    canto_product(&p);
    canto_walk_store_keys(it, &dq, s->dv, false, d->rise, a->d->dq);
}

static void chunk_forward(const canto_linear_head *it, int64_t t, const canto_walk_arrays *a,
                          const canto_walk_of_head *w, canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const canto_left keys = canto_walk_keys(it, t, s);
    const canto_rows key_rows = canto_walk_rows(keys, d->n, it->shape->key_dim);
    float *x = canto_walk_x(it, t, w, s);
    canto_decay_turned(it, d->before, w->state);
    canto_walk_values(it, t, d->n, x);
    if (it->shape->erases) erase(it, t, keys, w, x, s);
    canto_walk_turn(it, d->n, x, s);
    const bool finite = canto_pack_panels(&key_rows, NULL, s->keys, CANTO_X_PANEL);
    for (int h = it->first; h < it->last; h++) query_gradient(it, t, h, !finite, a, w->state, s);
    if (d->to_end) canto_pack_panels(&key_rows, d->to_end, s->keys, CANTO_X_PANEL);
    canto_walk_add_outer(it, d->n, x, s->keys, d->whole, w->state);
    canto_decay_turned(it, d->after, w->state);
}

static void begin_total(const canto_linear_head *it, const canto_walk_arrays *a,
                        const canto_walk_of_head *w)
{
    const int dim = it->shape->key_dim;
    const float *gradient =
        a->dstate_out ? a->dstate_out + (int64_t)it->head * dim * it->columns : NULL;
    for (int r = 0; r < dim; r++) {
        const float *row = w->state + (int64_t)(r / CANTO_COLUMNS) * it->columns * CANTO_COLUMNS +
                           r % CANTO_COLUMNS;
        double sum = 0;
        for (int c = 0; gradient && c < it->columns; c++)
            sum += (double)row[c * CANTO_COLUMNS] * (double)gradient[(int64_t)r * it->columns + c];
        w->total[r] = sum;
    }
}

void canto_walk_forward_begin(const canto_linear_head *it, const canto_walk_arrays *a,
                              canto_walk_of_head *w)
{
    canto_decay_begin(it, &w->powers);
    canto_linear_load_state(it, a->state_in, true, w->state);
}

void canto_walk_forward_block(const canto_linear_head *it, const canto_walk_arrays *a,
                              const canto_walk_of_head *w, int64_t block, canto_walk_space *s)
{
    const int64_t turned = canto_linear_turned_floats(it), begin = block * CANTO_CHUNK;
    const int64_t tokens = it->run->tokens;
    const int64_t end = begin + CANTO_CHUNK < tokens ? begin + CANTO_CHUNK : tokens;
    if (it->shape->erases)
        memcpy(w->states + block * turned, w->state, sizeof *w->states * (size_t)turned);
    for (int64_t t = begin; t < end; t += s->decay.n) {
        canto_decay_chunk(it, &w->powers, t, &s->decay);
        chunk_forward(it, t, a, w, s);
    }
}

void canto_walk_forward_end(const canto_linear_head *it, const canto_walk_arrays *a,
                            const canto_walk_of_head *w)
{
    if (it->shape->gate != CANTO_GATE_NONE) begin_total(it, a, w);
}
