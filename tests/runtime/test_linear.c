// The linear attention slots of the cpu backend against the double reference, and their promises:
// composition at every cut, seeding by read, causality to the bit, decays from none to -50,
// threads.
#include "runtime/device.h"
#include "tests/ref/linear.h"
#include "tests/runtime/numbers.h"

#include <math.h>

static const canto_device *device; // the cpu at the level under test
static const canto_ref_documents one_document = {0, NULL};

typedef struct problem {
    canto_linear_shape shape;
    int64_t tokens;
    int64_t q_n, kv_n, y_n, state_n;
    float *q, *kv, *dy, *state_in, *dstate_out;         // given
    float *y, *state_out, *dq, *dkv, *dstate_in, *work; // computed
} problem;

static problem make(canto_linear_shape shape, int64_t tokens)
{
    problem p = {.shape = shape, .tokens = tokens};
    p.q_n = tokens * shape.heads * shape.key_dim;
    p.kv_n = tokens * canto_linear_kv_width(&shape);
    p.y_n = tokens * shape.heads * canto_linear_columns(&shape);
    p.state_n = canto_linear_state_count(&shape);
    p.q = numbers_random("q", p.q_n);
    p.kv = numbers_random("kv", p.kv_n);
    p.dy = numbers_random("dy", p.y_n);
    p.state_in = numbers_random("state_in", p.state_n);
    p.dstate_out = numbers_random("dstate_out", p.state_n);
    p.y = numbers_random("y before", p.y_n); // what is overwritten may hold anything
    p.state_out = numbers_random("state_out before", p.state_n);
    p.dq = numbers_random("dq before", p.q_n);
    p.dkv = numbers_random("dkv before", p.kv_n);
    p.dstate_in = numbers_random("dstate_in before", p.state_n);
    const size_t bytes = device->kernels->linear_work_bytes(&shape, tokens);
    p.work = numbers_zero((int64_t)(bytes / sizeof *p.work));
    memset(p.work, 0xff, bytes); // NaN: nothing may be read before it is written
    return p;
}

