// What the two walks of the backward pass of matrix-state attention share; see linear_backward.c.
#ifndef CANTO_RUNTIME_CPU_LINEAR_WALKS_H
#define CANTO_RUNTIME_CPU_LINEAR_WALKS_H

#include "runtime/cpu/linear_decay.h"

#include <stdalign.h>

#define canto_walk_work          CANTO_CPU(walk_work)
#define canto_walk_floats        CANTO_CPU(walk_floats)
#define canto_walk_values        CANTO_CPU(walk_values)
#define canto_walk_turn          CANTO_CPU(walk_turn)
#define canto_walk_keys          CANTO_CPU(walk_keys)
#define canto_walk_add_outer     CANTO_CPU(walk_add_outer)
#define canto_walk_store_keys    CANTO_CPU(walk_store_keys)
#define canto_walk_forward_begin CANTO_CPU(walk_forward_begin)
#define canto_walk_forward_block CANTO_CPU(walk_forward_block)
#define canto_walk_forward_end   CANTO_CPU(walk_forward_end)
#define canto_walk_back_begin    CANTO_CPU(walk_back_begin)
#define canto_walk_back_block    CANTO_CPU(walk_back_block)

enum { CANTO_X_PANEL = CANTO_CHUNK * CANTO_COLUMNS }; // floats of a panel of a chunk's rows

typedef struct canto_walk_arrays {
    const float *state_in, *dy, *dstate_out; // borrowed; NULL but dy: zero
    const canto_linear_gradients *d;         // borrowed; NULL: only the state's is wanted
} canto_walk_arrays;

// A chunk, on the stack.
typedef struct canto_walk_space {
    alignas(64) float x[CANTO_CHUNK * CANTO_STATE_WIDE];  // x', panels, unless it lies in work
    alignas(64) float dx[CANTO_CHUNK * CANTO_STATE_WIDE]; // panels
    alignas(64) float dy[CANTO_CHUNK * CANTO_STATE_WIDE]; // panels
    alignas(64) float turned_x[CANTO_CHUNK_WIDE * CANTO_STATE_WIDE]; // x' transposed, panels
    alignas(64) float keys[CANTO_CHUNK_WIDE * CANTO_HEAD_DIM_MAX];   // v, panels, or transposed
    alignas(64) float queries[CANTO_CHUNK * CANTO_HEAD_DIM_MAX];     // u, or p, panels
    alignas(64) float dv[CANTO_CHUNK * CANTO_HEAD_DIM_MAX];          // panels; also du, dp
    alignas(64) float key_rows[CANTO_CHUNK * CANTO_HEAD_DIM_MAX];    // where rows are made
    alignas(64) float rows[CANTO_CHUNK * CANTO_HEAD_DIM_MAX];
    alignas(64) float pairs[CANTO_CHUNK * CANTO_CHUNK_WIDE];
    alignas(64) float slopes[CANTO_CHUNK * CANTO_CHUNK_WIDE];
    int begin[CANTO_CHUNK], end[CANTO_CHUNK]; // of strips of a triangle
    canto_soon soon;                          // the next block
    canto_linear_decay decay;
} canto_walk_space;

_Static_assert(sizeof(canto_walk_space) <= CANTO_KERNEL_STACK, "threads have room for it");

// The part of `work` that belongs to one key/value head.
typedef struct canto_walk_of_head {
    double *total;     // [key_dim]: rowsum(S_end * dS_end)
    float *state;      // turned: of the walk forward
    float *gradient;   // turned: G
    float *unturned;   // panels: the state of the walk forward
    float *ungradient; // panels: G
    float *x;          // [blocks, column panels, CANTO_CHUNK, CANTO_COLUMNS]: x', if it erases
    float *states;     // [blocks], turned: at the beginning of each block, if it erases
    canto_linear_powers powers;
} canto_walk_of_head;

// Floats of a head's work, and its place in all heads'.
int64_t canto_walk_floats(const canto_linear_head *it, int64_t tokens);
canto_walk_of_head canto_walk_work(const canto_linear_head *it, void *work);

// Where x' of the chunk at t lies.
static inline float *canto_walk_x(const canto_linear_head *it, int64_t t,
                                  const canto_walk_of_head *w, canto_walk_space *s)
{
    if (!it->shape->erases) return s->x;
    return w->x + t / CANTO_CHUNK * it->column_panels * CANTO_X_PANEL +
           t % CANTO_CHUNK * CANTO_COLUMNS;
}

// Rows of a left factor, to be packed.
static inline canto_rows canto_walk_rows(canto_left left, int n, int columns)
{
    return (canto_rows){
        .x = left.at, .dtype = CANTO_F32, .stride = left.stride, .n = n, .columns = columns};
}

// A product of a lower triangle, or with `turned` of its transpose, with n rows in panels, and the
// bounds of its strips: rows, if `single`.
static inline canto_term canto_walk_triangle(const float *pairs, bool turned, const float *rows,
                                             int n, bool single, canto_walk_space *s)
{
    const int strip = single ? 1 : CANTO_ROWS;
    for (int i = 0; i < n; i += strip) {
        s->begin[i / strip] = i;
        s->end[i / strip] = i + strip < n ? i + strip : n;
    }
    return (canto_term){.a = pairs,
                        .row = turned ? 1 : CANTO_CHUNK_WIDE,
                        .column = turned ? CANTO_CHUNK_WIDE : 1,
                        .b = rows,
                        .panel = CANTO_X_PANEL,
                        .depth = n,
                        .begin = turned ? s->begin : NULL,
                        .end = turned ? NULL : s->end};
}

// x = the values of n tokens from t on, panels; whether they are finite.
bool canto_walk_values(const canto_linear_head *it, int64_t t, int n, float *x);
// s->turned_x from x.
void canto_walk_turn(const canto_linear_head *it, int n, const float *x, canto_walk_space *s);
// v of the chunk at t.
canto_left canto_walk_keys(const canto_linear_head *it, int64_t t, canto_walk_space *s);
// turned <- keep turned + factor left' right, of n rows: left as panels of columns, right as panels
// of keys.
void canto_walk_add_outer(const canto_linear_head *it, int n, const float *left, const float *right,
                          float keep, float *turned);
// Rows of an array of keys or queries from panels, times the rise, or divided by it with `falls`.
void canto_walk_store_keys(const canto_linear_head *it, const canto_rows *to, const float *panels,
                           bool falls, const float *rise, float *out);

// Blocks of CANTO_CHUNK tokens, in order: dq, the state and, in the end, the total; x' and the
// states of blocks, if it erases.
void canto_walk_forward_begin(const canto_linear_head *it, const canto_walk_arrays *a,
                              canto_walk_of_head *w);
void canto_walk_forward_block(const canto_linear_head *it, const canto_walk_arrays *a,
                              const canto_walk_of_head *w, int64_t block, canto_walk_space *s);
void canto_walk_forward_end(const canto_linear_head *it, const canto_walk_arrays *a,
                            const canto_walk_of_head *w);
// Blocks, the last one first: dkv and derase, and G before them; needs what the walk forward leaves
// if it erases. Without a->d only G, from dstate_out = 0.
void canto_walk_back_begin(const canto_linear_head *it, const canto_walk_arrays *a,
                           canto_walk_of_head *w);
void canto_walk_back_block(const canto_linear_head *it, const canto_walk_arrays *a,
                           const canto_walk_of_head *w, int64_t block, canto_walk_space *s);

#endif
