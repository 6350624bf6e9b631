// The matrix-state attention slots of the cpu backend against the double reference, for constant
// decays and gates of both widths, with and without erasing, and their promises: composition at
// every cut, seeding by read, causality to the bit, decays from none to -inf, threads.
#include "tests/runtime/linear_case.h"

#include <math.h>

static const canto_device *device; // the cpu at the level under test

static const float slow[] = {-0.004f, -0.06f, -0.7f, -1e-7f};
static const float extreme[] = {0, -50, -1e-30f, -200};

#define NONE CANTO_GATE_NONE
#define HEAD CANTO_GATE_HEAD
#define KEY  CANTO_GATE_KEY

// Small ones of every kind, for tests of promises.
static const canto_linear_shape kinds[] = {
    {4, 2, 5, 7, true, slow, NONE, false}, {4, 2, 5, 7, true, NULL, HEAD, false},
    {4, 2, 5, 7, true, NULL, KEY, false},  {4, 2, 5, 7, false, NULL, NONE, true},
    {4, 2, 5, 7, true, slow, NONE, true},  {4, 2, 5, 7, false, NULL, HEAD, true},
    {4, 2, 5, 7, true, NULL, KEY, true},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static void test_every_shape(void **state)
{
    (void)state;
    static const canto_linear_shape shapes[] = {
        {1, 1, 1, 1, false, NULL, NONE, false},     {2, 2, 16, 16, true, slow, NONE, false},
        {4, 4, 64, 64, false, slow, NONE, false},   {6, 2, 33, 17, false, NULL, NONE, false},
        {4, 4, 20, 15, true, extreme, NONE, false}, {8, 4, 7, 32, false, extreme, NONE, false},
        {3, 1, 48, 100, true, NULL, NONE, false},   {3, 1, 16, 48, true, NULL, HEAD, false},
        {2, 2, 64, 64, false, NULL, KEY, false},    {6, 2, 33, 17, false, NULL, KEY, false},
        {1, 1, 1, 5, false, NULL, NONE, true},      {2, 1, 64, 64, false, NULL, HEAD, true},
        {6, 2, 33, 17, false, NULL, KEY, true},     {3, 1, 16, 48, true, extreme, NONE, true},
    };
    static const int64_t lengths[] = {1, 7, 48, 130};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        const int last = shapes[s].gate ? GATES_KINDS : 1;
        for (int n = 0; n < 4; n++) {
            for (int kind = 0; kind < last; kind++)
                linear_case_check(device, shapes[s], lengths[n], kind);
        }
    }
}

static void test_the_widest_heads(void **state)
{
    (void)state;
    for (canto_gate gate = NONE; gate <= KEY; gate++) {
        for (int erases = 0; erases < 2; erases++) {
            const canto_linear_shape shape = {2,    1,     256, 256, true, gate ? NULL : slow,
                                              gate, erases};
            linear_case_check(device, shape, 33, GATES_MIXED);
        }
    }
}

static void test_every_length(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 110; n++)
        linear_case_check(device, kinds[n % KINDS], n, n / KINDS % GATES_KINDS);
}

// gradient of the state before b = its backward summary + what passes through it of dstate_out.
static void pass_back(const linear_case *b, const float *dstate_out, float *summary)
{
    linear_case_backward_summarise(b, summary);
    const canto_linear_shape *shape = &b->shape;
    const int columns = canto_linear_columns(shape), dim = shape->key_dim;
    const float *transition = summary + b->state_n;
    for (int64_t i = 0; i < b->state_n; i++) {
        const int64_t row = i / columns, head = row / dim, column = i % columns;
        float factor = 1;
        if (shape->log_decay) factor = expf(shape->log_decay[head] * (float)b->tokens);
        if (shape->gate == CANTO_GATE_HEAD) factor = expf(transition[head]);
        if (shape->gate == CANTO_GATE_KEY) factor = expf(transition[row]);
        float passed = factor * dstate_out[i];
        if (shape->erases) passed = 0;
        for (int d = 0; shape->erases && d < dim; d++)
            passed += transition[(head * dim + d) * dim + row % dim] *
                      dstate_out[(head * dim + d) * columns + column];
        summary[i] += passed;
    }
}

