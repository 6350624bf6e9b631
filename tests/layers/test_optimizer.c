// The rate's curve, and AdamW's steps on one rank against a loop in double: clipping, decay with
// exclusions, pieces, refusal of numbers that are not finite.
#include "tests/canto_test.h"

#include "layers/optimizer.h"

#include <math.h>
#include <string.h>

static const canto_optimizer_config config = {.lr = 0.02,
                                              .min_lr = 0.002,
                                              .warmup = 4,
                                              .horizon = 14,
                                              .beta1 = 0.9,
                                              .beta2 = 0.95,
                                              .eps = 1e-8,
                                              .weight_decay = 0.1,
                                              .clip = 3};

static void test_rate(void **state)
{
    (void)state;
    assert_true(fabs(canto_optimizer_rate(&config, 1) - 0.005) < 1e-12);
    assert_true(fabs(canto_optimizer_rate(&config, 4) - 0.02) < 1e-12);
    assert_true(fabs(canto_optimizer_rate(&config, 9) - 0.011) < 1e-12);
    assert_true(fabs(canto_optimizer_rate(&config, 14) - 0.002) < 1e-12);
    assert_true(fabs(canto_optimizer_rate(&config, 1000) - 0.002) < 1e-12);
    for (int64_t step = 4; step < 14; step++)
        assert_true(canto_optimizer_rate(&config, step + 1) < canto_optimizer_rate(&config, step));
    canto_optimizer_config plain = config;
    plain.warmup = 0;
    assert_true(canto_optimizer_rate(&plain, 1) < plain.lr);
    plain.horizon = 0;
    assert_true(canto_optimizer_rate(&plain, 1) == plain.min_lr);
    plain.warmup = plain.horizon = 3;
    assert_true(canto_optimizer_rate(&plain, 3) == plain.lr);
    assert_true(canto_optimizer_rate(&plain, 4) == plain.min_lr);
}

enum { A = 7, B = 3, COUNT = 2 * A + B };

typedef struct setup {
    canto_comm *comm;
    canto_arena arena;
    canto_params params;
    canto_grad grad;
    canto_optimizer optimizer;
} setup;

// Three parameters in two buckets; the second does not decay.
static void open_setup(setup *s)
{
    int id;
    *s = (setup){0};
    CANTO_TEST_OK(canto_comm_self_open(&s->comm));
    CANTO_TEST_OK(canto_arena_create(&s->arena, 1 << 16));
    CANTO_TEST_OK(canto_params_begin(&s->params, canto_device_cpu(), 2));
    const canto_param list[] = {
        {.name = "a", .dims_n = 1, .dims = {A}, .bucket = 0, .decays = true},
        {.name = "b", .dims_n = 1, .dims = {B}, .bucket = 0, .decays = false},
        {.name = "c", .dims_n = 1, .dims = {A}, .bucket = 1, .decays = true}};
    for (int i = 0; i < 3; i++) CANTO_TEST_OK(canto_params_add(&s->params, &list[i], &id));
    CANTO_TEST_OK(canto_params_allocate(&s->params, &s->arena, true, false));
    CANTO_TEST_OK(canto_grad_create(&s->arena, &s->arena, s->comm, canto_device_cpu(), 2,
                                    s->params.bounds, s->params.grads, &s->grad));
    CANTO_TEST_OK(canto_optimizer_create(&s->arena, &config, &s->params, &s->grad,
                                         canto_device_cpu(), 0, &s->optimizer));
    canto_test_fill("values", COUNT, s->params.values);
}

static void close_setup(setup *s)
{
    canto_params_destroy(&s->params);
    canto_arena_destroy(&s->arena);
    canto_comm_destroy(&s->comm);
}

static canto_status step(setup *s, int64_t which, double *norm, double *lr)
{
    CANTO_TEST_OK(canto_grad_start(&s->grad, 1));
    CANTO_TEST_OK(canto_grad_start(&s->grad, 0));
    const canto_status status = canto_optimizer_step(&s->optimizer, s->comm, which, norm, lr);
    if (status == CANTO_OK) CANTO_TEST_OK(canto_grad_gather_finish(&s->grad));
    return status;
}

