// Matrix-state attention and its adjoint as written in the header: one token after the other, in
// double. Slow on purpose. Keeps the state of every token for the backward pass.
#include "tests/ref/linear.h"

#include "tests/canto_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// One key/value head of the problem.
typedef struct problem {
    const canto_linear_shape *shape;
    const canto_ref_run *run;
    int head; // of keys and values
} problem;

static int columns(const problem *it)
{
    return canto_linear_columns(it->shape);
}

static int64_t state_size(const problem *it)
{
    return (int64_t)it->shape->key_dim * columns(it);
}

// The gate of row r of the state.
static int64_t gate_at(const problem *it, int64_t t, int r)
{
    const int width = canto_linear_gate_width(it->shape);
    return (t * it->shape->kv_heads + it->head) * width +
           (it->shape->gate == CANTO_GATE_KEY ? r : 0);
}

// What row r of the state before token t is multiplied by.
static double keep(const problem *it, int64_t t, int r)
{
    for (int d = 0; d < it->run->documents.starts_n; d++) {
        if (it->run->documents.starts[d] == t) return 0;
    }
    if (it->shape->gate) return exp(it->run->gates[gate_at(it, t, r)]);
    return it->shape->log_decay ? exp((double)it->shape->log_decay[it->head]) : 1;
}

static int64_t key_at(const problem *it, int64_t t)
{
    return t * canto_linear_kv_width(it->shape) + (int64_t)it->head * it->shape->key_dim;
}

static int64_t value_at(const problem *it, int64_t t)
{
    return t * canto_linear_kv_width(it->shape) +
           (int64_t)it->shape->kv_heads * it->shape->key_dim +
           (int64_t)it->head * it->shape->value_dim;
}

static int64_t eraser_at(const problem *it, int64_t t)
{
    return (t * it->shape->kv_heads + it->head) * it->shape->key_dim;
}

// r_t, row r of it.
static double eraser(const problem *it, int64_t t, int r)
{
    return it->shape->erases ? it->run->erase[eraser_at(it, t) + r] : 0;
}

// Column c of x_t.
static double x_of(const problem *it, int64_t t, int c)
{
    return c < it->shape->value_dim ? it->run->kv[value_at(it, t) + c] : 1;
}

static int first_query_head(const problem *it)
{
    return it->head * (it->shape->heads / it->shape->kv_heads);
}

static int last_query_head(const problem *it)
{
    return (it->head + 1) * (it->shape->heads / it->shape->kv_heads) - 1;
}

static double *numbers(int64_t n)
{
    double *x = calloc((size_t)(n + 1), sizeof *x);
    if (!x) fail_msg("no memory for %lld numbers", (long long)n);
    return x;
}

// Element (r, c) of B_t. A state that is not kept is not multiplied: 0 times infinity has no
// meaning.
static double kept(const problem *it, int64_t t, const double *before, int r, int c)
{
    const double factor = keep(it, t, r);
    return factor == 0 ? 0 : factor * before[(int64_t)r * columns(it) + c];
}

// Column c of e_t.
static double written(const problem *it, int64_t t, const double *before, int c)
{
    double e = x_of(it, t, c);
    for (int r = 0; it->shape->erases && r < it->shape->key_dim; r++)
        e -= kept(it, t, before, r, c) * eraser(it, t, r);
    return e;
}

// states [tokens + 1, key_dim, columns] of this head: states[t] is before token t.
static double *all_states(const problem *it, const double *state_in)
{
    const int64_t size = state_size(it), tokens = it->run->tokens;
    double *states = numbers((tokens + 1) * size);
    if (state_in) memcpy(states, state_in + it->head * size, (size_t)size * sizeof *states);
    for (int64_t t = 0; t < tokens; t++) {
        const double *before = states + t * size;
        double *after = states + (t + 1) * size;
        for (int c = 0; c < columns(it); c++) {
            const double e = written(it, t, before, c);
            for (int r = 0; r < it->shape->key_dim; r++)
                after[(int64_t)r * columns(it) + c] =
                    kept(it, t, before, r, c) + it->run->kv[key_at(it, t) + r] * e;
        }
    }
    return states;
}

// y [columns] = state' q
static void read_state(const problem *it, const double *state, const double *q, double *y)
{
    for (int c = 0; c < columns(it); c++) {
        y[c] = 0;
        for (int r = 0; r < it->shape->key_dim; r++) y[c] += state[r * columns(it) + c] * q[r];
    }
}

void canto_ref_linear_forward(const canto_linear_shape *shape, const canto_ref_run *run,
                              const double *state_in, double *y, double *state_out)
{
    for (int g = 0; g < shape->kv_heads; g++) {
        const problem it = {shape, run, g};
        const int64_t size = state_size(&it);
        double *states = all_states(&it, state_in);
        for (int64_t t = 0; t < run->tokens; t++) {
            for (int h = first_query_head(&it); h <= last_query_head(&it); h++) {
                const int64_t row = t * shape->heads + h;
                read_state(&it, states + (t + 1) * size, run->q + row * shape->key_dim,
                           y + row * columns(&it));
            }
        }
        if (state_out)
            memcpy(state_out + g * size, states + run->tokens * size,
                   (size_t)size * sizeof *states);
        free(states);
    }
}

