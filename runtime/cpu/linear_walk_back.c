// The walk back of the backward pass: see linear_backward.c.
#include "runtime/cpu/linear_walks.h"

// dx' and dv of the chunk as H gives them.
static void receive_gradient(const canto_linear_head *it, canto_left keys, const float *x,
                             const canto_walk_of_head *w, canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim;
    canto_linear_turn(it->columns, dim, w->gradient, w->ungradient);
    const canto_product_of dx = {.rows = d->n,
                                 .columns = it->columns,
                                 .first = {.a = keys.at,
                                           .row = keys.stride,
                                           .column = 1,
                                           .b = w->ungradient,
                                           .panel = (int64_t)dim * CANTO_COLUMNS,
                                           .depth = dim},
                                 .scale = d->to_end,
                                 .c = s->dx,
                                 .c_row = CANTO_COLUMNS,
                                 .c_panel = CANTO_X_PANEL,
                                 .padded = true};
    canto_product(&dx);
    if (!x) return;
    const canto_product_of dv = {.rows = d->n,
                                 .columns = dim,
                                 .first = {.a = x,
                                           .row = CANTO_COLUMNS,
                                           .column = 1,
                                           .part = CANTO_COLUMNS,
                                           .part_at = CANTO_X_PANEL,
                                           .b = w->gradient,
                                           .panel = (int64_t)it->columns * CANTO_COLUMNS,
                                           .depth = it->columns},
                                 .scale = d->to_end,
                                 .c = s->dv,
                                 .c_row = CANTO_COLUMNS,
                                 .c_panel = CANTO_X_PANEL,
                                 .padded = true};
    canto_product(&dv);
}

// rows += triangle, of `columns` columns in panels.
static void add_triangle(int n, int columns, canto_term triangle, bool single, canto_soon *soon,
                         float *rows)
{
    const canto_product_of p = {.rows = n,
                                .columns = columns,
                                .first = triangle,
                                .keep = 1,
                                .soon = soon,
                                .c = rows,
                                .c_row = CANTO_COLUMNS,
                                .c_panel = CANTO_X_PANEL,
                                .single = single,
                                .padded = true};
    canto_product(&p);
}

// dx' and dv += what query head h asks of the chunk, and G takes it in. x NULL: no dv.
static void add_head(const canto_linear_head *it, int64_t t, int h, const float *x,
                     const canto_walk_arrays *a, const canto_walk_of_head *w, canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim, n = d->n;
    const canto_rows q = canto_linear_queries(it, it->run->q, t, n, h);
    const canto_rows dy = canto_linear_outputs(it, a->dy, t, n, h);
    const canto_left u = canto_linear_left(&q, d->rise, false, s->rows);
    const canto_left dy_rows = {a->dy + dy.at, dy.stride};
    const canto_rows u_rows = canto_walk_rows(u, n, dim);
    canto_linear_scores(n, dim, u, s->keys, s->pairs);
    canto_linear_weigh(n, d->pairs, d->pairs_row, 1, false, s->pairs);
    const bool dy_finite = canto_pack_panels(&dy, NULL, s->dy, CANTO_X_PANEL);
    add_triangle(n, it->columns, canto_walk_triangle(s->pairs, true, s->dy, n, !dy_finite, s),
                 !dy_finite, &s->soon, s->dx);
    const bool u_finite = canto_pack_panels(&u_rows, NULL, s->queries, CANTO_X_PANEL);
    if (x) {
        canto_linear_scores(n, it->columns, dy_rows, s->turned_x, s->slopes);
        canto_linear_weigh(n, d->pairs, d->pairs_row, 1, false, s->slopes);
        add_triangle(n, dim, canto_walk_triangle(s->slopes, true, s->queries, n, !u_finite, s),
                     !u_finite, &s->soon, s->dv);
    }
    if (d->from_start) canto_pack_panels(&u_rows, d->from_start, s->queries, CANTO_X_PANEL);
    canto_walk_add_outer(it, n, s->dy, s->queries, h == it->first ? d->whole : 1, w->gradient);
}

// --- with r ---