static void test_steps(void **state)
{
    (void)state;
    setup s;
    double w[COUNT], first[COUNT] = {0}, second[COUNT] = {0};
    open_setup(&s);
    for (int i = 0; i < COUNT; i++) w[i] = s.params.values[i];
    for (int64_t t = 1; t <= 6; t++) {
        double norm, lr, squares = 0;
        canto_test_fill("gradient", COUNT, s.params.grads);
        // Large enough to be clipped in every other step.
        for (int i = 0; i < COUNT; i++) s.params.grads[i] *= t % 2 ? 0.3f : 3.0f;
        for (int i = 0; i < COUNT; i++) squares += pow(s.params.grads[i], 2);
        const double expected = sqrt(squares);
        const double scale = expected > config.clip ? config.clip / expected : 1;
        assert_true((scale < 1) == (t % 2 == 0));
        for (int i = 0; i < COUNT; i++) {
            const double g = scale * s.params.grads[i];
            first[i] = 0.9 * first[i] + 0.1 * g;
            second[i] = 0.95 * second[i] + 0.05 * g * g;
            const double m = first[i] / (1 - pow(0.9, (double)t));
            const double v = second[i] / (1 - pow(0.95, (double)t));
            const double decay = i >= A && i < A + B ? 0 : 0.1;
            w[i] -= canto_optimizer_rate(&config, t) * (m / (sqrt(v) + 1e-8) + decay * w[i]);
        }
        CANTO_TEST_OK(step(&s, t, &norm, &lr));
        assert_true(fabs(norm - expected) < 1e-12 * expected);
        assert_true(lr == canto_optimizer_rate(&config, t));
        canto_test_close("parameters", COUNT, s.params.values, w, 2e-6);
    }
    close_setup(&s);
}

typedef struct seen {
    int calls;
    int64_t elements;
    const float *values;
} seen;

static canto_status see(void *context, const canto_param *param, int64_t begin, int64_t count,
                        float *value, float *first, float *second)
{
    seen *s = context;
    CANTO_CHECK(value == s->values + param->begin + begin, "%s: another place", param->name);
    first[0] = (float)s->calls;
    second[count - 1] = (float)count;
    s->calls++;
    s->elements += count;
    return CANTO_OK;
}

static void test_pieces(void **state)
{
    (void)state;
    setup s;
    open_setup(&s);
    seen all = {.values = s.params.values};
    CANTO_TEST_OK(canto_optimizer_pieces(&s.optimizer, see, &all));
    assert_int_equal(all.calls, 3);
    assert_int_equal(all.elements, COUNT);
    assert_int_equal(s.optimizer.pieces_count, COUNT);
    assert_true(s.optimizer.first[A] == 1 && s.optimizer.first[A + B] == 2);
    assert_true(s.optimizer.second[A - 1] == A && s.optimizer.second[A + B - 1] == B);
    close_setup(&s);
}

static void test_not_finite(void **state)
{
    (void)state;
    setup s;
    double norm, lr;
    float before[COUNT];
    open_setup(&s);
    memcpy(before, s.params.values, sizeof before);
    for (int bad = 0; bad < 2; bad++) {
        canto_test_fill("gradient", COUNT, s.params.grads);
        s.params.grads[COUNT - 1] = bad ? INFINITY : NAN;
        CANTO_TEST_FAILS(CANTO_ERROR_NUMBERS, "not finite in step 5", step(&s, 5, &norm, &lr));
        assert_memory_equal(before, s.params.values, sizeof before);
        assert_true(s.optimizer.first[0] == 0);
    }
    close_setup(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rate), cmocka_unit_test(test_steps),
                                       cmocka_unit_test(test_pieces),
                                       cmocka_unit_test(test_not_finite)};
    return cmocka_run_group_tests_name("layers.optimizer", tests, NULL, NULL);
}