// dq = state dy, and gradient += q dy'
static void query_backward(const problem *it, const double *state, const double *q,
                           const double *dy, double *gradient, double *dq)
{
    for (int r = 0; r < it->shape->key_dim; r++) {
        dq[r] = 0;
        for (int c = 0; c < columns(it); c++) {
            dq[r] += state[r * columns(it) + c] * dy[c];
            gradient[r * columns(it) + c] += q[r] * dy[c];
        }
    }
}

// dk = G e, dx = G' k (dv: without the constant column), dr = -B dx; gradient = dB.
static void token_backward(const problem *it, int64_t t, const double *before, double *gradient,
                           const canto_ref_gradients *d)
{
    double *dk = d->dkv + key_at(it, t), *dv = d->dkv + value_at(it, t);
    for (int r = 0; r < it->shape->key_dim; r++) {
        dk[r] = 0;
        if (it->shape->erases) d->derase[eraser_at(it, t) + r] = 0;
    }
    for (int c = 0; c < columns(it); c++) {
        const double e = written(it, t, before, c);
        double dx = 0;
        for (int r = 0; r < it->shape->key_dim; r++) {
            dk[r] += gradient[r * columns(it) + c] * e;
            dx += gradient[r * columns(it) + c] * it->run->kv[key_at(it, t) + r];
        }
        if (c < it->shape->value_dim) dv[c] = dx;
        for (int r = 0; it->shape->erases && r < it->shape->key_dim; r++) {
            d->derase[eraser_at(it, t) + r] -= kept(it, t, before, r, c) * dx;
            gradient[r * columns(it) + c] -= eraser(it, t, r) * dx;
        }
    }
}

// gradient = keep dB, and the gate's.
static void state_backward(const problem *it, int64_t t, const double *before, double *gradient,
                           double *dgates)
{
    if (it->shape->gate == CANTO_GATE_HEAD) dgates[gate_at(it, t, 0)] = 0;
    for (int r = 0; r < it->shape->key_dim; r++) {
        const double factor = keep(it, t, r);
        double sum = 0;
        for (int c = 0; c < columns(it); c++) {
            double *at = gradient + (int64_t)r * columns(it) + c;
            sum += kept(it, t, before, r, c) * *at;
            *at = factor == 0 ? 0 : factor * *at;
        }
        if (it->shape->gate == CANTO_GATE_KEY) dgates[gate_at(it, t, r)] = sum;
        if (it->shape->gate == CANTO_GATE_HEAD) dgates[gate_at(it, t, 0)] += sum;
    }
}

static void head_backward(const problem *it, const double *state_in, const double *dy,
                          double *gradient, const canto_ref_gradients *d)
{
    const int64_t size = state_size(it);
    double *states = all_states(it, state_in);
    for (int64_t t = it->run->tokens - 1; t >= 0; t--) {
        const double *before = states + t * size;
        for (int h = first_query_head(it); h <= last_query_head(it); h++) {
            const int64_t row = t * it->shape->heads + h;
            query_backward(it, before + size, it->run->q + row * it->shape->key_dim,
                           dy + row * columns(it), gradient, d->dq + row * it->shape->key_dim);
        }
        token_backward(it, t, before, gradient, d);
        state_backward(it, t, before, gradient, d->dgates);
    }
    free(states);
}

void canto_ref_linear_backward(const canto_linear_shape *shape, const canto_ref_run *run,
                               const double *state_in, const double *dy, const double *dstate_out,
                               const canto_ref_gradients *gradients, double *dstate_in)
{
    for (int g = 0; g < shape->kv_heads; g++) {
        const problem it = {shape, run, g};
        const int64_t size = state_size(&it);
        double *gradient = numbers(size);
        if (dstate_out) memcpy(gradient, dstate_out + g * size, (size_t)size * sizeof *gradient);
        head_backward(&it, state_in, dy, gradient, gradients);
        if (dstate_in) memcpy(dstate_in + g * size, gradient, (size_t)size * sizeof *gradient);
        free(gradient);
    }
}

void canto_ref_normalise(int64_t entries, int value_dim, double eps, const double *y, double *o)
{
    for (int64_t i = 0; i < entries; i++) {
        const double *row = y + i * (value_dim + 1);
        for (int c = 0; c < value_dim; c++) o[i * value_dim + c] = row[c] / (row[value_dim] + eps);
    }
}

void canto_ref_normalise_backward(int64_t entries, int value_dim, double eps, const double *y,
                                  const double *dout, double *dy)
{
    for (int64_t i = 0; i < entries; i++) {
        const double *row = y + i * (value_dim + 1);
        double *drow = dy + i * (value_dim + 1);
        double whole = row[value_dim] + eps;
        drow[value_dim] = 0;
        for (int c = 0; c < value_dim; c++) {
            drow[c] = dout[i * value_dim + c] / whole;
            drow[value_dim] -= dout[i * value_dim + c] * row[c] / (whole * whole);
        }
    }
}
