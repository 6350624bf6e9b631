// The references themselves: gradients against central differences, and answers known by heart.
#include "tests/canto_test.h"
#include "tests/ref/differences.h"
#include "tests/ref/linear.h"
#include "tests/ref/softmax.h"
#include "tests/ref/widen.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 4096 }; // numbers of one tensor in these tests
enum { QUERIES = 9, KEYS = 11 };

static double *random_doubles(const char *name, int64_t n)
{
    float *x = malloc(MOST * sizeof *x);
    double *wide = calloc(MOST, sizeof *wide);
    assert_true(x && wide && n <= MOST);
    canto_test_fill(name, n, x);
    canto_ref_widen(n, x, wide);
    free(x);
    return wide;
}

// --- softmax ---

typedef struct softmax_case {
    canto_attention_shape shape;
    int bands_n;
    canto_band bands[2];
    double *q, *kv, *dout, *o, *lse, *dq, *dkv;
} softmax_case;

// The function whose gradient is dq and dkv: sum of dout * o.
static double softmax_value(void *context)
{
    softmax_case *c = context;
    double sum = 0;
    canto_ref_softmax_forward(&c->shape, QUERIES, KEYS, c->bands_n, c->bands, c->q, c->kv, c->o,
                              c->lse);
    for (int64_t i = 0; i < QUERIES * c->shape.heads * c->shape.value_dim; i++)
        sum += c->dout[i] * c->o[i];
    return sum;
}

static void check_softmax(softmax_case *c)
{
    int64_t q_n = QUERIES * c->shape.heads * c->shape.key_dim;
    int64_t kv_n = KEYS * canto_attention_kv_width(&c->shape);
    double **all[] = {&c->q, &c->kv, &c->dout, &c->o, &c->lse, &c->dq, &c->dkv};
    const char *names[] = {"q", "kv", "dout", "o", "lse", "dq", "dkv"};
    for (int i = 0; i < 7; i++) *all[i] = random_doubles(names[i], MOST);
    canto_ref_softmax_backward(&c->shape, QUERIES, KEYS, c->bands_n, c->bands, c->q, c->kv, c->dout,
                               c->dq, c->dkv);
    canto_differences_close("softmax dq", softmax_value, c, q_n, c->q, c->dq);
    canto_differences_close("softmax dkv", softmax_value, c, kv_n, c->kv, c->dkv);
    for (int i = 0; i < 7; i++) free(*all[i]);
}