// s->dx = dx from dx'; G loses what it erases. Leaves p as left factor in s->rows or where it lies.
static canto_left solve_gradient(const canto_linear_head *it, int64_t t,
                                 const canto_walk_of_head *w, canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim, n = d->n;
    const canto_rows r = canto_linear_erasers(it, it->run->erase, t, n);
    const canto_left p = canto_linear_left(&r, d->rise, false, s->rows);
    const canto_rows p_rows = canto_walk_rows(p, n, dim);
    float scale[CANTO_CHUNK];
    for (int i = 0; i < n; i++) scale[i] = d->from_start ? -d->from_start[i] : -1;
    canto_linear_scores(n, dim, p, s->keys, s->pairs);
    canto_linear_weigh(n, d->pairs, d->pairs_row, -1, true, s->pairs);
    canto_linear_solve(n, it->column_panels, s->pairs, true, s->dx);
    canto_pack_panels(&p_rows, scale, s->queries, CANTO_X_PANEL);
    canto_walk_add_outer(it, n, s->dx, s->queries, 1, w->gradient);
    return p;
}

// The turned state T at the chunk's beginning, from that of the block, in w->state.
static void find_state(const canto_linear_head *it, int64_t t, const canto_walk_of_head *w,
                       canto_walk_space *s)
{
    const int64_t turned = canto_linear_turned_floats(it), block = t / CANTO_CHUNK;
    memcpy(w->state, w->states + block * turned, sizeof *w->state * (size_t)turned);
    for (int64_t at = block * CANTO_CHUNK; at < t; at += s->decay.n) {
        canto_decay_chunk(it, &w->powers, at, &s->decay);
        const canto_left keys = canto_walk_keys(it, at, s);
        const canto_rows key_rows = canto_walk_rows(keys, s->decay.n, it->shape->key_dim);
        canto_decay_turned(it, s->decay.before, w->state);
        canto_pack_panels(&key_rows, s->decay.to_end, s->dv, CANTO_X_PANEL);
        canto_walk_add_outer(it, s->decay.n, canto_walk_x(it, at, w, s), s->dv, s->decay.whole,
                             w->state);
        canto_decay_turned(it, s->decay.after, w->state);
    }
}

// derase of the chunk, and dv += what it is erased by.
static void erase_gradient(const canto_linear_head *it, int64_t t, canto_left keys, canto_left p,
                           const canto_walk_arrays *a, const canto_walk_of_head *w,
                           canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim, n = d->n;
    const canto_rows p_rows = canto_walk_rows(p, n, dim), key_rows = canto_walk_rows(keys, n, dim);
    const canto_rows to = canto_linear_erasers(it, a->d->derase, t, n);
    float scale[CANTO_CHUNK];
    for (int i = 0; i < n; i++) scale[i] = d->from_start ? -d->from_start[i] : -1;
    // dA, from rows of dx that are gathered out of their panels.
    for (int i = 0; i < n; i++) {
        for (int c = 0; c < it->columns; c++)
            s->dy[i * it->columns + c] =
                s->dx[c / CANTO_COLUMNS * CANTO_X_PANEL + i * CANTO_COLUMNS + c % CANTO_COLUMNS];
    }
    canto_linear_scores(n, it->columns, (canto_left){s->dy, it->columns}, s->turned_x, s->slopes);
    canto_linear_weigh(n, d->pairs, d->pairs_row, -1, true, s->slopes);
    bool finite = canto_pack_panels(&p_rows, NULL, s->queries, CANTO_X_PANEL);
    add_triangle(n, dim, canto_walk_triangle(s->slopes, true, s->queries, n, !finite, s), !finite,
                 &s->soon, s->dv);
    finite = canto_pack_panels(&key_rows, NULL, s->keys, CANTO_X_PANEL);
    const canto_product_of dp = {.rows = n,
                                 .columns = dim,
                                 .first = {.a = s->dy,
                                           .row = it->columns,
                                           .column = 1,
                                           .b = w->state,
                                           .panel = (int64_t)it->columns * CANTO_COLUMNS,
                                           .depth = it->columns},
                                 .second =
                                     canto_walk_triangle(s->slopes, false, s->keys, n, !finite, s),
                                 .scale = scale,
                                 .c = s->queries,
                                 .c_row = CANTO_COLUMNS,
                                 .c_panel = CANTO_X_PANEL,
                                 .single = !finite,
                                 .padded = true};
    canto_product(&dp);
    canto_walk_store_keys(it, &to, s->queries, false, d->rise, a->d->derase);
}

