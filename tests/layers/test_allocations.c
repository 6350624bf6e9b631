// No allocation of ours in a training step or while decoding: malloc and its relatives are wrapped
// at link time and counted, libraries excepted.
#define _GNU_SOURCE
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/layers/trainer.h"

#include "parallel/strategy.h"
#include "runtime/rng.h"

#include <stdlib.h>
#include <sys/mman.h>

static int64_t calls;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void __real_free(void *old);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);

void *__wrap_malloc(size_t bytes)
{
    calls++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    calls++;
    return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    calls++;
    return __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    calls++;
    return __real_aligned_alloc(alignment, bytes);
}

void __wrap_free(void *old)
{
    calls++;
    __real_free(old);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    calls++;
    return __real_mmap(at, bytes, protection, flags, file, offset);
}

enum { TOKENS = 300, STEPS = 50, DOCUMENTS_MAX = 12 };

// The wrapping itself works: making a model is counted.
static void test_counting(void **state)
{
    (void)state;
    canto_model_config config;
    models_params params;
    calls = 0;
    models_config(0, &config);
    models_params_make(&config, &params);
    models_params_free(&params);
    assert_true(calls > 20);
}

static canto_documents draw_documents(int64_t step, int64_t *starts)
{
    int n = 0;
    for (int64_t at = 0; at < TOKENS && n < DOCUMENTS_MAX; n++) {
        starts[n] = at;
        at += 1 + canto_rng_below(4, CANTO_RNG_TEST, (uint64_t)(step * DOCUMENTS_MAX + n), 80);
    }
    starts[n] = TOKENS;
    return (canto_documents){n, starts};
}

static void check_training(int which)
{
    static const canto_optimizer_config optimizer = {
        .lr = 0.01, .horizon = STEPS, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};
    canto_model_config config;
    canto_comm *self;
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
    CANTO_TEST_OK(canto_comm_self_open(&self));
    trainer_open(&t, self, &desc);
    calls = 0;
    for (int64_t step = 1; step <= STEPS; step++) {
        const canto_documents documents = draw_documents(step, starts);
        models_text(&config, TOKENS, documents.n, starts, tokens, targets);
        trainer_load(&t, &documents, tokens, targets);
        trainer_step(&t, step, TOKENS);
    }
    if (calls != 0) fail_msg("%s: %lld allocations", models_name(which), (long long)calls);
    trainer_close(&t);
    canto_comm_destroy(&self);
}

static void test_training(void **state)
{
    (void)state;
    for (int which = 0; which < MODELS_N; which++) check_training(which);
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
    calls = 0;
    CANTO_TEST_OK(canto_decoder_feed(decoder, TOKENS, tokens, logits));
    CANTO_TEST_OK(canto_decoder_feed(decoder, 1, tokens, logits));
    assert_int_equal(calls, 0);
    canto_decoder_destroy(&decoder);
    for (int i = 0; i < 3; i++) canto_arena_destroy(each[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_counting),
                                       cmocka_unit_test(test_training),
                                       cmocka_unit_test(test_decoding)};
    return cmocka_run_group_tests_name("layers.allocations", tests, NULL, NULL);
}
