// The model on all ranks of the test program: gradients of every tensor against the double
// reference of the whole stream, training against one rank, the same bits from two runs.
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/layers/trainer.h"
#include "tests/ref/model.h"
#include "tests/ref/widen.h"

#include "parallel/strategy.h"
#include "runtime/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 70, STEPS = 20, DOCUMENTS_MAX = 8 };

static trainer_desc describe(const canto_model_config *config, int variant, int64_t tokens)
{
    return (trainer_desc){.config = config,
                          .layout = variant % 2 ? CANTO_LAYOUT_ZIGZAG : CANTO_LAYOUT_CONTIGUOUS,
                          .softmax = canto_strategy_find(variant / 2 % 2 ? "gather" : "ring"),
                          .linear = canto_transport_find(variant / 2 % 2 ? "lasp1" : "lasp2"),
                          .dp = 1,
                          .sequences_n = 1,
                          .sequence_length = tokens,
                          .documents_max = DOCUMENTS_MAX,
                          .gradients = true};
}

// Adds loss and gradient of one stream.
static double add_reference(const canto_model_config *config, const trainer *t,
                            const canto_documents *documents, const int32_t *tokens,
                            const int32_t *targets, float scale, double *gradient)
{
    const int64_t count = canto_params_count(t->params);
    double *values = malloc((size_t)count * sizeof *values);
    float *narrow = canto_test_take_down(t->params->values, count);
    canto_ref_widen(count, narrow, values);
    free(narrow);
    const canto_ref_model ref = {config,
                                 t->params,
                                 values,
                                 {documents->n, documents->starts},
                                 documents->starts[documents->n],
                                 tokens,
                                 targets};
    const double loss = canto_ref_model_loss(&ref, scale, gradient);
    free(values);
    return loss;
}

static void check_gradients(int which, canto_dtype dtype, int variant,
                            const canto_documents *documents)
{
    canto_model_config config;
    trainer t;
    int32_t tokens[TOKENS], targets[TOKENS];
    char what[160];
    const int64_t n = documents->starts[documents->n];
    models_config(which, &config);
    config.dtype = dtype;
    models_text(&config, n, documents->n, documents->starts, tokens, targets);
    const trainer_desc desc = describe(&config, variant, n);
    trainer_open(&t, canto_test_world, &desc);
    trainer_load(&t, documents, tokens, targets);
    double *gradient = calloc((size_t)canto_params_count(t.params), sizeof *gradient);
    const double expected = add_reference(&config, &t, documents, tokens, targets, 0.25f, gradient);
    const double loss = trainer_gradients(&t, 0.25f);
    snprintf(what, sizeof what, "%s, %lld tokens, %s, %s", models_name(which), (long long)n,
             variant % 2 ? "zigzag" : "contiguous", desc.softmax->name);
    if (!(fabs(loss - expected) <= (dtype == CANTO_BF16 ? 1e-4 : 2e-6) * expected))
        fail_msg("%s: loss %.9g, reference %.9g", what, loss, expected);
    trainer_compare(&t, what, gradient);
    free(gradient);
    trainer_close(&t);
}

static void test_gradients(void **state)
{
    (void)state;
    static const int64_t starts[] = {0, 1, 30, 37, TOKENS};
    static const int64_t whole[] = {0, TOKENS};
    static const int64_t few[] = {0, 3};
    for (int which = 0; which < MODELS_N; which++) {
        for (int variant = 0; variant < 4; variant++)
            check_gradients(which, CANTO_F32, variant, &(canto_documents){4, starts});
        check_gradients(which, CANTO_F32, which, &(canto_documents){1, whole});
        check_gradients(which, CANTO_F32, which,
                        &(canto_documents){1, few}); // ranks without tokens
        check_gradients(which, CANTO_BF16, which, &(canto_documents){4, starts});
        check_gradients(which, CANTO_BF16, which, &(canto_documents){1, few});
    }
}

// Two replicas see different streams; every gradient is the sum over both.
static void check_replicas(int which)
{
    static const int64_t starts[] = {0, 21, TOKENS};
    const canto_documents documents = {2, starts};
    canto_model_config config;
    trainer t;
    int32_t tokens[2][TOKENS], targets[2][TOKENS];
    models_config(which, &config);
    for (int r = 0; r < 2; r++) {
        models_text(&config, TOKENS, 2, starts, tokens[r], targets[r]);
        for (int i = 0; i < TOKENS; i++) tokens[r][i] = (tokens[r][i] + r * i) % config.vocab;
    }
    trainer_desc desc = describe(&config, 1, TOKENS);
    desc.dp = 2;
    trainer_open(&t, canto_test_world, &desc);
    trainer_load(&t, &documents, tokens[t.mesh.dp_rank], targets[t.mesh.dp_rank]);
    double *gradient = calloc((size_t)canto_params_count(t.params), sizeof *gradient);
    double expected = 0;
    for (int r = 0; r < 2; r++)
        expected += add_reference(&config, &t, &documents, tokens[r], targets[r], 1, gradient);
    const double loss = trainer_gradients(&t, 1);
    assert_true(fabs(loss - expected) <= 2e-6 * expected);
    trainer_compare(&t, "two replicas", gradient);
    free(gradient);
    trainer_close(&t);
}

static void test_replicas(void **state)
{
    (void)state;
    if (canto_test_world->size % 2 != 0) return;
    check_replicas(0);
    check_replicas(7);
}

// --- training ---

typedef struct history {
    double losses[STEPS];
    float *values; // [count]
    int64_t count;
} history;

