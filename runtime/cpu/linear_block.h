// What the passes of matrix-state attention share: chunks of tokens, where the rows of a head lie,
// states in panels.
//
// A run is walked in chunks. Inside a chunk of n tokens that begins with state S, with u, p, v made
// of q, r, k and the decays D, f, e, w, b, a of runtime/cpu/linear_decay.h:
//
//     T = diag(b) S
//     x'_i = x_i - f_i T' p_i - sum_{j < i} D_ij (p_i . v_j) x'_j        (x' = x unless it erases)
//     y_i = f_i T' u_i + sum_{j <= i} D_ij (u_i . v_j) x'_j
//     S  <- diag(a) (w T + sum_j e_j v_j x'_j')
//
// (the WY form of Yang et al., arXiv 2406.06484, for any gate; without r the block form of
// Lightning Attention-2, Qin et al., arXiv 2401.04658). All decays are at most 1, or cancel in
// products where they are not.
#ifndef CANTO_RUNTIME_CPU_LINEAR_BLOCK_H
#define CANTO_RUNTIME_CPU_LINEAR_BLOCK_H

#include "runtime/cpu/cpu.h"
#include "runtime/cpu/pack.h"
#include "runtime/cpu/product.h"
#include "runtime/cpu/simd.h"

#define canto_linear_head_make   CANTO_CPU(linear_head_make)
#define canto_linear_threads     CANTO_CPU(linear_threads)
#define canto_linear_load_state  CANTO_CPU(linear_load_state)
#define canto_linear_store_state CANTO_CPU(linear_store_state)
#define canto_linear_turn        CANTO_CPU(linear_turn)
#define canto_linear_left        CANTO_CPU(linear_left)
#define canto_linear_add_ones    CANTO_CPU(linear_add_ones)
#define canto_linear_scores      CANTO_CPU(linear_scores)
#define canto_linear_weigh       CANTO_CPU(linear_weigh)
#define canto_linear_solve       CANTO_CPU(linear_solve)
#define canto_linear_transition  CANTO_CPU(linear_transition)

// CANTO_CHUNK: tokens of a chunk at most, whole register blocks of every level. CANTO_CHUNK_WIDE:
// the columns of the panels that they fill.
enum { CANTO_CHUNK = 48 };
enum { CANTO_CHUNK_WIDE = (CANTO_CHUNK + CANTO_COLUMNS - 1) / CANTO_COLUMNS * CANTO_COLUMNS };
// Columns of the panels of the widest state.
enum {
    CANTO_STATE_WIDE = (CANTO_HEAD_DIM_MAX + 1 + CANTO_COLUMNS - 1) / CANTO_COLUMNS * CANTO_COLUMNS
};

// One key/value head of a run.
typedef struct canto_linear_head {
    const canto_linear_shape *shape; // borrowed
    const canto_linear_run *run;     // borrowed
    int head;
    int first, last;               // its query heads [first, last)
    int columns;                   // of a state
    int64_t kv_width;              // of a row of kv
    int key_panels, column_panels; // panels of key_dim and of columns
} canto_linear_head;

canto_linear_head canto_linear_head_make(const canto_linear_shape *shape,
                                         const canto_linear_run *run, int head);

// Whether a run is worth waking threads for.
static inline bool canto_linear_is_long(const canto_linear_shape *shape, int64_t tokens)
{
    return tokens * canto_linear_state_count(shape) > CANTO_CPU_PARALLEL_MIN;
}

// Heads are walked through side by side, block by block, because their rows lie side by side: in
// groups of at most CANTO_GROUP, and of as few as gives every thread one.
enum { CANTO_GROUP = 16 };

static inline int canto_linear_groups(const canto_linear_shape *shape, int most, int threads)
{
    const int needed = (shape->kv_heads + most - 1) / most;
    const int groups = threads > needed ? threads : needed;
    return groups < shape->kv_heads ? groups : shape->kv_heads;
}

// Number of threads that a loop over groups is shared by.
int canto_linear_threads(const canto_linear_shape *shape, int64_t tokens);

// Blocks of CANTO_CHUNK tokens of a run; chunks never reach from one into the next.
static inline int64_t canto_chunk_count(int64_t tokens)
{
    return (tokens + CANTO_CHUNK - 1) / CANTO_CHUNK;
}

// --- rows of n tokens from token t on ---

static inline canto_rows canto_linear_rows(const float *x, int64_t width, int64_t t, int n,
                                           int64_t first, int columns)
{
    return (canto_rows){.x = x,
                        .dtype = CANTO_F32,
                        .at = t * width + first,
                        .stride = width,
                        .n = n,
                        .columns = columns};
}

