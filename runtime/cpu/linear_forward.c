// Matrix-state attention, forward, chunk by chunk (see linear_block.h): the outputs of a run and
// the state after it; what an incoming state adds to outputs that are there already; and what a
// segment publishes. Keeps one state and one chunk on the stack; key/value heads are independent,
// so that the result does not depend on the number of threads.
#include "runtime/cpu/linear_decay.h"
#include "runtime/cpu/linear_few.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, CHUNK = CANTO_CHUNK, WIDE = CANTO_CHUNK_WIDE };
enum { X_PANEL = CANTO_CHUNK * CANTO_COLUMNS };

typedef struct space {
    alignas(64) float states[DIM * CANTO_STATE_WIDE];     // of each head: T or S, panels
    alignas(64) float keys[DIM * WIDE];                   // v, transposed, panels
    alignas(64) float x[CHUNK * CANTO_STATE_WIDE];        // x', panels
    alignas(64) float weighted[CHUNK * CANTO_STATE_WIDE]; // e x', panels
    alignas(64) float pairs[CHUNK * WIDE];
    alignas(64) float key_rows[CHUNK * DIM], rows[CHUNK * DIM]; // where they are made
    alignas(64) float factors[DIM];
    float *state;    // of the head at hand
    bool holds;      // it is not zero
    bool finite;     // all of x' is
    canto_soon soon; // the next block
    canto_linear_powers powers[CANTO_GROUP];
    canto_linear_decay decay;
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

// What one walk over a head's tokens does.
typedef struct walk {
    const float *state_in; // borrowed; NULL: zero
    bool values;           // false: they are all 0, what comes out is the incoming state's
    bool adds;             // to y
    float *y;              // borrowed; NULL: only the state is wanted
    float *state_out;      // borrowed; NULL: not wanted
} walk;

// --- a chunk's parts ---

// s->x = the values of the chunk.
static void load_values(const canto_linear_head *it, const walk *w, int64_t t, space *s)
{
    const int n = s->decay.n;
    const canto_rows values = canto_linear_values(it, it->run->kv, t, n);
    s->finite = true;
    if (w->values) {
        s->finite = canto_pack_panels(&values, NULL, s->x, X_PANEL);
        canto_linear_add_ones(it, n, s->x);
    } else {
        memset(s->x, 0, sizeof *s->x * (size_t)(it->column_panels * X_PANEL));
    }
}

// Panels of n rows times the columns: whether all of it is finite.
static bool is_finite(const canto_linear_head *it, int n, const float *x)
{
    float sum = 0;
    for (int p = 0; p < it->column_panels; p++) {
        for (int i = 0; i < n * CANTO_COLUMNS; i++) sum += x[p * X_PANEL + i] * 0;
    }
    return sum == 0;
}

// s->x = x': what T and the tokens before hold under r is taken away from the values.
static void erase(const canto_linear_head *it, int64_t t, space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim;
    const canto_rows r = canto_linear_erasers(it, it->run->erase, t, d->n);
    const canto_left left = canto_linear_left(&r, d->rise, false, s->rows);
    canto_linear_scores(d->n, dim, left, s->keys, s->pairs);
    canto_linear_weigh(d->n, d->pairs, d->pairs_row, -1, true, s->pairs);
    float scale[CHUNK];
    for (int i = 0; i < d->n; i++) scale[i] = d->from_start ? -d->from_start[i] : -1;
    const canto_product_of p = {.rows = d->n,
                                .columns = it->columns,
                                .first = {.a = left.at,
                                          .row = left.stride,
                                          .column = 1,
                                          .b = s->state,
                                          .panel = (int64_t)dim * CANTO_COLUMNS,
                                          .depth = dim},
                                .scale = scale,
                                .keep = 1,
                                .c = s->x,
                                .c_row = CANTO_COLUMNS,
                                .c_panel = X_PANEL,
                                .padded = true};
    if (s->holds) canto_product(&p);
    canto_linear_solve(d->n, it->column_panels, s->pairs, false, s->x);
    s->finite = is_finite(it, d->n, s->x);
}

// y of query head h: from T, unless it is zero, and from the tokens before.
static void read_head(const canto_linear_head *it, const walk *w, int64_t t, int h, space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim, n = d->n, strip = s->finite ? CANTO_ROWS : 1;
    const canto_rows q = canto_linear_queries(it, it->run->q, t, n, h);
    const canto_rows out = canto_linear_outputs(it, w->y, t, n, h);
    const canto_left left = canto_linear_left(&q, d->rise, false, s->rows);
    int end[CHUNK];
    for (int i = 0; i < n; i += strip) end[i / strip] = i + strip < n ? i + strip : n;
    canto_linear_scores(n, dim, left, s->keys, s->pairs);
    canto_linear_weigh(n, d->pairs, d->pairs_row, 1, false, s->pairs);
    const canto_product_of p = {.rows = n,
                                .columns = it->columns,
                                .first = {.a = left.at,
                                          .row = left.stride,
                                          .column = 1,
                                          .b = s->state,
                                          .panel = (int64_t)dim * CANTO_COLUMNS,
                                          .depth = s->holds ? dim : 0},
                                .soon = &s->soon,
                                .second = {.a = s->pairs,
                                           .row = WIDE,
                                           .column = 1,
                                           .b = s->x,
                                           .panel = X_PANEL,
                                           .depth = n,
                                           .end = end},
                                .scale = d->from_start,
                                .keep = w->adds,
                                .c = w->y + out.at,
                                .c_row = out.stride,
                                .c_panel = CANTO_COLUMNS,
                                .single = strip == 1};
    canto_product(&p);
}

// S <- diag(a) (w T + sum e v x')
static void advance(const canto_linear_head *it, canto_left keys, space *s)
{
    const canto_linear_decay *d = &s->decay;
    const int dim = it->shape->key_dim;
    const float *x = s->x;
    if (d->to_end) {
        for (int p = 0; p < it->column_panels; p++) {
            const canto_rows panel = {.x = s->x + p * X_PANEL,
                                      .dtype = CANTO_F32,
                                      .stride = CANTO_COLUMNS,
                                      .n = d->n,
                                      .columns = CANTO_COLUMNS};
            canto_pack_panels(&panel, d->to_end, s->weighted + p * X_PANEL, X_PANEL);
        }
        x = s->weighted;
    }
    const canto_product_of p = {.rows = dim,
                                .columns = it->columns,
                                .first = {.a = keys.at,
                                          .row = 1,
                                          .column = keys.stride,
                                          .b = x,
                                          .panel = X_PANEL,
                                          .depth = d->n},
                                .keep = s->holds ? d->whole : 0,
                                .soon = &s->soon,
                                .c = s->state,
                                .c_row = CANTO_COLUMNS,
                                .c_panel = (int64_t)dim * CANTO_COLUMNS,
                                .padded = true};
    canto_product(&p);
    canto_decay_state(it, d->after, s->state);
}

// --- a run ---

// A group of heads side by side.
typedef struct group {
    int n;
    canto_linear_head heads[CANTO_GROUP];
} group;

static group group_make(const canto_linear_shape *shape, const canto_linear_run *run, int begin,
                        int end)
{
    group g = {.n = end - begin};
    for (int i = 0; i < g.n; i++) g.heads[i] = canto_linear_head_make(shape, run, begin + i);
    return g;
}

// What a block of tokens reads and writes.
static canto_soon ask_for_block(const group *g, const walk *w, int64_t t)
{
    const canto_linear_head *it = &g->heads[0];
    const int64_t left = it->run->tokens - t;
    const int n = left < CHUNK ? (int)left : CHUNK, share = it->last - it->first;
    canto_rows blocks[CANTO_SOON_MAX];
    int count = 0;
    if (left <= 0) return (canto_soon){0};
    blocks[count++] = canto_linear_keys(it, it->run->kv, t, n);
    if (w->values) blocks[count++] = canto_linear_values(it, it->run->kv, t, n);
    if (it->shape->erases) blocks[count++] = canto_linear_erasers(it, it->run->erase, t, n);
    if (it->run->gates) blocks[count++] = canto_linear_gates(it, t, n);
    for (int i = 0; i < count; i++) blocks[i] = canto_linear_beside(blocks[i], g->n);
    if (w->y) {
        const canto_rows q = canto_linear_queries(it, it->run->q, t, n, it->first);
        const canto_rows y = canto_linear_outputs(it, w->y, t, n, it->first);
        blocks[count++] = canto_linear_beside(q, g->n * share);
        blocks[count++] = canto_linear_beside(y, g->n * share);
    }
    const int turns = CHUNK / CANTO_ROWS * share + it->shape->key_dim / CANTO_ROWS;
    return canto_soon_make(count, blocks, (int64_t)g->n * it->column_panels * turns);
}

// The chunk of one head that begins at t.
static void walk_chunk(const canto_linear_head *it, const walk *w, int64_t t, space *s)
{
    const canto_rows k = canto_linear_keys(it, it->run->kv, t, s->decay.n);
    const canto_left keys = canto_linear_left(&k, s->decay.rise, true, s->key_rows);
    const canto_rows key_rows = {.x = keys.at,
                                 .dtype = CANTO_F32,
                                 .stride = keys.stride,
                                 .n = s->decay.n,
                                 .columns = it->shape->key_dim};
    canto_decay_state(it, s->decay.before, s->state);
    if (w->y || it->shape->erases)
        canto_pack_transposed(&key_rows, 1, CANTO_COLUMNS, s->keys,
                              (int64_t)it->shape->key_dim * CANTO_COLUMNS);
    load_values(it, w, t, s);
    if (it->shape->erases) erase(it, t, s);
    for (int h = it->first; w->y && h < it->last; h++) read_head(it, w, t, h, s);
    if (w->state_out || t + s->decay.n < it->run->tokens) advance(it, keys, s);
    s->holds = true;
}

static void walk_group(const group *g, const walk *w, space *s)
{
    const int64_t tokens = g->heads[0].run->tokens, state = canto_linear_state_floats(&g->heads[0]);
    for (int i = 0; i < g->n; i++) {
        canto_decay_begin(&g->heads[i], &s->powers[i]);
        canto_linear_load_state(&g->heads[i], w->state_in, false, s->states + i * state);
    }
    for (int64_t begin = 0; begin < tokens; begin += CHUNK) {
        const int64_t end = begin + CHUNK < tokens ? begin + CHUNK : tokens;
        s->soon = ask_for_block(g, w, end);
        for (int i = 0; i < g->n; i++) {
            s->state = s->states + i * state;
            s->holds = begin > 0 || w->state_in;
            for (int64_t t = begin; t < end; t += s->decay.n) {
                canto_decay_chunk(&g->heads[i], &s->powers[i], t, &s->decay);
                walk_chunk(&g->heads[i], w, t, s);
            }
        }
    }
    for (int i = 0; w->state_out && i < g->n; i++)
        canto_linear_store_state(&g->heads[i], s->states + i * state, w->state_out);
}

// All heads, shared by threads in groups.
static void walk_all(const canto_linear_shape *shape, const canto_linear_run *run, const walk *w)
{
    const canto_linear_head any = canto_linear_head_make(shape, run, 0);
    const int64_t room = DIM * CANTO_STATE_WIDE / canto_linear_state_floats(&any);
    const int threads = canto_linear_threads(shape, run->tokens);
    const int groups =
        canto_linear_groups(shape, room < CANTO_GROUP ? (int)room : CANTO_GROUP, threads);
#pragma omp parallel for schedule(static) if (threads > 1)
    for (int i = 0; i < groups; i++) {
        const group g = group_make(shape, run, shape->kv_heads * i / groups,
                                   shape->kv_heads * (i + 1) / groups);
        space s;
        walk_group(&g, w, &s);
    }
}

void CANTO_CPU(linear_forward)(const canto_device *device, const canto_linear_shape *shape,
                               const canto_linear_run *run, const float *state_in, float *y,
                               float *state_out)
{
    const walk w = {.state_in = state_in, .values = true, .y = y, .state_out = state_out};
    if (canto_linear_is_few(run))
        canto_linear_few(shape, run, state_in, y, state_out);
    else
        walk_all(shape, run, &w);
}

// --- what a segment publishes ---

// Without erasing, what the gates sum to; log_decay is known to everybody.
static void sum_gates(const canto_linear_head *it, float *transition, space *s)
{
    const int width = canto_linear_gate_width(it->shape);
    double total[DIM] = {0};
    for (int64_t t = 0; t < it->run->tokens; t += s->decay.n) {
        canto_decay_chunk(it, NULL, t, &s->decay);
        canto_decay_total(it, &s->decay, total);
    }
    for (int d = 0; d < width; d++) transition[(int64_t)it->head * width + d] = (float)total[d];
}

// What becomes of the identity, whose columns are the key dims.
static void walk_identity(const canto_linear_head *it, float *transition, space *s)
{
    const int dim = it->shape->key_dim;
    canto_linear_shape shape = *it->shape;
    shape.value_dim = dim;
    shape.ones = false;
    group square = group_make(&shape, it->run, it->head, it->head + 1);
    square.heads[0].kv_width = it->kv_width;
    float *own = transition + (int64_t)it->head * dim * dim;
    memset(own, 0, sizeof *own * (size_t)(dim * dim));
    for (int d = 0; d < dim; d++) own[d * dim + d] = 1;
    const walk w = {.state_in = transition, .state_out = transition};
    walk_group(&square, &w, s);
}

void canto_linear_transition(const canto_linear_head *it, float *transition)
{
    space s;
    if (it->shape->erases)
        walk_identity(it, transition, &s);
    else if (it->shape->gate != CANTO_GATE_NONE)
        sum_gates(it, transition, &s);
}

void CANTO_CPU(linear_summary)(const canto_device *device, const canto_linear_shape *shape,
                               const canto_linear_run *run, float *summary)
{
    const walk w = {.values = true, .state_out = summary};
    walk_all(shape, run, &w);
    if (canto_linear_transition_count(shape) == 0) return;
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, run->tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, run, g);
        canto_linear_transition(&it, summary + canto_linear_state_count(shape));
    }
}

