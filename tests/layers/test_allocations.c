// No allocation of ours in a training step on any number of ranks, the first one included, nor
// while decoding. Messages travel on a checked communicator, as in the program.
#include "tests/allocations.h"
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/layers/trainer.h"

#include "parallel/strategy.h"
#include "runtime/rng.h"

enum { TOKENS = 120, SEQUENCES = 8, LENGTH = TOKENS / SEQUENCES, STEPS = 50, DOCUMENTS_MAX = 120 };

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
    assert_true(canto_test_allocations() > before + 10);
}

static canto_documents draw_documents(int64_t step, int64_t *starts)
{
    int n = 0;
    for (int64_t at = 0; at < TOKENS; n++) {
        const int64_t sequence_end = (at / LENGTH + 1) * LENGTH;
        starts[n] = at;
        at += 1 + canto_rng_below(4, CANTO_RNG_TEST, (uint64_t)(step * DOCUMENTS_MAX + n), 30);
        if (at > sequence_end) at = sequence_end;
    }
    starts[n] = TOKENS;
    return (canto_documents){n, starts};
}

typedef struct way {
    int which; // of the models
    const char *softmax, *linear;
    canto_layout layout;
} way;

static void check_training(canto_comm *world, const way *how)
{
    static const canto_optimizer_config optimizer = {
        .lr = 0.01, .horizon = STEPS, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
    canto_model_config config;
    trainer t;
    int64_t starts[DOCUMENTS_MAX + 1];
    int32_t tokens[TOKENS], targets[TOKENS];
    models_config(how->which, &config);
    const trainer_desc desc = {.config = &config,
                               .softmax = canto_strategy_find(how->softmax),
                               .linear = canto_transport_find(how->linear),
                               .layout = how->layout,
                               .dp = 1,
                               .sequences_n = SEQUENCES,
                               .sequence_length = LENGTH,
                               .documents_max = DOCUMENTS_MAX,
                               .gradients = true,
                               .optimizer = &optimizer};
    trainer_open(&t, world, &desc);
    const int64_t before = canto_test_allocations();
    for (int64_t step = 1; step <= STEPS; step++) {
        const canto_documents documents = draw_documents(step, starts);
        models_text(&config, TOKENS, documents.n, starts, tokens, targets);
        trainer_load(&t, &documents, tokens, targets);
        trainer_step(&t, step, TOKENS);
    }
    const int64_t calls = canto_test_allocations() - before;
    if (calls != 0)
        fail_msg("%s, %s, %s: %lld allocations", models_name(how->which), how->softmax, how->linear,
                 (long long)calls);
    trainer_close(&t);
}

static void test_training(void **state)
{
    (void)state;
    static const way ways[] = {{0, "ring", "lasp2", CANTO_LAYOUT_CONTIGUOUS},
                               {2, "gather", "lasp1", CANTO_LAYOUT_ZIGZAG},
                               {1, "ring", "lasp2", CANTO_LAYOUT_ZIGZAG}};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
        check_training(canto_test_world, &ways[i]);
    canto_comm *watched; // without headers, as the program has it unless it is told otherwise
    CANTO_TEST_OK(canto_comm_mpi_open(&watched));
    CANTO_TEST_OK(canto_comm_checked_open(watched, (canto_comm_checks){.timeout_s = 20}, &watched));
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) check_training(watched, &ways[i]);
    canto_comm_destroy(&watched);
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
    CANTO_TEST_OK(canto_arena_create(&arenas.tables, 1 << 20));
    for (int i = 0; i < 3; i++)
        CANTO_TEST_OK(canto_arena_create_on(each[i], canto_test_device, 1 << 20));
    CANTO_TEST_OK(
        canto_decoder_create(&arenas, &config, canto_test_device, TOKENS + 1, 64, &decoder));
    models_values(canto_decoder_params(decoder), canto_decoder_params(decoder)->values);
    const int64_t before = canto_test_allocations();
    CANTO_TEST_OK(canto_decoder_feed(decoder, TOKENS, tokens, logits));
    CANTO_TEST_OK(canto_decoder_feed(decoder, 1, tokens, logits));
    assert_int_equal(canto_test_allocations(), before);
    canto_decoder_destroy(&decoder);
    canto_arenas_destroy(&arenas);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_counting),
    cmocka_unit_test(test_training),
    cmocka_unit_test(test_decoding),
};

const canto_test_module test_allocations = {"allocations", tests, sizeof tests / sizeof *tests};
