// The linear attention slots of the cpu backend with gates, against the double reference: every
// length, gates from none to -1e4, cuts at every place, seeding by read, causality, threads.
#include "runtime/device.h"
#include "tests/ref/linear.h"
#include "tests/runtime/numbers.h"

#include <math.h>

static const canto_device *device; // the cpu at the level under test
static const canto_ref_documents one_document = {0, NULL};

typedef enum gates_kind {
    GATES_ZERO,
    GATES_COMMON, // as a trained layer has them
    GATES_STRONG, // -50 everywhere
    GATES_MIXED,  // runs of none, common ones, -3, -50
    GATES_ENDING, // -1e4 now and then
    GATES_KINDS
} gates_kind;

typedef struct problem {
    canto_linear_shape shape;
    int64_t tokens;
    int64_t q_n, kv_n, gates_n, y_n, state_n, summary_n;
    float *q, *kv, *gates, *dy, *state_in, *dstate_out; // given
    float *y, *state_out, *dq, *dkv, *dgates, *work;    // computed
} problem;

static float mixed_gate(int64_t token, int64_t i)
{
    static const float values[] = {0, -0.05f, -3, -50};
    return values[(token / 5 + i / 3 + (token % 7 == 3)) % 4];
}

static void fill_gates(problem *p, gates_kind kind)
{
    const int64_t width = canto_linear_transition_count(&p->shape);
    canto_test_fill("gates", p->gates_n, p->gates);
    for (int64_t i = 0; i < p->gates_n; i++) {
        const float common = -0.1f * fabsf(p->gates[i]);
        const float values[] = {[GATES_ZERO] = 0,
                                [GATES_COMMON] = common,
                                [GATES_STRONG] = -50,
                                [GATES_MIXED] = mixed_gate(i / width, i % width),
                                [GATES_ENDING] = i / width % 23 == 9 ? -1e4f : common};
        p->gates[i] = values[kind];
    }
}

static problem make(canto_linear_shape shape, int64_t tokens, gates_kind kind)
{
    problem p = {.shape = shape, .tokens = tokens};
    p.q_n = tokens * shape.heads * shape.key_dim;
    p.kv_n = tokens * canto_linear_kv_width(&shape);
    p.gates_n = tokens * canto_linear_transition_count(&shape);
    p.y_n = tokens * shape.heads * canto_linear_columns(&shape);
    p.state_n = canto_linear_state_count(&shape);
    p.summary_n = canto_linear_summary_count(&shape);
    p.q = numbers_random("q", p.q_n);
    p.kv = numbers_random("kv", p.kv_n);
    p.gates = numbers_zero(p.gates_n);
    p.dy = numbers_random("dy", p.y_n);
    p.state_in = numbers_random("state_in", p.state_n);
    p.dstate_out = numbers_random("dstate_out", p.state_n);
    p.y = numbers_random("y before", p.y_n); // what is overwritten may hold anything
    p.state_out = numbers_random("state_out before", p.state_n);
    p.dq = numbers_random("dq before", p.q_n);
    p.dkv = numbers_random("dkv before", p.kv_n);
    p.dgates = numbers_random("dgates before", p.gates_n);
    const size_t bytes = device->kernels->linear_work_bytes(&shape, tokens);
    p.work = numbers_zero((int64_t)(bytes / sizeof *p.work));
    memset(p.work, 0xff, bytes); // NaN: nothing may be read before it is written
    fill_gates(&p, kind);
    return p;
}