// Forward and backward in two runs, with a state and a gradient handed over; the outputs of the
// second run from zero and a read, as a rank makes them.
static void run_in_two(linear_case *c, int64_t middle, float *state_middle, float *summary)
{
    linear_case a = linear_case_part(c, 0, middle);
    linear_case b = linear_case_part(c, middle, c->tokens - middle);
    linear_case_forward(&a, c->state_in, state_middle);
    linear_case_forward(&b, NULL, NULL);
    linear_case_read(&b, state_middle);
    pass_back(&b, c->dstate_out, summary);
    linear_case_backward(&b, state_middle, c->dstate_out);
    linear_case_backward(&a, c->state_in, summary);
}

static void test_cut_in_two_at_every_point(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        linear_case c = linear_case_make(device, kinds[k], 101, k % 2 ? GATES_MIXED : GATES_COMMON);
        linear_reference r = linear_case_refer(&c, true, true);
        float *middle = numbers_zero(c.state_n), *summary = numbers_zero(c.summary_n);
        for (int64_t cut = 0; cut <= c.tokens; cut++) {
            run_in_two(&c, cut, middle, summary);
            canto_test_close("y", c.y_n, c.y, r.y, canto_test_forward_tolerance(c.tokens));
            linear_case_check_gradients(&c, &r);
        }
        free(middle);
        free(summary);
        linear_case_dismiss(&r);
        linear_case_destroy(&c);
    }
}

// Token by token, in threes and in sevens, as decoding does, with the state in its place and not.
static void test_few_tokens_at_a_time(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        for (int few = 1; few <= 7; few = 2 * few + 1) {
            linear_case c = linear_case_make(device, kinds[k], 90, GATES_MIXED);
            linear_reference r = linear_case_refer(&c, false, false);
            float *states[] = {numbers_zero(c.state_n), numbers_zero(c.state_n)};
            int now = 0;
            for (int64_t t = 0; t < c.tokens; t += few) {
                const int next = t % 2 ? now : 1 - now;
                linear_case part = linear_case_part(&c, t, t + few < c.tokens ? few : c.tokens - t);
                linear_case_forward(&part, t ? states[now] : NULL, states[next]);
                now = next;
            }
            memcpy(c.state_out, states[now], (size_t)c.state_n * sizeof *c.state_out);
            linear_case_check_outputs(&c, &r);
            free(states[0]);
            free(states[1]);
            linear_case_dismiss(&r);
            linear_case_destroy(&c);
        }
    }
}

static void poison(int64_t width, int64_t token, float *rows)
{
    for (int64_t i = 0; i < width; i++) rows[token * width + i] = NAN;
}

// Token t becomes NaN, gates included: earlier outputs keep every bit, and so do gradients of later
// tokens when its query does.
static void check_causality(canto_linear_shape shape, int64_t n, int64_t t)
{
    const int64_t y_width = shape.heads * canto_linear_columns(&shape);
    const int64_t q_width = (int64_t)shape.heads * shape.key_dim;
    const int64_t kv_width = canto_linear_kv_width(&shape);
    const int64_t gate_width = canto_linear_gates_count(&shape), after = n - t - 1;
    const int64_t erase_width = shape.erases ? (int64_t)shape.kv_heads * shape.key_dim : 0;
    linear_case clean = linear_case_make(device, shape, n, GATES_MIXED);
    linear_case bad = linear_case_make(device, shape, n, GATES_MIXED);
    linear_case_forward(&clean, clean.state_in, clean.state_out);
    linear_case_backward(&clean, clean.state_in, NULL);
    poison(q_width, t, bad.q);
    linear_case_forward(&bad, bad.state_in, bad.state_out);
    linear_case_backward(&bad, bad.state_in, NULL);
    numbers_same("y before", t * y_width, bad.y, clean.y);
    numbers_same("dkv after", after * kv_width, bad.dkv + (t + 1) * kv_width,
                 clean.dkv + (t + 1) * kv_width);
    numbers_same("derase after", after * erase_width, bad.derase + (t + 1) * erase_width,
                 clean.derase + (t + 1) * erase_width);
    numbers_same("dgates after", after * gate_width, bad.dgates + (t + 1) * gate_width,
                 clean.dgates + (t + 1) * gate_width);
    poison(kv_width, t, bad.kv);
    if (gate_width) poison(gate_width, t, bad.gates);
    if (erase_width) poison(erase_width, t, bad.erase);
    linear_case_forward(&bad, bad.state_in, bad.state_out);
    linear_case_backward(&bad, bad.state_in, NULL);
    numbers_same("y before", t * y_width, bad.y, clean.y);
    numbers_same("dq before", t * q_width, bad.dq, clean.dq);
    assert_true(isnan(bad.y[t * y_width]));
    linear_case_destroy(&clean);
    linear_case_destroy(&bad);
}