// Of an array [T, kv_heads * key_dim | kv_heads * value_dim].
static inline canto_rows canto_linear_keys(const canto_linear_head *it, const float *kv, int64_t t,
                                           int n)
{
    const canto_linear_shape *s = it->shape;
    return canto_linear_rows(kv, it->kv_width, t, n, (int64_t)it->head * s->key_dim, s->key_dim);
}

static inline canto_rows canto_linear_values(const canto_linear_head *it, const float *kv,
                                             int64_t t, int n)
{
    const canto_linear_shape *s = it->shape;
    return canto_linear_rows(kv, it->kv_width, t, n,
                             (int64_t)s->kv_heads * s->key_dim + (int64_t)it->head * s->value_dim,
                             s->value_dim);
}

// Of an array [T, kv_heads, key_dim].
static inline canto_rows canto_linear_erasers(const canto_linear_head *it, const float *erase,
                                              int64_t t, int n)
{
    const canto_linear_shape *s = it->shape;
    return canto_linear_rows(erase, (int64_t)s->kv_heads * s->key_dim, t, n,
                             (int64_t)it->head * s->key_dim, s->key_dim);
}

// Gates of a run that has them.
static inline canto_rows canto_linear_gates(const canto_linear_head *it, int64_t t, int n)
{
    const int width = canto_linear_gate_width(it->shape);
    return canto_linear_rows(it->run->gates, canto_linear_gates_count(it->shape), t, n,
                             (int64_t)it->head * width, width);
}

// Of query head h of arrays [T, heads, key_dim] and [T, heads, columns].
static inline canto_rows canto_linear_queries(const canto_linear_head *it, const float *q,
                                              int64_t t, int n, int h)
{
    const canto_linear_shape *s = it->shape;
    return canto_linear_rows(q, (int64_t)s->heads * s->key_dim, t, n, (int64_t)h * s->key_dim,
                             s->key_dim);
}

static inline canto_rows canto_linear_outputs(const canto_linear_head *it, const float *y,
                                              int64_t t, int n, int h)
{
    return canto_linear_rows(y, (int64_t)it->shape->heads * it->columns, t, n,
                             (int64_t)h * it->columns, it->columns);
}

// Rows that all of `heads` heads from `it` on read side by side.
static inline canto_rows canto_linear_beside(canto_rows rows, int heads)
{
    rows.columns *= heads;
    return rows;
}

// Rows as the left factor of a product: element (i, k) is at[i * stride + k].
typedef struct canto_left {
    const float *at; // borrowed
    int64_t stride;
} canto_left;

// Where rows lie, or a copy of them in `room` [n, columns], where each is multiplied by a row of
// `rise` [n, columns], or divided by it with `falls`. rise NULL: nothing to do.
canto_left canto_linear_left(const canto_rows *from, const float *rise, bool falls, float *room);

// --- states: panels [column panels, key_dim, CANTO_COLUMNS], or turned [key panels, columns,
// CANTO_COLUMNS] ---

static inline int64_t canto_linear_state_floats(const canto_linear_head *it)
{
    return (int64_t)it->column_panels * it->shape->key_dim * CANTO_COLUMNS;
}

static inline int64_t canto_linear_turned_floats(const canto_linear_head *it)
{
    return (int64_t)it->key_panels * it->columns * CANTO_COLUMNS;
}

// state, or turned, = the head's part of a state array (NULL: zero).
void canto_linear_load_state(const canto_linear_head *it, const float *from, bool turned,
                             float *state);
void canto_linear_store_state(const canto_linear_head *it, const float *state, float *to);
// to = the transpose of from: panels of a matrix [rows, columns] to panels of [columns, rows].
void canto_linear_turn(int rows, int columns, const float *from, float *to);

// Column value_dim of packed values [column panels, CANTO_CHUNK, CANTO_COLUMNS] = 1 for n
// rows, where the shape has it.
void canto_linear_add_ones(const canto_linear_head *it, int n, float *x);

// The head's part of a run's transition (runtime/backend.h); nothing where it has none.
void canto_linear_transition(const canto_linear_head *it, float *transition);

// --- pairs of tokens of a chunk: [CANTO_CHUNK, CANTO_CHUNK_WIDE] ---

// pairs = left right' for j <= i, of `depth` columns; `right`: panels of the right rows' transpose.
void canto_linear_scores(int n, int depth, canto_left left, const float *right, float *pairs);
// pairs(i, j) *= factor * decays[i * row + j] (NULL: 1) for j <= i, or j < i if `strict`; what lies
// behind, up to the end of a strip of CANTO_ROWS rows, becomes 0.
void canto_linear_weigh(int n, const float *decays, int row, float factor, bool strict,
                        float *pairs);
// x <- (I - pairs)^-1 x for the n rows of packed values [panels, CANTO_CHUNK, CANTO_COLUMNS], pairs
// strictly lower; with `turned` its transpose.
void canto_linear_solve(int n, int panels, const float *pairs, bool turned, float *x);

#endif