static void destroy(problem *p)
{
    float *all[] = {p->q, p->kv,        p->gates, p->dy,  p->state_in, p->dstate_out,
                    p->y, p->state_out, p->dq,    p->dkv, p->dgates,   p->work};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void forward(const problem *p, const float *state_in, float *state_out)
{
    device->kernels->linear_forward(device, &p->shape, p->tokens, p->q, p->kv, p->gates, state_in,
                                    p->y, state_out);
}

static void read_state(const problem *p, const float *state_in)
{
    device->kernels->linear_read(device, &p->shape, p->tokens, p->q, p->gates, state_in, p->y);
}

static void backward(const problem *p, const float *state_in, const float *dstate_out)
{
    device->kernels->linear_backward(device, &p->shape, p->tokens, p->q, p->kv, p->gates, state_in,
                                     p->dy, dstate_out, p->dq, p->dkv, p->dgates, p->work);
}

static void summarise(const problem *p, float *summary)
{
    device->kernels->linear_summary(device, &p->shape, p->tokens, p->kv, p->gates, summary);
}

static void backward_summarise(const problem *p, float *summary)
{
    device->kernels->linear_backward_summary(device, &p->shape, p->tokens, p->q, p->gates, p->dy,
                                             summary);
}

// --- the reference ---

typedef struct reference {
    double *q, *kv, *gates, *dy, *in, *out;
    double *y, *state_out, *dq, *dkv, *dgates, *dstate_in;
} reference;

static reference refer(const problem *p, bool with_in, bool with_out)
{
    reference r = {.q = numbers_wide(p->q_n, p->q),
                   .kv = numbers_wide(p->kv_n, p->kv),
                   .gates = numbers_wide(p->gates_n, p->gates),
                   .dy = numbers_wide(p->y_n, p->dy),
                   .in = numbers_wide(p->state_n, p->state_in),
                   .out = numbers_wide(p->state_n, p->dstate_out),
                   .y = numbers_zero_wide(p->y_n),
                   .state_out = numbers_zero_wide(p->state_n),
                   .dq = numbers_zero_wide(p->q_n),
                   .dkv = numbers_zero_wide(p->kv_n),
                   .dgates = numbers_zero_wide(p->gates_n),
                   .dstate_in = numbers_zero_wide(p->state_n)};
    canto_ref_linear_forward(&p->shape, p->tokens, one_document, r.q, r.kv, r.gates,
                             with_in ? r.in : NULL, r.y, r.state_out);
    canto_ref_linear_backward(&p->shape, p->tokens, one_document, r.q, r.kv, r.gates,
                              with_in ? r.in : NULL, r.dy, with_out ? r.out : NULL, r.dq, r.dkv,
                              r.dgates, r.dstate_in);
    return r;
}

static void dismiss(reference *r)
{
    double *all[] = {r->q, r->kv,        r->gates, r->dy,  r->in,     r->out,
                     r->y, r->state_out, r->dq,    r->dkv, r->dgates, r->dstate_in};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

// A gate's gradient is a difference of sums of q dq and k dk: where it vanishes, because nothing
// is left to forget, these are what its error is measured by.
static void check_gates(const problem *p, const reference *r)
{
    double largest = 0;
    for (int64_t i = 0; i < p->gates_n; i++) largest = fmax(largest, fabs(r->dgates[i]));
    for (int64_t i = 0; i < p->q_n; i++) largest = fmax(largest, fabs(r->q[i] * r->dq[i]));
    for (int64_t i = 0; i < p->gates_n; i++) {
        const double error = fabs(p->dgates[i] - r->dgates[i]);
        if (!(error <= CANTO_TEST_GATE_GRADIENT * largest))
            fail_msg("dgates: error %.3g of %.3g at %lld", error, largest, (long long)i);
    }
}

static void check_outputs(const problem *p, const reference *r)
{
    const double tolerance = canto_test_forward_tolerance(p->tokens);
    canto_test_close("y", p->y_n, p->y, r->y, tolerance);
    canto_test_close("state_out", p->state_n, p->state_out, r->state_out, tolerance);
}

static void check_gradients(const problem *p, const reference *r)
{
    canto_test_close("dq", p->q_n, p->dq, r->dq, CANTO_TEST_GRADIENT);
    canto_test_close("dkv", p->kv_n, p->dkv, r->dkv, CANTO_TEST_GRADIENT);
    check_gates(p, r);
}

static void check_transition(const problem *p, const float *transition)
{
    const int64_t width = canto_linear_transition_count(&p->shape);
    for (int64_t i = 0; i < width; i++) {
        double sum = 0;
        for (int64_t t = 0; t < p->tokens; t++) sum += (double)p->gates[t * width + i];
        assert_true(fabs(transition[i] - sum) <= 1e-6 * fabs(sum));
    }
}

// The two summaries against a reference that starts from, or is asked for, nothing.
static void check_summaries(const problem *p)
{
    reference r = refer(p, false, false);
    float *summary = numbers_random("summary before", p->summary_n);
    summarise(p, summary);
    canto_test_close("summary", p->state_n, summary, r.state_out,
                     canto_test_forward_tolerance(p->tokens));
    check_transition(p, summary + p->state_n);
    backward_summarise(p, summary);
    canto_test_close("backward summary", p->state_n, summary, r.dstate_in, CANTO_TEST_GRADIENT);
    check_transition(p, summary + p->state_n);
    free(summary);
    dismiss(&r);
}

static void run_and_check(canto_linear_shape shape, int64_t tokens, gates_kind kind)
{
    problem p = make(shape, tokens, kind);
    for (int with = 0; with < 4; with++) {
        reference r = refer(&p, with & 1, with & 2);
        forward(&p, with & 1 ? p.state_in : NULL, p.state_out);
        backward(&p, with & 1 ? p.state_in : NULL, with & 2 ? p.dstate_out : NULL);
        check_outputs(&p, &r);
        check_gradients(&p, &r);
        dismiss(&r);
    }
    check_summaries(&p);
    destroy(&p);
}

// --- tests ---

static const canto_linear_shape shapes[] = {
    {1, 1, 3, 2, false, NULL, true},   {4, 2, 5, 7, true, NULL, true},
    {6, 2, 33, 17, false, NULL, true}, {2, 2, 64, 64, false, NULL, true},
    {3, 1, 16, 48, true, NULL, true},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };
static const canto_linear_shape largest = {2, 1, 256, 256, true, NULL, true};

static void test_every_shape(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 7, 64, 200};
    for (int s = 0; s < SHAPES; s++) {
        for (int n = 0; n < 4; n++) {
            for (gates_kind kind = 0; kind < GATES_KINDS; kind++)
                run_and_check(shapes[s], lengths[n], kind);
        }
    }
    run_and_check(largest, 33, GATES_MIXED);
}

static void test_every_length(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 131; n++) run_and_check(shapes[1], n, n % GATES_KINDS);
}