// --- what an incoming state adds ---

// The chunk at t, T in s->state.
static void read_chunk(const canto_linear_head *it, int64_t t, float *y, space *s)
{
    const canto_linear_decay *d = &s->decay;
    for (int h = it->first; h < it->last; h++) {
        const canto_rows q = canto_linear_queries(it, it->run->q, t, d->n, h);
        const canto_rows out = canto_linear_outputs(it, y, t, d->n, h);
        const canto_left left = canto_linear_left(&q, d->rise, false, s->rows);
        const canto_product_of p = {.rows = d->n,
                                    .columns = it->columns,
                                    .first = {.a = left.at,
                                              .row = left.stride,
                                              .column = 1,
                                              .b = s->state,
                                              .panel = (int64_t)it->shape->key_dim * CANTO_COLUMNS,
                                              .depth = it->shape->key_dim},
                                    .scale = d->from_start,
                                    .keep = 1,
                                    .c = y + out.at,
                                    .c_row = out.stride,
                                    .c_panel = CANTO_COLUMNS};
        canto_product(&p);
    }
}

// T = what is left of the state, from the beginning anew for every chunk: what has decayed below
// 1e-30 is gone, and nothing is read once all of it is.
static void read_left(const canto_linear_head *it, const float *state_in, float *y, space *s)
{
    double total[DIM] = {0};
    canto_decay_begin(it, &s->powers[0]);
    s->state = s->states;
    for (int64_t t = 0; t < it->run->tokens; t += s->decay.n) {
        if (canto_decay_is_gone(it, total, s->factors)) return;
        canto_decay_chunk(it, &s->powers[0], t, &s->decay);
        canto_linear_load_state(it, state_in, false, s->state);
        canto_decay_state(it, s->factors, s->state);
        canto_decay_state(it, s->decay.before, s->state);
        read_chunk(it, t, y, s);
        canto_decay_total(it, &s->decay, total);
    }
}

void CANTO_CPU(linear_read)(const canto_device *device, const canto_linear_shape *shape,
                            const canto_linear_run *run, const float *state_in, float *y)
{
    const walk w = {.state_in = state_in, .adds = true, .y = y};
    if (shape->erases) {
        walk_all(shape, run, &w);
        return;
    }
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, run->tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, run, g);
        space s;
        read_left(&it, state_in, y, &s);
    }
}