// --- a chunk, a run ---

static void store_values(const canto_rows *to, const float *panels, float *out)
{
    for (int i = 0; i < to->n; i++) {
        float *row = out + to->at + i * to->stride;
        for (int c = 0; c < to->columns; c += CANTO_COLUMNS) {
            const int left = to->columns - c;
            memcpy(row + c, panels + c / CANTO_COLUMNS * CANTO_X_PANEL + i * CANTO_COLUMNS,
                   sizeof *row * (size_t)(left < CANTO_COLUMNS ? left : CANTO_COLUMNS));
        }
    }
}

static void chunk_back(const canto_linear_head *it, int64_t t, const canto_walk_arrays *a,
                       const canto_walk_of_head *w, canto_walk_space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim;
    float *x = NULL;
    if (a->d && it->shape->erases) {
        find_state(it, t, w, s);
        canto_decay_chunk(it, &w->powers, t, &s->decay);
        canto_decay_turned(it, d->before, w->state);
    }
    if (a->d) {
        x = canto_walk_x(it, t, w, s);
        if (!it->shape->erases) canto_walk_values(it, t, d->n, x);
        canto_walk_turn(it, d->n, x, s);
    }
    const canto_left keys = canto_walk_keys(it, t, s);
    const canto_rows key_rows = canto_walk_rows(keys, d->n, dim);
    canto_pack_transposed(&key_rows, 1, CANTO_COLUMNS, s->keys, (int64_t)dim * CANTO_COLUMNS);
    canto_decay_turned(it, d->after, w->gradient);
    receive_gradient(it, keys, x, w, s);
    for (int h = it->first; h < it->last; h++) add_head(it, t, h, x, a, w, s);
    if (it->shape->erases) {
        const canto_left p = solve_gradient(it, t, w, s);
        if (a->d) erase_gradient(it, t, keys, p, a, w, s);
    }
    canto_decay_turned(it, d->before, w->gradient);
    if (!a->d) return;
    const canto_rows dk = canto_linear_keys(it, a->d->dkv, t, d->n);
    const canto_rows dvalues = canto_linear_values(it, a->d->dkv, t, d->n);
    canto_walk_store_keys(it, &dk, s->dv, true, d->rise, a->d->dkv);
    store_values(&dvalues, s->dx, a->d->dkv);
}

void canto_walk_back_begin(const canto_linear_head *it, const canto_walk_arrays *a,
                           canto_walk_of_head *w)
{
    canto_decay_begin(it, &w->powers);
    canto_linear_load_state(it, a->dstate_out, true, w->gradient);
    memset(w->ungradient, 0, sizeof *w->ungradient * (size_t)canto_linear_state_floats(it));
}

// Beginnings of the chunks of the block that begins at t, and its end; returns their number. Leaves
// the decays of the last one.
static int cut_block(const canto_linear_head *it, int64_t t, const canto_walk_of_head *w,
                     int64_t *begin, canto_walk_space *s)
{
    const int64_t tokens = it->run->tokens;
    const int64_t end = t + CANTO_CHUNK < tokens ? t + CANTO_CHUNK : tokens;
    int count = 0;
    for (; t < end; t += s->decay.n) {
        canto_decay_chunk(it, &w->powers, t, &s->decay);
        begin[count++] = t;
    }
    begin[count] = end;
    return count;
}

void canto_walk_back_block(const canto_linear_head *it, const canto_walk_arrays *a,
                           const canto_walk_of_head *w, int64_t block, canto_walk_space *s)
{
    int64_t begin[CANTO_CHUNK + 1];
    const int count = cut_block(it, block * CANTO_CHUNK, w, begin, s);
    for (int c = count - 1; c >= 0; c--) {
        if (c < count - 1) canto_decay_chunk(it, &w->powers, begin[c], &s->decay);
        chunk_back(it, begin[c], a, w, s);
    }
}