static void destroy(problem *p)
{
    float *all[] = {p->q,  p->kv,        p->dy,  p->state_in,  p->dstate_out, p->y,
                    p->dq, p->state_out, p->dkv, p->dstate_in, p->work};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void run(problem *p, const float *state_in, const float *dstate_out)
{
    device->kernels->linear_forward(device, &p->shape, p->tokens, p->q, p->kv, NULL, state_in, p->y,
                                    p->state_out);
    device->kernels->linear_backward(device, &p->shape, p->tokens, p->q, p->kv, NULL, state_in,
                                     p->dy, dstate_out, p->dq, p->dkv, NULL, p->work);
}

static void check_forward(const problem *p, const double *q, const double *kv,
                          const double *state_in)
{
    double *y = numbers_zero_wide(p->y_n), *state = numbers_zero_wide(p->state_n);
    const double tolerance = canto_test_forward_tolerance(p->tokens);
    canto_ref_linear_forward(&p->shape, p->tokens, one_document, q, kv, NULL, state_in, y, state);
    canto_test_close("y", p->y_n, p->y, y, tolerance);
    canto_test_close("state_out", p->state_n, p->state_out, state, tolerance);
    free(y);
    free(state);
}

static void check_backward(const problem *p, const double *q, const double *kv,
                           const double *state_in, const double *dstate_out)
{
    double *dy = numbers_wide(p->y_n, p->dy), *dq = numbers_zero_wide(p->q_n);
    double *dkv = numbers_zero_wide(p->kv_n);
    canto_ref_linear_backward(&p->shape, p->tokens, one_document, q, kv, NULL, state_in, dy,
                              dstate_out, dq, dkv, NULL, NULL);
    canto_test_close("dq", p->q_n, p->dq, dq, CANTO_TEST_GRADIENT);
    canto_test_close("dkv", p->kv_n, p->dkv, dkv, CANTO_TEST_GRADIENT);
    free(dy);
    free(dq);
    free(dkv);
}

// The two summaries against a reference that starts from, or is asked for, nothing.
static void check_summaries(const problem *p, const double *q, const double *kv)
{
    double *y = numbers_zero_wide(p->y_n), *state = numbers_zero_wide(p->state_n);
    double *dy = numbers_wide(p->y_n, p->dy), *dq = numbers_zero_wide(p->q_n);
    double *dkv = numbers_zero_wide(p->kv_n);
    device->kernels->linear_summary(device, &p->shape, p->tokens, p->kv, NULL, p->state_out);
    canto_ref_linear_forward(&p->shape, p->tokens, one_document, q, kv, NULL, NULL, y, state);
    canto_test_close("summary", p->state_n, p->state_out, state,
                     canto_test_forward_tolerance(p->tokens));
    device->kernels->linear_backward_summary(device, &p->shape, p->tokens, p->q, NULL, p->dy,
                                             p->dstate_in);
    canto_ref_linear_backward(&p->shape, p->tokens, one_document, q, kv, NULL, NULL, dy, NULL, dq,
                              dkv, NULL, state);
    canto_test_close("backward summary", p->state_n, p->dstate_in, state, CANTO_TEST_GRADIENT);
    double *all[] = {y, state, dy, dq, dkv};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void run_and_check(canto_linear_shape shape, int64_t tokens, bool with_state)
{
    problem p = make(shape, tokens);
    double *q = numbers_wide(p.q_n, p.q), *kv = numbers_wide(p.kv_n, p.kv);
    double *in = numbers_wide(p.state_n, p.state_in);
    double *out = numbers_wide(p.state_n, p.dstate_out);
    run(&p, with_state ? p.state_in : NULL, with_state ? p.dstate_out : NULL);
    check_forward(&p, q, kv, with_state ? in : NULL);
    check_backward(&p, q, kv, with_state ? in : NULL, with_state ? out : NULL);
    if (!with_state) check_summaries(&p, q, kv);
    double *all[] = {q, kv, in, out};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
    destroy(&p);
}

static const float slow[] = {-0.004f, -0.06f, -0.7f, -1e-7f};
static const float extreme[] = {0, -50, -1e-30f, -200};

static const canto_linear_shape shapes[] = {
    {1, 1, 1, 1, false, NULL, false},     {2, 2, 16, 16, true, slow, false},
    {4, 2, 5, 7, true, slow, false},      {4, 4, 64, 64, false, slow, false},
    {6, 2, 33, 17, false, NULL, false},   {4, 4, 20, 15, true, extreme, false},
    {8, 4, 7, 32, false, extreme, false}, {2, 1, 256, 256, true, slow, false},
    {3, 1, 48, 100, true, NULL, false},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static void test_every_shape(void **state)
{
    (void)state;
    const int64_t lengths[] = {1, 2, 63, 64, 65, 193};
    for (int s = 0; s < SHAPES; s++) {
        for (size_t n = 0; n < sizeof lengths / sizeof lengths[0]; n++) {
            if (shapes[s].key_dim == 256 && lengths[n] > 65) continue;
            run_and_check(shapes[s], lengths[n], false);
            run_and_check(shapes[s], lengths[n], true);
        }
    }
}

static void test_every_length(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 131; n++) run_and_check(shapes[2], n, n % 2 == 0);
}

// The first `tokens` tokens of p, or its tokens from `first` on, as a problem that borrows arrays.
static problem part(const problem *p, int64_t first, int64_t tokens)
{
    problem it = *p;
    const int64_t row = first * p->shape.heads;
    it.tokens = tokens;
    it.q += row * p->shape.key_dim;
    it.dq += row * p->shape.key_dim;
    it.kv += first * canto_linear_kv_width(&p->shape);
    it.dkv += first * canto_linear_kv_width(&p->shape);
    it.y += row * canto_linear_columns(&p->shape);
    it.dy += row * canto_linear_columns(&p->shape);
    return it;
}

// Forward in two runs, backward in two runs, the state and its gradient handed over. The gradient
// of the middle state is the second run's backward summary plus its decayed dstate_out (zero here).
static void run_in_two(problem *p, int64_t middle, float *state_middle, float *dstate_middle)
{
    problem a = part(p, 0, middle), b = part(p, middle, p->tokens - middle);
    device->kernels->linear_forward(device, &p->shape, a.tokens, a.q, a.kv, NULL, p->state_in, a.y,
                                    state_middle);
    device->kernels->linear_forward(device, &p->shape, b.tokens, b.q, b.kv, NULL, state_middle, b.y,
                                    p->state_out);
    device->kernels->linear_backward_summary(device, &p->shape, b.tokens, b.q, NULL, b.dy,
                                             dstate_middle);
    device->kernels->linear_backward(device, &p->shape, b.tokens, b.q, b.kv, NULL, state_middle,
                                     b.dy, NULL, b.dq, b.dkv, NULL, p->work);
    device->kernels->linear_backward(device, &p->shape, a.tokens, a.q, a.kv, NULL, p->state_in,
                                     a.dy, dstate_middle, a.dq, a.dkv, NULL, p->work);
}

static void test_cut_in_two_at_every_point(void **state)
{
    (void)state;
    problem p = make(shapes[2], 131);
    float *state_middle = numbers_zero(p.state_n), *dstate_middle = numbers_zero(p.state_n);
    double *q = numbers_wide(p.q_n, p.q), *kv = numbers_wide(p.kv_n, p.kv);
    double *in = numbers_wide(p.state_n, p.state_in);
    for (int64_t middle = 0; middle <= p.tokens; middle++) {
        run_in_two(&p, middle, state_middle, dstate_middle);
        if (middle % 10 != 0 && middle != 63 && middle != 65) continue; // the reference is slow
        check_forward(&p, q, kv, in);
        check_backward(&p, q, kv, in, NULL);
    }
    free(state_middle);
    free(dstate_middle);
    free(q);
    free(kv);
    free(in);
    destroy(&p);
}

// A pass from zero plus what the incoming state adds is the pass from that state.
static void test_read_seeds_a_pass(void **state)
{
    (void)state;
    for (int s = 0; s < SHAPES; s++) {
        problem p = make(shapes[s], 130);
        device->kernels->linear_forward(device, &p.shape, p.tokens, p.q, p.kv, NULL, NULL, p.y,
                                        NULL);
        device->kernels->linear_read(device, &p.shape, p.tokens, p.q, NULL, p.state_in, p.y);
        float *composed = numbers_copy(p.y_n, p.y);
        device->kernels->linear_forward(device, &p.shape, p.tokens, p.q, p.kv, NULL, p.state_in,
                                        p.y, NULL);
        double *seeded = numbers_wide(p.y_n, p.y);
        canto_test_close("composed", p.y_n, composed, seeded,
                         canto_test_forward_tolerance(p.tokens));
        free(composed);
        free(seeded);
        destroy(&p);
    }
}

// Token by token, as decoding does, with the state updated in place of nothing else.
static void test_one_token_at_a_time(void **state)
{
    (void)state;
    problem p = make(shapes[2], 90);
    float *states[] = {numbers_zero(p.state_n), numbers_zero(p.state_n)};
    for (int64_t t = 0; t < p.tokens; t++) {
        problem token = part(&p, t, 1);
        device->kernels->linear_forward(device, &p.shape, 1, token.q, token.kv, NULL,
                                        t ? states[t % 2] : NULL, token.y, states[(t + 1) % 2]);
    }
    double *q = numbers_wide(p.q_n, p.q), *kv = numbers_wide(p.kv_n, p.kv);
    memcpy(p.state_out, states[p.tokens % 2], (size_t)p.state_n * sizeof *p.state_out);
    check_forward(&p, q, kv, NULL);
    free(states[0]);
    free(states[1]);
    free(q);
    free(kv);
    destroy(&p);
}

// Token t becomes NaN: earlier outputs and gradients of later tokens must not notice.
static void test_causality(void **state)
{
    (void)state;
    const int64_t n = 140;
    for (int64_t t = 0; t < n; t += 9) {
        problem clean = make(shapes[2], n), poisoned = make(shapes[2], n);
        const int64_t y_width = clean.shape.heads * canto_linear_columns(&clean.shape);
        const int64_t q_width = clean.shape.heads * clean.shape.key_dim;
        const int64_t kv_width = canto_linear_kv_width(&clean.shape);
        for (int64_t c = 0; c < kv_width; c++) poisoned.kv[t * kv_width + c] = NAN;
        run(&clean, clean.state_in, NULL);
        run(&poisoned, poisoned.state_in, NULL);
        numbers_same("y before", t * y_width, poisoned.y, clean.y);
        numbers_same("dq before", t * q_width, poisoned.dq, clean.dq);
        assert_true(isnan(poisoned.y[t * y_width]));
        for (int64_t c = 0; c < q_width; c++) poisoned.q[t * q_width + c] = NAN;
        run(&poisoned, poisoned.state_in, NULL);
        numbers_same("y before", t * y_width, poisoned.y, clean.y);
        numbers_same("dkv after", (n - t - 1) * kv_width, poisoned.dkv + (t + 1) * kv_width,
                     clean.dkv + (t + 1) * kv_width);
        destroy(&clean);
        destroy(&poisoned);
    }
}

// A head that forgets at once sees its own token only: y_t = (q_t . k_t) x_t, to rounding.
static void test_total_decay(void **state)
{
    (void)state;
    const float forgets = -INFINITY;
    const canto_linear_shape shape = {1, 1, 3, 2, true, &forgets, false};
    problem p = make(shape, 100);
    run(&p, p.state_in, p.dstate_out);
    double *y = numbers_zero_wide(p.y_n);
    for (int64_t t = 0; t < p.tokens; t++) {
        double weight = 0;
        for (int c = 0; c < 3; c++) weight += (double)p.q[t * 3 + c] * p.kv[t * 5 + c];
        for (int c = 0; c < 2; c++) y[t * 3 + c] = weight * p.kv[t * 5 + 3 + c];
        y[t * 3 + 2] = weight;
    }
    canto_test_close("y", p.y_n, p.y, y, 1e-6);
    for (int64_t i = 0; i < p.kv_n; i++) assert_true(isfinite(p.dkv[i]));
    free(y);
    destroy(&p);
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
    problem one = make(shapes[5], 200), two = make(shapes[5], 200);
    numbers_set_threads(1);
    run(&one, one.state_in, one.dstate_out);
    numbers_set_threads(2);
    run(&two, two.state_in, two.dstate_out);
    numbers_set_threads(1);
    numbers_same("y", one.y_n, two.y, one.y);
    numbers_same("state_out", one.state_n, two.state_out, one.state_out);
    numbers_same("dq", one.q_n, two.dq, one.dq);
    numbers_same("dkv", one.kv_n, two.dkv, one.dkv);
    destroy(&one);
    destroy(&two);
}

// No tokens: the state passes through unchanged, the summaries are zero, nothing else is touched.
static void test_no_tokens(void **state)
{
    (void)state;
    problem p = make(shapes[2], 0);
    run(&p, p.state_in, p.dstate_out);
    numbers_same("state", p.state_n, p.state_out, p.state_in);
    device->kernels->linear_forward(device, &p.shape, 0, NULL, NULL, NULL, p.state_in, NULL, NULL);
    device->kernels->linear_read(device, &p.shape, 0, NULL, NULL, p.state_in, NULL);
    float *zero = numbers_zero(p.state_n);
    device->kernels->linear_summary(device, &p.shape, 0, NULL, NULL, p.state_out);
    numbers_same("summary", p.state_n, p.state_out, zero);
    device->kernels->linear_backward_summary(device, &p.shape, 0, NULL, NULL, NULL, p.dstate_in);
    numbers_same("backward summary", p.state_n, p.dstate_in, zero);
    device->kernels->linear_normalise(device, 0, 4, 0, NULL, NULL);
    device->kernels->linear_normalise_backward(device, 0, 4, 0, NULL, NULL, NULL);
    free(zero);
    destroy(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_cut_in_two_at_every_point),
        cmocka_unit_test(test_read_seeds_a_pass),
        cmocka_unit_test(test_one_token_at_a_time),
        cmocka_unit_test(test_causality),
        cmocka_unit_test(test_total_decay),
        cmocka_unit_test(test_normalise),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_tokens),
    };
    numbers_set_threads(1); // idle threads would spin on cores that other tests need
    return CANTO_TEST_AT_LEVELS(tests, &device);
}
