// Matrix-state attention of a few tokens, forward: what decoding does. Each head's state is read
// and written once, in place if that is asked for; tokens follow each other while it lies in a
// cache. Keeps a row or two on the stack, and a state if nobody wants the last one; key/value
// heads are independent, so that the result does not depend on the number of threads.
#include "runtime/cpu/linear_few.h"

#include "runtime/cpu/exp.h"
#include "runtime/cpu/linear_block.h"

#include <stdalign.h>
#include <string.h>

enum { COLUMNS = CANTO_HEAD_DIM_MAX + 1 };

typedef struct space {
    alignas(64) float x[COLUMNS + CANTO_COLUMNS]; // what is written: x', of one token
    float keep[CANTO_HEAD_DIM_MAX];               // decays of the rows
    float state[CANTO_HEAD_DIM_MAX * COLUMNS];    // if the caller wants none
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

// y += factor x
static void add_scaled(int n, float factor, const float *x, float *y)
{
    int c = 0;
    for (; c + LANES <= n; c += LANES) vstore(y + c, vload(y + c) + vset(factor) * vload(x + c));
    for (; c < n; c++) y[c] += factor * x[c];
}

// to = keep from + factor x; what is not kept is not read, because 0 times infinity is no number.
static void update_row(int n, float keep, const float *from, float factor, const float *x,
                       float *to)
{
    int c = 0;
    if (keep == 0 || !from) {
        for (; c < n; c++) to[c] = factor * x[c];
        return;
    }
    for (; c + LANES <= n; c += LANES)
        vstore(to + c, vset(keep) * vload(from + c) + vset(factor) * vload(x + c));
    for (; c < n; c++) to[c] = keep * from[c] + factor * x[c];
}

static void find_decays(const canto_linear_head *it, int64_t t, float *keep)
{
    const canto_linear_shape *shape = it->shape;
    const int64_t first = canto_linear_gates(it, t, 1).at;
    const float constant = shape->log_decay ? canto_cpu_exp(shape->log_decay[it->head]) : 1;
    for (int r = 0; r < shape->key_dim; r++) {
        const int64_t at = first + (shape->gate == CANTO_GATE_KEY ? r : 0);
        keep[r] = shape->gate != CANTO_GATE_NONE ? canto_cpu_exp(it->run->gates[at]) : constant;
    }
}

// s->x = x' of token t, from the state before it (NULL: zero).
static void find_written(const canto_linear_head *it, int64_t t, const float *before, space *s)
{
    const canto_linear_shape *shape = it->shape;
    const canto_rows values = canto_linear_values(it, it->run->kv, t, 1);
    memcpy(s->x, it->run->kv + values.at, sizeof *s->x * (size_t)shape->value_dim);
    if (shape->ones) s->x[shape->value_dim] = 1;
    if (!shape->erases || !before) return;
    const float *erase = it->run->erase + canto_linear_erasers(it, it->run->erase, t, 1).at;
    for (int r = 0; r < shape->key_dim; r++) {
        if (s->keep[r] != 0)
            add_scaled(it->columns, -s->keep[r] * erase[r], before + (int64_t)r * it->columns,
                       s->x);
    }
}

static void run_token(const canto_linear_head *it, int64_t t, const float *before, float *after,
                      float *y, space *s)
{
    const canto_linear_shape *shape = it->shape;
    const float *keys = it->run->kv + canto_linear_keys(it, it->run->kv, t, 1).at;
    const int columns = it->columns;
    find_decays(it, t, s->keep);
    find_written(it, t, before, s);
    for (int h = it->first; h < it->last; h++)
        memset(y + canto_linear_outputs(it, y, t, 1, h).at, 0, sizeof *y * (size_t)columns);
    for (int r = 0; r < shape->key_dim; r++) {
        float *row = after + (int64_t)r * columns;
        update_row(columns, s->keep[r], before ? before + (int64_t)r * columns : NULL, keys[r],
                   s->x, row);
        for (int h = it->first; h < it->last; h++) {
            const float q = it->run->q[canto_linear_queries(it, it->run->q, t, 1, h).at + r];
            add_scaled(columns, q, row, y + canto_linear_outputs(it, y, t, 1, h).at);
        }
    }
}

bool canto_linear_is_few(const canto_linear_run *run)
{
    return run->tokens > 0 && run->tokens <= CANTO_FEW_TOKENS;
}

void canto_linear_few(const canto_linear_shape *shape, const canto_linear_run *run,
                      const float *state_in, float *y, float *state_out)
{
    const int64_t tokens = run->tokens;
#pragma omp parallel for schedule(static) if (canto_linear_is_long(shape, tokens))
    for (int g = 0; g < shape->kv_heads; g++) {
        const canto_linear_head it = canto_linear_head_make(shape, run, g);
        const int64_t at = (int64_t)g * shape->key_dim * it.columns;
        space s;
        float *after = state_out ? state_out + at : s.state;
        for (int64_t t = 0; t < tokens; t++) {
            const float *before = t > 0 ? after : state_in ? state_in + at : NULL;
            run_token(&it, t, before, after, y, &s);
        }
    }
}