static void test_causality(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        for (int64_t t = k; t < 110; t += 7) check_causality(kinds[k], 110, t);
    }
}

// A head that forgets at once sees its own token only: y_t = (q_t . k_t) x_t, to rounding.
static void test_total_decay(void **state)
{
    (void)state;
    const float forgets = -INFINITY;
    const canto_linear_shape shape = {1, 1, 3, 2, true, &forgets, NONE, false};
    linear_case c = linear_case_make(device, shape, 100, GATES_ZERO);
    linear_case_forward(&c, c.state_in, c.state_out);
    linear_case_backward(&c, c.state_in, c.dstate_out);
    double *y = numbers_zero_wide(c.y_n);
    for (int64_t t = 0; t < c.tokens; t++) {
        double weight = 0;
        for (int d = 0; d < 3; d++) weight += (double)c.q[t * 3 + d] * c.kv[t * 5 + d];
        for (int d = 0; d < 2; d++) y[t * 3 + d] = weight * c.kv[t * 5 + 3 + d];
        y[t * 3 + 2] = weight;
    }
    canto_test_close("y", c.y_n, c.y, y, 1e-6);
    for (int64_t i = 0; i < c.kv_n; i++) assert_true(isfinite(c.dkv[i]));
    free(y);
    linear_case_destroy(&c);
}

// A gate of minus infinity forgets everything and is no NaN in any output.
static void test_a_gate_that_forgets_all(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        if (kinds[k].gate == CANTO_GATE_NONE) continue;
        linear_case c = linear_case_make(device, kinds[k], 70, GATES_COMMON);
        linear_case cut = linear_case_make(device, kinds[k], 70, GATES_COMMON);
        const int64_t width = canto_linear_gates_count(&c.shape);
        for (int64_t i = 0; i < width; i++) c.gates[30 * width + i] = -INFINITY;
        linear_case_forward(&c, c.state_in, c.state_out);
        linear_case rest = linear_case_part(&cut, 30, 40);
        linear_case_forward(&rest, NULL, cut.state_out);
        double *y = numbers_wide(c.y_n, cut.y), *after = numbers_wide(c.state_n, cut.state_out);
        const int64_t at = 30 * c.y_n / c.tokens;
        canto_test_close("y", c.y_n - at, c.y + at, y + at, 1e-6);
        canto_test_close("state_out", c.state_n, c.state_out, after, 1e-6);
        free(y);
        free(after);
        linear_case_destroy(&c);
        linear_case_destroy(&cut);
    }
}