// The first `tokens` tokens of p, or its tokens from `first` on, as a problem that borrows arrays.
static problem part(const problem *p, int64_t first, int64_t tokens)
{
    problem it = *p;
    const int64_t row = first * p->shape.heads, gate = canto_linear_transition_count(&p->shape);
    it.tokens = tokens;
    it.q += row * p->shape.key_dim;
    it.dq += row * p->shape.key_dim;
    it.kv += first * canto_linear_kv_width(&p->shape);
    it.dkv += first * canto_linear_kv_width(&p->shape);
    it.gates += first * gate;
    it.dgates += first * gate;
    it.y += row * canto_linear_columns(&p->shape);
    it.dy += row * canto_linear_columns(&p->shape);
    return it;
}

// gradient of the state before b = its backward summary + what passes through it of dstate_out.
static void pass_back(const problem *b, const float *dstate_out, float *summary)
{
    backward_summarise(b, summary);
    const int columns = canto_linear_columns(&b->shape);
    for (int64_t i = 0; i < b->state_n; i++)
        summary[i] += expf(summary[b->state_n + i / columns]) * dstate_out[i];
}

// Forward and backward in two runs, with a state and a gradient handed over; the outputs of the
// second run from zero and a read, as a rank makes them.
static void run_in_two(problem *p, int64_t middle, float *state_middle, float *summary)
{
    problem a = part(p, 0, middle), b = part(p, middle, p->tokens - middle);
    forward(&a, p->state_in, state_middle);
    forward(&b, NULL, NULL);
    read_state(&b, state_middle);
    pass_back(&b, p->dstate_out, summary);
    backward(&b, state_middle, p->dstate_out);
    backward(&a, p->state_in, summary);
}

static void test_cut_in_two_at_every_point(void **state)
{
    (void)state;
    for (gates_kind kind = GATES_COMMON; kind < GATES_KINDS; kind++) {
        problem p = make(shapes[1], 131, kind);
        reference r = refer(&p, true, true);
        float *middle = numbers_zero(p.state_n), *summary = numbers_zero(p.summary_n);
        for (int64_t cut = 0; cut <= p.tokens; cut++) {
            run_in_two(&p, cut, middle, summary);
            canto_test_close("y", p.y_n, p.y, r.y, canto_test_forward_tolerance(p.tokens));
            check_gradients(&p, &r);
        }
        free(middle);
        free(summary);
        dismiss(&r);
        destroy(&p);
    }
}

// Token by token, as decoding does.
static void test_one_token_at_a_time(void **state)
{
    (void)state;
    problem p = make(shapes[1], 90, GATES_MIXED);
    reference r = refer(&p, false, false);
    float *states[] = {numbers_zero(p.state_n), numbers_zero(p.state_n)};
    for (int64_t t = 0; t < p.tokens; t++) {
        problem token = part(&p, t, 1);
        forward(&token, t ? states[t % 2] : NULL, states[(t + 1) % 2]);
    }
    memcpy(p.state_out, states[p.tokens % 2], (size_t)p.state_n * sizeof *p.state_out);
    check_outputs(&p, &r);
    free(states[0]);
    free(states[1]);
    dismiss(&r);
    destroy(&p);
}

static void poison(int64_t width, int64_t token, float *rows)
{
    for (int64_t c = 0; c < width; c++) rows[token * width + c] = NAN;
}

