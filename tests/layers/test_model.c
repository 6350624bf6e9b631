// The model on one rank: loss, logits and the gradient of every tensor against the double
// reference, memory, refusals.
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/layers/trainer.h"
#include "tests/ref/model.h"
#include "tests/ref/widen.h"

#include "layers/layer.h"
#include "parallel/strategy.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 70 };

static const int64_t starts[] = {0, 1, 30, 37, TOKENS};

// More than one time the tokens that what looks at one token at a time runs over together.
enum { LONG = CANTO_LAYER_ROWS + 100 };

static const int64_t long_starts[] = {0, 500, CANTO_LAYER_ROWS - 1, CANTO_LAYER_ROWS + 50, LONG};

static trainer_desc describe(const canto_model_config *config)
{
    return (trainer_desc){.config = config,
                          .softmax = canto_strategy_find("ring"),
                          .linear = canto_transport_find("lasp2"),
                          .dp = 1,
                          .sequences_n = 1,
                          .sequence_length = TOKENS,
                          .documents_max = 8,
                          .gradients = true};
}

static double *widen(int64_t n, const float *x)
{
    double *wide = malloc((size_t)n * sizeof *wide);
    canto_ref_widen(n, x, wide);
    return wide;
}

static void check_gradients(int which, canto_dtype dtype, canto_recompute recompute,
                            canto_documents documents)
{
    canto_model_config config;
    canto_comm *self;
    trainer t;
    const int64_t n = documents.starts[documents.n];
    int32_t *tokens = malloc(sizeof *tokens * (size_t)n);
    int32_t *targets = malloc(sizeof *targets * (size_t)n);
    models_config(which, &config);
    config.dtype = dtype;
    config.recompute = recompute;
    models_text(&config, n, documents.n, documents.starts, tokens, targets);
    trainer_desc desc = describe(&config);
    desc.sequence_length = n;
    CANTO_TEST_OK(canto_comm_self_open(&self));
    trainer_open(&t, self, &desc);
    trainer_load(&t, &documents, tokens, targets);

    const int64_t count = canto_params_count(t.params);
    double *values = widen(count, t.params->values);
    double *gradient = calloc((size_t)count, sizeof *gradient);
    const canto_ref_model ref = {&config, t.params, values, {documents.n, documents.starts},
                                 n,       tokens,   targets};
    const double expected = canto_ref_model_loss(&ref, 0.125, gradient);
    const double loss = trainer_gradients(&t, 0.125f);
    if (!(fabs(loss - expected) <= (dtype == CANTO_BF16 ? 1e-4 : 2e-6) * expected))
        fail_msg("%s: loss %.9g, reference %.9g", models_name(which), loss, expected);
    trainer_compare(&t, models_name(which), gradient);
    if (dtype == CANTO_BF16) {
        config.dtype = CANTO_F32;
        const double exact = canto_ref_model_loss(&ref, 1, NULL);
        config.dtype = CANTO_BF16;
        assert_true(fabs(loss - exact) > 1e-6 * exact && fabs(loss - exact) < 1e-2 * exact);
    }

    // The same again adds to the gradients; without zeroing they are doubled.
    double again;
    CANTO_TEST_OK(canto_model_forward(t.model, t.tokens, NULL));
    CANTO_TEST_OK(canto_model_loss(t.model, t.targets, 0.125f, true, &again));
    CANTO_TEST_OK(canto_model_backward(t.model, NULL));
    assert_true(again == loss);
    for (int64_t i = 0; i < count; i++) gradient[i] *= 2;
    trainer_compare(&t, models_name(which), gradient);
    free(values), free(gradient);
    free(tokens), free(targets);
    trainer_close(&t);
    canto_comm_destroy(&self);
}

static void test_gradients(void **state)
{
    (void)state;
    const canto_documents documents = {4, starts};
    for (int which = 0; which < MODELS_N; which++)
        check_gradients(which, CANTO_F32, CANTO_RECOMPUTE_NONE, documents);
}

// Rounded operands show, and no more than they may.
static void test_gradients_of_bf16(void **state)
{
    (void)state;
    const canto_documents documents = {4, starts};
    for (int which = 0; which < MODELS_N; which++)
        check_gradients(which, CANTO_BF16, CANTO_RECOMPUTE_NONE, documents);
}

static void test_gradients_of_more_rows(void **state)
{
    (void)state;
    const canto_documents documents = {4, long_starts};
    for (int which = 0; which < MODELS_N; which++)
        check_gradients(which, CANTO_F32, which % 2 ? CANTO_RECOMPUTE_BLOCK : CANTO_RECOMPUTE_NONE,
                        documents);
    check_gradients(6, CANTO_BF16, CANTO_RECOMPUTE_NONE, documents);
}