static void test_normalise(void **state)
{
    (void)state;
    enum { ENTRIES = 37, DIM = 19 };
    float *y = numbers_random("y", ENTRIES * (DIM + 1)), *o = numbers_zero(ENTRIES * DIM);
    float *dout = numbers_random("dout", ENTRIES * DIM), *dy = numbers_zero(ENTRIES * (DIM + 1));
    for (int i = 0; i < ENTRIES; i++) y[i * (DIM + 1) + DIM] = 0.5f + fabsf(y[i * (DIM + 1) + DIM]);
    double *wide = numbers_wide(ENTRIES * (DIM + 1), y), *dwide = numbers_wide(ENTRIES * DIM, dout);
    double *ref = numbers_zero_wide(ENTRIES * (DIM + 1));
    device->kernels->linear_normalise(device, ENTRIES, DIM, 1e-3f, y, o);
    canto_ref_normalise(ENTRIES, DIM, (double)1e-3f, wide, ref);
    canto_test_close("normalise", ENTRIES * DIM, o, ref, 1e-6);
    device->kernels->linear_normalise_backward(device, ENTRIES, DIM, 1e-3f, y, dout, dy);
    canto_ref_normalise_backward(ENTRIES, DIM, (double)1e-3f, wide, dwide, ref);
    canto_test_close("normalise backward", ENTRIES * (DIM + 1), dy, ref, 1e-6);
    float *floats[] = {y, o, dout, dy};
    double *doubles[] = {wide, dwide, ref};
    for (int i = 0; i < 4; i++) free(floats[i]);
    for (int i = 0; i < 3; i++) free(doubles[i]);
}

static void test_threads(void **state)
{
    (void)state;
    for (canto_gate gate = NONE; gate <= KEY; gate++) {
        for (int erases = 0; erases < 2; erases++) {
            const canto_linear_shape shape = {4, 4, 20, 15, true, gate ? NULL : slow, gate, erases};
            linear_case one = linear_case_make(device, shape, 200, GATES_MIXED);
            linear_case two = linear_case_make(device, shape, 200, GATES_MIXED);
            for (int threads = 1; threads <= 2; threads++) {
                linear_case *c = threads == 1 ? &one : &two;
                numbers_set_threads(threads);
                linear_case_forward(c, c->state_in, c->state_out);
                linear_case_backward(c, c->state_in, c->dstate_out);
            }
            numbers_set_threads(1);
            numbers_same("y", one.y_n, two.y, one.y);
            numbers_same("state_out", one.state_n, two.state_out, one.state_out);
            numbers_same("dq", one.q_n, two.dq, one.dq);
            numbers_same("dkv", one.kv_n, two.dkv, one.dkv);
            numbers_same("derase", one.erase_n, two.derase, one.derase);
            numbers_same("dgates", one.gates_n, two.dgates, one.dgates);
            linear_case_destroy(&one);
            linear_case_destroy(&two);
        }
    }
}

// No tokens: the state passes through unchanged, the summaries are those of nothing.
static void test_no_tokens(void **state)
{
    (void)state;
    for (int k = 0; k < KINDS; k++) {
        linear_case c = linear_case_make(device, kinds[k], 0, GATES_ZERO);
        const int dim = c.shape.key_dim;
        float *summary = numbers_random("summary before", c.summary_n);
        float *nothing = numbers_zero(c.summary_n);
        for (int i = 0; c.shape.erases && i < c.shape.kv_heads * dim; i++)
            nothing[c.state_n + (int64_t)i * dim + i % dim] = 1;
        linear_case_forward(&c, c.state_in, c.state_out);
        numbers_same("state", c.state_n, c.state_out, c.state_in);
        linear_case_read(&c, c.state_in);
        linear_case_backward(&c, c.state_in, c.dstate_out);
        linear_case_summarise(&c, summary);
        numbers_same("summary", c.summary_n, summary, nothing);
        canto_test_fill("summary before", c.summary_n, summary);
        linear_case_backward_summarise(&c, summary);
        numbers_same("backward summary", c.summary_n, summary, nothing);
        free(summary);
        free(nothing);
        linear_case_destroy(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape),
        cmocka_unit_test(test_the_widest_heads),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_cut_in_two_at_every_point),
        cmocka_unit_test(test_few_tokens_at_a_time),
        cmocka_unit_test(test_causality),
        cmocka_unit_test(test_total_decay),
        cmocka_unit_test(test_a_gate_that_forgets_all),
        cmocka_unit_test(test_normalise),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_tokens),
    };
    numbers_set_threads(1); // idle threads would spin on cores that other tests need
    return CANTO_TEST_AT_LEVELS(tests, &device);
}