// Token t becomes NaN, gates included: earlier outputs keep every bit, and so do gradients of later
// tokens when its query does.
static void test_causality(void **state)
{
    (void)state;
    const int64_t n = 140;
    const int64_t y_width = shapes[1].heads * canto_linear_columns(&shapes[1]);
    const int64_t q_width = (int64_t)shapes[1].heads * shapes[1].key_dim;
    const int64_t kv_width = canto_linear_kv_width(&shapes[1]);
    const int64_t gate_width = canto_linear_transition_count(&shapes[1]);
    for (int64_t t = 0; t < n; t += 9) {
        problem clean = make(shapes[1], n, GATES_MIXED), bad = make(shapes[1], n, GATES_MIXED);
        forward(&clean, clean.state_in, clean.state_out);
        backward(&clean, clean.state_in, NULL);
        poison(q_width, t, bad.q);
        forward(&bad, bad.state_in, bad.state_out);
        backward(&bad, bad.state_in, NULL);
        numbers_same("y before", t * y_width, bad.y, clean.y);
        numbers_same("dkv after", (n - t - 1) * kv_width, bad.dkv + (t + 1) * kv_width,
                     clean.dkv + (t + 1) * kv_width);
        numbers_same("dgates after", (n - t - 1) * gate_width, bad.dgates + (t + 1) * gate_width,
                     clean.dgates + (t + 1) * gate_width);
        poison(kv_width, t, bad.kv);
        poison(gate_width, t, bad.gates);
        forward(&bad, bad.state_in, bad.state_out);
        backward(&bad, bad.state_in, NULL);
        numbers_same("y before", t * y_width, bad.y, clean.y);
        numbers_same("dq before", t * q_width, bad.dq, clean.dq);
        assert_true(isnan(bad.y[t * y_width]));
        destroy(&clean);
        destroy(&bad);
    }
}

// Minus infinity forgets everything and is no NaN in any result but the gradient of itself.
static void test_total_decay(void **state)
{
    (void)state;
    problem p = make(shapes[1], 70, GATES_COMMON), cut = make(shapes[1], 70, GATES_COMMON);
    const int64_t width = canto_linear_transition_count(&p.shape);
    for (int64_t i = 0; i < width; i++) p.gates[30 * width + i] = -INFINITY;
    forward(&p, p.state_in, p.state_out);
    problem rest = part(&cut, 30, 40);
    forward(&rest, NULL, cut.state_out);
    double *y = numbers_wide(p.y_n, cut.y), *after = numbers_wide(p.state_n, cut.state_out);
    const int64_t at = 30 * p.y_n / p.tokens;
    canto_test_close("y", p.y_n - at, p.y + at, y + at, 1e-6);
    canto_test_close("state_out", p.state_n, p.state_out, after, 1e-6);
    free(y);
    free(after);
    destroy(&p);
    destroy(&cut);
}

static void test_threads(void **state)
{
    (void)state;
    const canto_linear_shape shape = {4, 4, 20, 15, true, NULL, true};
    problem one = make(shape, 200, GATES_MIXED), two = make(shape, 200, GATES_MIXED);
    for (int threads = 1; threads <= 2; threads++) {
        problem *p = threads == 1 ? &one : &two;
        numbers_set_threads(threads);
        forward(p, p->state_in, p->state_out);
        backward(p, p->state_in, p->dstate_out);
    }
    numbers_set_threads(1);
    numbers_same("y", one.y_n, two.y, one.y);
    numbers_same("state_out", one.state_n, two.state_out, one.state_out);
    numbers_same("dq", one.q_n, two.dq, one.dq);
    numbers_same("dkv", one.kv_n, two.dkv, one.dkv);
    numbers_same("dgates", one.gates_n, two.dgates, one.dgates);
    destroy(&one);
    destroy(&two);
}

// No tokens: the state passes through unchanged, the summaries are zero, nothing else is touched.
static void test_no_tokens(void **state)
{
    (void)state;
    problem p = make(shapes[1], 0, GATES_ZERO);
    float *summary = numbers_random("summary before", p.summary_n);
    float *zero = numbers_zero(p.summary_n);
    forward(&p, p.state_in, p.state_out);
    numbers_same("state", p.state_n, p.state_out, p.state_in);
    read_state(&p, p.state_in);
    backward(&p, p.state_in, p.dstate_out);
    summarise(&p, summary);
    numbers_same("summary", p.summary_n, summary, zero);
    canto_test_fill("summary before", p.summary_n, summary);
    backward_summarise(&p, summary);
    numbers_same("backward summary", p.summary_n, summary, zero);
    free(summary);
    free(zero);
    destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_cut_in_two_at_every_point),
        cmocka_unit_test(test_one_token_at_a_time),
        cmocka_unit_test(test_causality),
        cmocka_unit_test(test_total_decay),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_tokens),
    };
    numbers_set_threads(1); // idle threads would spin on cores that other tests need
    return CANTO_TEST_AT_LEVELS(tests, &device);
}