// A model for evaluation gives the same loss, has no gradients and needs less memory.
static void test_forward_only(void **state)
{
    (void)state;
    canto_model_config config;
    canto_comm *self;
    trainer training, evaluation;
    int32_t tokens[TOKENS], targets[TOKENS];
    const canto_documents documents = {4, starts};
    double loss;
    models_config(0, &config);
    models_text(&config, TOKENS, 4, starts, tokens, targets);
    trainer_desc desc = describe(&config);
    CANTO_TEST_OK(canto_comm_self_open(&self));
    trainer_open(&training, self, &desc);
    desc.gradients = false;
    trainer_open(&evaluation, self, &desc);
    trainer_load(&training, &documents, tokens, targets);
    trainer_load(&evaluation, &documents, tokens, targets);
    const double expected = trainer_gradients(&training, 1);
    CANTO_TEST_OK(canto_model_forward(evaluation.model, evaluation.tokens, NULL));
    CANTO_TEST_OK(canto_model_loss(evaluation.model, evaluation.targets, 0, false, &loss));
    assert_true(loss == expected);
    assert_null(evaluation.params->grads);
    assert_true(evaluation.arenas.step.peak < training.arenas.step.peak / 5);
    assert_true(evaluation.arenas.work.peak < training.arenas.work.peak);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "made without",
                     canto_model_loss(evaluation.model, evaluation.targets, 1, true, &loss));
    trainer_close(&training);
    trainer_close(&evaluation);
    canto_comm_destroy(&self);
}

// What comes later changes nothing that came before; another document changes nothing either.
static void test_causal(void **state)
{
    (void)state;
    canto_model_config config;
    canto_comm *self;
    trainer t;
    int32_t tokens[TOKENS], targets[TOKENS];
    const canto_documents documents = {4, starts};
    double before, after;
    models_config(0, &config);
    models_text(&config, TOKENS, 4, starts, tokens, targets);
    trainer_desc desc = describe(&config);
    CANTO_TEST_OK(canto_comm_self_open(&self));
    trainer_open(&t, self, &desc);
    for (int i = 0; i < TOKENS; i++) {
        if (i >= 33 || i == 0) targets[i] = -1;
    }
    trainer_load(&t, &documents, tokens, targets);
    CANTO_TEST_OK(canto_model_forward(t.model, t.tokens, NULL));
    CANTO_TEST_OK(canto_model_loss(t.model, t.targets, 0, false, &before));
    for (int i = 33; i < TOKENS; i++) t.tokens[i] = (t.tokens[i] + 1) % config.vocab;
    t.tokens[0] = (t.tokens[0] + 1) % config.vocab;
    CANTO_TEST_OK(canto_model_forward(t.model, t.tokens, NULL));
    CANTO_TEST_OK(canto_model_loss(t.model, t.targets, 0, false, &after));
    assert_true(before == after);
    t.tokens[31] = (t.tokens[31] + 1) % config.vocab;
    CANTO_TEST_OK(canto_model_forward(t.model, t.tokens, NULL));
    CANTO_TEST_OK(canto_model_loss(t.model, t.targets, 0, false, &after));
    assert_true(before != after);
    trainer_close(&t);
    canto_comm_destroy(&self);
}

static void test_refusals(void **state)
{
    (void)state;
    canto_model_config config;
    canto_comm *self;
    trainer t;
    int32_t tokens[TOKENS], targets[TOKENS];
    const canto_documents documents = {4, starts};
    double loss;
    models_config(5, &config);
    models_text(&config, TOKENS, 4, starts, tokens, targets);
    const trainer_desc desc = describe(&config);
    CANTO_TEST_OK(canto_comm_self_open(&self));
    trainer_open(&t, self, &desc);
    trainer_load(&t, &documents, tokens, targets);
    t.tokens[3] = config.vocab;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "token 13 at 3",
                     canto_model_forward(t.model, t.tokens, NULL));
    t.targets[4] = -2;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "target -2 at 4",
                     canto_model_loss(t.model, t.targets, 1, true, &loss));
    trainer_close(&t);
    canto_comm_destroy(&self);
}

// A vocabulary of several tiles: the same numbers as the reference, and no memory for all logits.
static void test_large_vocabulary(void **state)
{
    (void)state;
    canto_model_config config;
    canto_comm *self;
    trainer t;
    int32_t tokens[TOKENS], targets[TOKENS];
    const canto_documents documents = {4, starts};
    for (int i = 0; i < 3; i++) {
        models_config(5, &config);
        config.vocab = 70000;
        config.tied = i == 1;
        config.dtype = i == 2 ? CANTO_BF16 : CANTO_F32;
        models_text(&config, TOKENS, 4, starts, tokens, targets);
        const trainer_desc desc = describe(&config);
        CANTO_TEST_OK(canto_comm_self_open(&self));
        trainer_open(&t, self, &desc);
        trainer_load(&t, &documents, tokens, targets);
        const size_t all_logits = sizeof(float) * TOKENS * (size_t)config.vocab;
        assert_true(t.arenas.step.peak + t.arenas.work.peak < all_logits);
        const int64_t count = canto_params_count(t.params);
        double *values = widen(count, t.params->values);
        double *gradient = calloc((size_t)count, sizeof *gradient);
        const canto_ref_model ref = {&config, t.params, values, {4, starts},
                                     TOKENS,  tokens,   targets};
        const double expected = canto_ref_model_loss(&ref, 1, gradient);
        const double loss = trainer_gradients(&t, 1);
        assert_true(fabs(loss - expected) <= (i == 2 ? 1e-4 : 2e-6) * expected);
        trainer_compare(&t, "vocabulary of 70000", gradient);
        free(values), free(gradient);
        trainer_close(&t);
        canto_comm_destroy(&self);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients),
        cmocka_unit_test(test_gradients_of_bf16),
        cmocka_unit_test(test_gradients_of_more_rows),
        cmocka_unit_test(test_forward_only),
        cmocka_unit_test(test_causal),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_large_vocabulary),
    };
    return cmocka_run_group_tests_name("layers.model", tests, NULL, NULL);
}
