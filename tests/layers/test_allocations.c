// No allocation of ours in a training step on any number of ranks, nor while decoding. The pools of
// open messages in communicators grow while they are new, so the first steps are not counted.
#include "tests/allocations.h"
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/layers/trainer.h"

#include "parallel/strategy.h"
#include "runtime/rng.h"

enum { TOKENS = 120, WARM = 5, STEPS = 50, DOCUMENTS_MAX = 12 };

// The wrapping itself works: making a model is counted.
static void test_counting(void **state)
{
    (void)state;
    canto_model_config config;
    models_params params;
    const int64_t before = canto_test_allocations();
    models_config(0, &config);
    models_params_make(&config, &params);
    models_params_free(&params);
    assert_true(canto_test_allocations() > before + 20);
}

static canto_documents draw_documents(int64_t step, int64_t *starts)
{
    int n = 0;
    for (int64_t at = 0; at < TOKENS && n < DOCUMENTS_MAX; n++) {
        starts[n] = at;
        at += 1 + canto_rng_below(4, CANTO_RNG_TEST, (uint64_t)(step * DOCUMENTS_MAX + n), 30);
    }
    starts[n] = TOKENS;
    return (canto_documents){n, starts};
}

static void check_training(canto_comm *world, int which)
{
    static const canto_optimizer_config optimizer = {
        .lr = 0.01, .horizon = STEPS, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
    canto_model_config config;
    trainer t;
    int64_t starts[DOCUMENTS_MAX + 1];
    int32_t tokens[TOKENS], targets[TOKENS];
    models_config(which, &config);
    const trainer_desc desc = {.config = &config,
                               .softmax = canto_strategy_find("ring"),
                               .linear = canto_transport_find("lasp2"),
                               .dp = 1,
                               .sequences_n = 1,
                               .sequence_length = TOKENS,
                               .documents_max = DOCUMENTS_MAX,
                               .gradients = true,
                               .optimizer = &optimizer};
    trainer_open(&t, world, &desc);
    int64_t before = 0;
    for (int64_t step = 1; step <= WARM + STEPS; step++) {
        if (step == WARM + 1) before = canto_test_allocations();
        const canto_documents documents = draw_documents(step, starts);
        models_text(&config, TOKENS, documents.n, starts, tokens, targets);
        trainer_load(&t, &documents, tokens, targets);
        trainer_step(&t, step, TOKENS);
    }
    const int64_t calls = canto_test_allocations() - before;
    if (calls != 0) fail_msg("%s: %lld allocations", models_name(which), (long long)calls);
    trainer_close(&t);
}

static void test_training(void **state)
{
    (void)state;
    canto_comm *plain; // the checks of the shared one keep lists of their own
    CANTO_TEST_OK(canto_comm_mpi_open(&plain));
    check_training(plain, 0);
    check_training(plain, 2);
    canto_comm_destroy(&plain);
}

static void test_decoding(void **state)
{
    (void)state;
    canto_model_config config;
    canto_arenas arenas = {0};
    canto_decoder *decoder;
    int32_t tokens[TOKENS], targets[TOKENS];
    float logits[64];
    models_config(0, &config);
    models_text(&config, TOKENS, 0, NULL, tokens, targets);
    canto_arena *each[] = {&arenas.params, &arenas.step, &arenas.work};
    for (int i = 0; i < 3; i++) CANTO_TEST_OK(canto_arena_create(each[i], 1 << 20));
    CANTO_TEST_OK(
        canto_decoder_create(&arenas, &config, &canto_kernels_cpu, TOKENS + 1, 64, &decoder));
    models_values(canto_decoder_params(decoder), canto_decoder_params(decoder)->values);
    const int64_t before = canto_test_allocations();
    CANTO_TEST_OK(canto_decoder_feed(decoder, TOKENS, tokens, logits));
    CANTO_TEST_OK(canto_decoder_feed(decoder, 1, tokens, logits));
    assert_int_equal(canto_test_allocations(), before);
    canto_decoder_destroy(&decoder);
    for (int i = 0; i < 3; i++) canto_arena_destroy(each[i]);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_counting),
    cmocka_unit_test(test_training),
    cmocka_unit_test(test_decoding),
};

const canto_test_module test_allocations = {"allocations", tests, sizeof tests / sizeof *tests};