// Documents of random lengths, another number of them in every step.
static canto_documents draw_documents(int64_t step, int64_t *starts)
{
    int n = 0;
    for (int64_t at = 0; at < TOKENS && n < DOCUMENTS_MAX; n++) {
        starts[n] = at;
        at += 1 + canto_rng_below(9, CANTO_RNG_TEST, (uint64_t)(step * DOCUMENTS_MAX + n), 30);
    }
    starts[n] = TOKENS;
    return (canto_documents){n, starts};
}

static const canto_optimizer_config optimizer = {.lr = 0.01,
                                                 .min_lr = 0.001,
                                                 .warmup = 3,
                                                 .horizon = STEPS,
                                                 .beta1 = 0.9,
                                                 .beta2 = 0.95,
                                                 .eps = 1e-8,
                                                 .weight_decay = 0.1,
                                                 .clip = 1};

static void train(canto_comm *world, int which, int variant, history *out)
{
    canto_model_config config;
    trainer t;
    int64_t starts[DOCUMENTS_MAX + 1];
    int32_t tokens[TOKENS], targets[TOKENS];
    models_config(which, &config);
    trainer_desc desc = describe(&config, variant, TOKENS);
    desc.optimizer = &optimizer;
    trainer_open(&t, world, &desc);
    for (int64_t step = 1; step <= STEPS; step++) {
        const canto_documents documents = draw_documents(step, starts);
        int64_t targets_n = 0;
        models_text(&config, TOKENS, documents.n, starts, tokens, targets);
        for (int i = 0; i < TOKENS; i++) targets_n += targets[i] >= 0;
        trainer_load(&t, &documents, tokens, targets);
        out->losses[step - 1] = trainer_step(&t, step, targets_n);
    }
    out->count = canto_params_count(t.params);
    CANTO_TEST_OK(canto_grad_gather_finish(&t.grad));
    out->values = canto_test_take_down(t.params->values, out->count);
    trainer_close(&t);
}

// After the same steps every rank holds the same parameters.
static void check_ranks_agree(const history *h)
{
    double squares = 0;
    canto_device_cpu()->kernels->sum_squares(canto_device_cpu(), h->count, h->values, &squares);
    double all[64];
    CANTO_TEST_OK(canto_comm_gather_small(canto_test_world, sizeof squares, &squares, all));
    for (int r = 0; r < canto_test_world->size; r++) assert_true(all[r] == squares);
}

static void test_training(void **state)
{
    (void)state;
    static const int models[] = {0, 1, 2, 6};
    for (int m = 0; m < 4; m++) {
        const int which = models[m];
        history alone, first, second;
        canto_comm *self;
        CANTO_TEST_OK(canto_comm_self_open(&self));
        train(self, which, which + 1, &alone);
        train(canto_test_world, which, which + 1, &first);
        train(canto_test_world, which, which + 1, &second);
        for (int i = 0; i < STEPS; i++) {
            if (!(fabs(first.losses[i] - alone.losses[i]) <= 1e-5 * alone.losses[i]))
                fail_msg("%s: loss %.9g in step %d, on one rank %.9g", models_name(which),
                         first.losses[i], i + 1, alone.losses[i]);
        }
        assert_true(alone.losses[STEPS - 1] < 0.9 * alone.losses[0]);
        assert_memory_equal(first.losses, second.losses, sizeof first.losses);
        assert_memory_equal(first.values, second.values,
                            sizeof *first.values * (size_t)first.count);
        check_ranks_agree(&first);
        free(alone.values), free(first.values), free(second.values);
        canto_comm_destroy(&self);
    }
}

// One number on one rank that is not finite ends the step everywhere, with all parameters as they
// were.
static void test_not_finite(void **state)
{
    (void)state;
    static const int64_t starts[] = {0, TOKENS};
    const canto_documents documents = {1, starts};
    canto_model_config config;
    trainer t;
    int32_t tokens[TOKENS], targets[TOKENS];
    double loss, norm, lr;
    models_config(0, &config);
    models_text(&config, TOKENS, 1, starts, tokens, targets);
    trainer_desc desc = describe(&config, 1, TOKENS);
    desc.optimizer = &optimizer;
    trainer_open(&t, canto_test_world, &desc);
    trainer_load(&t, &documents, tokens, targets);
    const int64_t count = canto_params_count(t.params);
    float *before = canto_test_take_down(t.params->values, count);
    canto_model_zero_grads(t.model);
    if (canto_test_world->rank == canto_test_world->size - 1)
        canto_test_upload(&t.params->grads[count / 3], &(float){NAN}, sizeof(float));
    CANTO_TEST_OK(canto_model_forward(t.model, t.tokens, NULL));
    CANTO_TEST_OK(canto_model_loss(t.model, t.targets, 1, true, &loss));
    CANTO_TEST_OK(canto_model_backward(t.model, &t.grad));
    CANTO_TEST_FAILS(CANTO_ERROR_NUMBERS, "not finite in step 1",
                     canto_optimizer_step(&t.optimizer, t.mesh.control, 1, &norm, &lr));
    float *after = canto_test_take_down(t.params->values, count);
    assert_memory_equal(before, after, (size_t)count * sizeof *before);
    free(before), free(after);
    trainer_close(&t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_gradients),
    cmocka_unit_test(test_replicas),
    cmocka_unit_test(test_training),
    cmocka_unit_test(test_not_finite),
};

const canto_test_module test_model_mpi = {"model", tests, sizeof tests / sizeof *tests};
