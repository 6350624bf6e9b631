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
    int head;     // of keys and values
    double *keep; // [tokens, key_dim]: what row r of the state before token t is multiplied by
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
static double factor_of(const problem *it, int64_t t, int r)
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

static problem problem_make(const canto_linear_shape *shape, const canto_ref_run *run, int head)
{
    problem it = {shape, run, head, numbers(run->tokens * shape->key_dim)};
    for (int64_t t = 0; t < run->tokens; t++) {
        for (int r = 0; r < shape->key_dim; r++)
            it.keep[t * shape->key_dim + r] = factor_of(&it, t, r);
    }
    return it;
}

static double keep(const problem *it, int64_t t, int r)
{
    return it->keep[t * it->shape->key_dim + r];
}

// Element c of row r of B_t, `row` being that of the state before. A state that is not kept is not
// multiplied: 0 times infinity has no meaning.
static double kept(double factor, const double *row, int c)
{
    return factor == 0 ? 0 : factor * row[c];
}

// e [columns] = e_t
static void write_of(const problem *it, int64_t t, const double *before, double *e)
{
    const int n = columns(it);
    for (int c = 0; c < n; c++) e[c] = x_of(it, t, c);
    for (int r = 0; it->shape->erases && r < it->shape->key_dim; r++) {
        const double factor = keep(it, t, r), erased = eraser(it, t, r);
        for (int c = 0; c < n; c++) e[c] -= kept(factor, before + (int64_t)r * n, c) * erased;
    }
}

// states [tokens + 1, key_dim, columns] of this head: states[t] is before token t.
static double *all_states(const problem *it, const double *state_in)
{
    const int64_t size = state_size(it), tokens = it->run->tokens;
    const int n = columns(it);
    double *states = numbers((tokens + 1) * size), *e = numbers(n);
    if (state_in) memcpy(states, state_in + it->head * size, (size_t)size * sizeof *states);
    for (int64_t t = 0; t < tokens; t++) {
        const double *before = states + t * size;
        write_of(it, t, before, e);
        for (int r = 0; r < it->shape->key_dim; r++) {
            const double factor = keep(it, t, r), k = it->run->kv[key_at(it, t) + r];
            double *after = states + (t + 1) * size + (int64_t)r * n;
            for (int c = 0; c < n; c++)
                after[c] = kept(factor, before + (int64_t)r * n, c) + k * e[c];
        }
    }
    free(e);
    return states;
}

// y [columns] = state' q
static void read_state(const problem *it, const double *state, const double *q, double *y)
{
    const int n = columns(it);
    for (int c = 0; c < n; c++) y[c] = 0;
    for (int r = 0; r < it->shape->key_dim; r++) {
        for (int c = 0; c < n; c++) y[c] += state[(int64_t)r * n + c] * q[r];
    }
}

void canto_ref_linear_forward(const canto_linear_shape *shape, const canto_ref_run *run,
                              const double *state_in, double *y, double *state_out)
{
    for (int g = 0; g < shape->kv_heads; g++) {
        const problem it = problem_make(shape, run, g);
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
        free(it.keep);
    }
}

// dq = state dy, and gradient += q dy'
static void query_backward(const problem *it, const double *state, const double *q,
                           const double *dy, double *gradient, double *dq)
{
    const int n = columns(it);
    for (int r = 0; r < it->shape->key_dim; r++) {
        dq[r] = 0;
        const double *row = state + (int64_t)r * n;
        double *to = gradient + (int64_t)r * n;
        for (int c = 0; c < n; c++) {
            dq[r] += row[c] * dy[c];
            to[c] += q[r] * dy[c];
        }
    }
}

// dk = G e, dx = G' k (dv: without the constant column), dr = -B dx; gradient = dB.
static void token_backward(const problem *it, int64_t t, const double *before, double *gradient,
                           const canto_ref_gradients *d)
{
    const int n = columns(it), dim = it->shape->key_dim;
    double *dk = d->dkv + key_at(it, t), *dv = d->dkv + value_at(it, t);
    double *e = numbers(n), *dx = numbers(n);
    write_of(it, t, before, e);
    for (int r = 0; r < dim; r++) {
        const double k = it->run->kv[key_at(it, t) + r];
        const double *row = gradient + (int64_t)r * n;
        dk[r] = 0;
        for (int c = 0; c < n; c++) {
            dk[r] += row[c] * e[c];
            dx[c] += row[c] * k;
        }
    }
    memcpy(dv, dx, sizeof *dv * (size_t)it->shape->value_dim);
    for (int r = 0; it->shape->erases && r < dim; r++) {
        const double factor = keep(it, t, r), erased = eraser(it, t, r);
        double *dr = d->derase + eraser_at(it, t) + r;
        double *to = gradient + (int64_t)r * n;
        *dr = 0;
        for (int c = 0; c < n; c++) {
            *dr -= kept(factor, before + (int64_t)r * n, c) * dx[c];
            to[c] -= erased * dx[c];
        }
    }
    free(e);
    free(dx);
}

// gradient = keep dB, and the gate's.
static void state_backward(const problem *it, int64_t t, const double *before, double *gradient,
                           double *dgates)
{
    const int n = columns(it);
    if (it->shape->gate == CANTO_GATE_HEAD) dgates[gate_at(it, t, 0)] = 0;
    for (int r = 0; r < it->shape->key_dim; r++) {
        const double factor = keep(it, t, r);
        double sum = 0;
        const double *row = before + (int64_t)r * n;
        double *to = gradient + (int64_t)r * n;
        for (int c = 0; c < n; c++) {
            sum += kept(factor, row, c) * to[c];
            to[c] = factor == 0 ? 0 : factor * to[c];
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
        const problem it = problem_make(shape, run, g);
        const int64_t size = state_size(&it);
        double *gradient = numbers(size);
        if (dstate_out) memcpy(gradient, dstate_out + g * size, (size_t)size * sizeof *gradient);
        head_backward(&it, state_in, dy, gradient, gradients);
        if (dstate_in) memcpy(dstate_in + g * size, gradient, (size_t)size * sizeof *gradient);
        free(gradient);
        free(it.keep);
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