static void test_softmax_gradients(void **state)
{
    (void)state;
    const canto_band full = {0, QUERIES, 0, KEYS, CANTO_BAND_MIN, CANTO_BAND_MAX};
    const canto_band causal = {0, QUERIES, 0, KEYS, CANTO_BAND_MIN, 0};
    const canto_band window = {1, 8, 2, KEYS, -2, 1};
    const canto_band early = {0, 4, 0, 4, -9, 0}, late = {4, QUERIES, 4, KEYS, -9, 0};
    softmax_case cases[] = {
        {.shape = {2, 2, 2, 4, 3, 0.5f}, .bands_n = 1, .bands = {full}},
        {.shape = {4, 2, 1, 3, 5, 0.6f}, .bands_n = 1, .bands = {causal}},
        {.shape = {4, 1, 4, 3, 2, 0.6f}, .bands_n = 1, .bands = {window}}, // two rows without keys
        {.shape = {2, 1, 1, 4, 4, 0.5f}, .bands_n = 2, .bands = {early, late}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_softmax(&cases[i]);
}

// Equal scores give the mean of the allowed values, and lse = score + log(count).
static void test_softmax_of_equal_scores(void **state)
{
    (void)state;
    const canto_attention_shape shape = {1, 1, 1, 1, 1, 2.0f};
    const canto_band causal = {0, 3, 0, 3, CANTO_BAND_MIN, 0};
    const double q[] = {1, 1, 1}, kv[] = {0.5, 3, 0.5, 6, 0.5, 12};
    double o[3], lse[3];
    canto_ref_softmax_forward(&shape, 3, 3, 1, &causal, q, kv, o, lse);
    assert_float_equal(o[0], 3, 1e-14);
    assert_float_equal(o[1], 4.5, 1e-14);
    assert_float_equal(o[2], 7, 1e-14);
    for (int i = 0; i < 3; i++) assert_float_equal(lse[i], 1 + log(i + 1), 1e-14);
    canto_ref_softmax_forward(&shape, 3, 3, 0, NULL, q, kv, o, lse);
    assert_true(o[1] == 0 && lse[1] == -INFINITY);
}

// --- linear ---

typedef struct linear_case {
    canto_linear_shape shape;
    int64_t tokens;
    canto_ref_documents documents;
    bool with_state, normalised;
    double *q, *kv, *erase, *gates, *state_in, *dout, *dstate_out;           // given
    double *y, *o, *state_out, *dy, *dq, *dkv, *derase, *dgates, *dstate_in; // computed
} linear_case;

static int64_t entries(const linear_case *c)
{
    return c->tokens * c->shape.heads;
}

static canto_ref_run run_of(const linear_case *c)
{
    return (canto_ref_run){c->tokens, c->documents, c->q, c->kv, c->erase, c->gates};
}

static void linear_forward(linear_case *c)
{
    const canto_ref_run run = run_of(c);
    canto_ref_linear_forward(&c->shape, &run, c->with_state ? c->state_in : NULL, c->y,
                             c->state_out);
}

// The function whose gradients are checked: sum of dout * o, or of dout * y, and of dstate_out *
// state_out.
static double linear_value(void *context)
{
    linear_case *c = context;
    int64_t n = entries(c) * (c->normalised ? c->shape.value_dim : canto_linear_columns(&c->shape));
    double sum = 0;
    linear_forward(c);
    // A large eps keeps the denominator of random features away from 0.
    if (c->normalised) canto_ref_normalise(entries(c), c->shape.value_dim, 50, c->y, c->o);
    for (int64_t i = 0; i < n; i++) sum += c->dout[i] * (c->normalised ? c->o[i] : c->y[i]);
    for (int64_t i = 0; c->with_state && i < canto_linear_state_count(&c->shape); i++)
        sum += c->dstate_out[i] * c->state_out[i];
    return sum;
}

static void linear_gradients(linear_case *c)
{
    const double *dy = c->dout;
    if (c->normalised) {
        linear_forward(c);
        canto_ref_normalise_backward(entries(c), c->shape.value_dim, 50, c->y, c->dout, c->dy);
        dy = c->dy;
    }
    const canto_ref_run run = run_of(c);
    const canto_ref_gradients gradients = {c->dq, c->dkv, c->derase, c->dgates};
    canto_ref_linear_backward(&c->shape, &run, c->with_state ? c->state_in : NULL, dy,
                              c->with_state ? c->dstate_out : NULL, &gradients, c->dstate_in);
}

static void check_linear(linear_case *c)
{
    double **all[] = {&c->q,          &c->kv,     &c->erase,  &c->gates,    &c->state_in,  &c->dout,
                      &c->dstate_out, &c->y,      &c->o,      &c->dy,       &c->state_out, &c->dq,
                      &c->dkv,        &c->derase, &c->dgates, &c->dstate_in};
    const char *names[] = {"q",          "kv",     "erase",  "gates",    "state_in",  "dout",
                           "dstate_out", "y",      "o",      "dy",       "state_out", "dq",
                           "dkv",        "derase", "dgates", "dstate_in"};
    enum { ARRAYS = sizeof all / sizeof all[0] };
    for (int i = 0; i < ARRAYS; i++) *all[i] = random_doubles(names[i], MOST);
    for (int i = 0; i < MOST; i++) c->gates[i] = -fabs(c->gates[i]);
    for (int i = 0; i < MOST; i++) c->erase[i] *= 0.3; // lest states grow
    linear_gradients(c);
    canto_differences_close("linear dq", linear_value, c, entries(c) * c->shape.key_dim, c->q,
                            c->dq);
    canto_differences_close("linear dkv", linear_value, c,
                            c->tokens * canto_linear_kv_width(&c->shape), c->kv, c->dkv);
    if (c->shape.gate)
        canto_differences_close("linear dgates", linear_value, c,
                                c->tokens * canto_linear_gates_count(&c->shape), c->gates,
                                c->dgates);
    if (c->shape.erases)
        canto_differences_close("linear derase", linear_value, c,
                                c->tokens * c->shape.kv_heads * c->shape.key_dim, c->erase,
                                c->derase);
    if (c->with_state)
        canto_differences_close("linear dstate", linear_value, c,
                                canto_linear_state_count(&c->shape), c->state_in, c->dstate_in);
    for (int i = 0; i < ARRAYS; i++) free(*all[i]);
}

static void test_linear_gradients(void **state)
{
    (void)state;
    const float decay[] = {-0.1f, -1.5f};
    const int64_t starts[] = {0, 3, 4}, later[] = {5};
    linear_case cases[] = {
        {.shape = {2, 2, 4, 3, false, NULL, CANTO_GATE_NONE, false}, .tokens = 9},
        {.shape = {4, 2, 3, 2, true, decay, CANTO_GATE_NONE, false},
         .tokens = 9,
         .with_state = true},
        {.shape = {2, 1, 3, 3, true, decay, CANTO_GATE_NONE, false},
         .tokens = 8,
         .normalised = true},
        {.shape = {2, 2, 3, 2, false, decay, CANTO_GATE_NONE, false},
         .tokens = 7,
         .documents = {3, starts}},
        {.shape = {2, 2, 3, 2, true, decay, CANTO_GATE_NONE, false},
         .tokens = 8,
         .documents = {1, later},
         .with_state = true},
        {.shape = {2, 2, 4, 3, false, NULL, CANTO_GATE_KEY, false}, .tokens = 9},
        {.shape = {2, 2, 4, 3, false, NULL, CANTO_GATE_HEAD, false}, .tokens = 9},
        {.shape = {4, 2, 3, 2, true, NULL, CANTO_GATE_HEAD, true},
         .tokens = 8,
         .documents = {1, later},
         .with_state = true},
        {.shape = {2, 2, 3, 2, false, NULL, CANTO_GATE_NONE, true}, .tokens = 7},
        {.shape = {2, 1, 3, 3, false, decay, CANTO_GATE_NONE, true},
         .tokens = 8,
         .documents = {3, starts},
         .with_state = true},
        {.shape = {4, 2, 3, 2, false, NULL, CANTO_GATE_KEY, true}, .tokens = 8, .with_state = true},
        {.shape = {4, 2, 3, 2, true, NULL, CANTO_GATE_KEY, false},
         .tokens = 8,
         .documents = {1, later},
         .with_state = true},
        {.shape = {2, 1, 3, 2, false, NULL, CANTO_GATE_KEY, false},
         .tokens = 7,
         .documents = {3, starts}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_linear(&cases[i]);
}

// 1 x 1 states, decay 1/2: S = 2, 1 + 3, 2 + 5; a document that starts at token 2 forgets.
static void test_linear_by_hand(void **state)
{
    (void)state;
    const float half = logf(0.5f);
    const canto_linear_shape shape = {1, 1, 1, 1, false, &half, CANTO_GATE_NONE, false};
    const double q[] = {1, 1, 10}, kv[] = {1, 2, 1, 3, 1, 5};
    const int64_t start = 2;
    double y[3], end;
    canto_ref_run run = {.tokens = 3, .q = q, .kv = kv};
    canto_ref_linear_forward(&shape, &run, NULL, y, &end);
    assert_float_equal(y[0], 2, 1e-6);
    assert_float_equal(y[1], 4, 1e-6);
    assert_float_equal(y[2], 70, 1e-6);
    assert_float_equal(end, 7, 1e-6);
    run.documents = (canto_ref_documents){1, &start};
    canto_ref_linear_forward(&shape, &run, NULL, y, &end);
    assert_float_equal(y[1], 4, 1e-6);
    assert_float_equal(y[2], 50, 1e-6);
}

// Two key dims, one forgets: S = (2, 2), then (1 + 3, 3).
static void test_linear_gates_by_hand(void **state)
{
    (void)state;
    const canto_linear_shape shape = {1, 1, 2, 1, false, NULL, CANTO_GATE_KEY, false};
    const double q[] = {1, 1, 1, 10}, kv[] = {1, 1, 2, 1, 1, 3};
    const double gates[] = {-7, -7, log(0.5), -50};
    double y[2], end[2];
    const canto_ref_run run = {.tokens = 2, .q = q, .kv = kv, .gates = gates};
    canto_ref_linear_forward(&shape, &run, NULL, y, end);
    assert_float_equal(y[0], 4, 1e-12);
    assert_float_equal(y[1], 34, 1e-12);
    assert_float_equal(end[0], 4, 1e-12);
    assert_float_equal(end[1], 3, 1e-12);
}

// Key (1, 0) is written 2 at once, then 5 replaces it, then half of the way to 7: 2, 5, 6.
static void test_linear_erasing_by_hand(void **state)
{
    (void)state;
    const canto_linear_shape shape = {1, 1, 2, 1, false, NULL, CANTO_GATE_NONE, true};
    const double q[] = {1, 0, 1, 0, 1, 1}, kv[] = {1, 0, 2, 1, 0, 5, 0.5, 0, 7};
    const double r[] = {1, 0, 1, 0, 1, 0};
    double y[3];
    const canto_ref_run run = {.tokens = 3, .q = q, .kv = kv, .erase = r};
    canto_ref_linear_forward(&shape, &run, NULL, y, NULL);
    assert_float_equal(y[0], 2, 1e-12);
    assert_float_equal(y[1], 5, 1e-12);
    assert_float_equal(y[2], 6, 1e-12);
}

// The checker must see a wrong gradient.
static double cube(void *context)
{
    const double *x = context;
    return x[0] * x[0] * x[0] + x[1];
}

static void test_differences_see_errors(void **state)
{
    (void)state;
    double x[] = {2, 1}, right[] = {12, 1}, wrong[] = {12, 1.001};
    assert_true(canto_differences_error(cube, x, 2, x, right) < 1e-10);
    assert_true(canto_differences_error(cube, x, 2, x, wrong) > 1e-6);
    assert_true(x[0] == 2 && x[1] == 1);
    wrong[1] = NAN;
    assert_true(isinf(canto_differences_error(cube, x, 2, x, wrong)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_softmax_gradients),
        cmocka_unit_test(test_softmax_of_equal_scores),
        cmocka_unit_test(test_linear_gradients),
        cmocka_unit_test(test_linear_by_hand),
        cmocka_unit_test(test_linear_gates_by_hand),
        cmocka_unit_test(test_linear_erasing_by_hand),
        cmocka_unit_test(test_differences_see_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
