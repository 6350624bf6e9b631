// Memory as planned, for a rank that does not run, is that of the rank that runs, piece by piece;
// a rank's share of the optimizer is 12 bytes for each of P/W parameters.
#include "launch/memory.h"
#include "tests/canto_test.h"
#include "tests/launch/trained.h"

#include <stdlib.h>

static const char *const hybrid[] = {"model.pattern=LSW",
                                     "model.layers=3",
                                     "model.d_model=48",
                                     "model.heads=2",
                                     "model.mixers=[{letter: W, kind: softmax, window: 9}]",
                                     "train.seq_len=100",
                                     "train.batch=12",
                                     "parallel.linear=lasp1",
                                     NULL};

static void check_same(const canto_memory *planned, const canto_memory *running)
{
    for (int k = 0; k < CANTO_MEMORY_KINDS; k++) {
        if (planned->kinds[k] != running->kinds[k])
            fail_msg("rank %d, %s: %lld bytes planned, %lld taken", running->rank,
                     canto_memory_name(k), (long long)planned->kinds[k],
                     (long long)running->kinds[k]);
    }
    assert_int_equal(planned->rank, running->rank);
    assert_int_equal(planned->arenas, running->arenas);
    assert_int_equal(planned->saving, running->saving);
    assert_int_equal(planned->owned, running->owned);
}

// What the arenas of the running process hold, by their own count.
static int64_t taken(const canto_trainer *trainer)
{
    const canto_arenas *arenas = &trainer->arenas;
    return (int64_t)(arenas->tables.capacity + arenas->params.capacity + arenas->step.capacity +
                     arenas->work.capacity + trainer->plan.tables.capacity);
}

static void check_share(const canto_trainer *trainer, const canto_memory *running)
{
    const canto_params *params = canto_model_params(trainer->model);
    const int64_t parameters = canto_params_count(params);
    const int64_t ranks = canto_test_world->size;
    double sum = (double)running->owned;
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 1, &sum));
    assert_true(sum == 12.0 * (double)parameters);
    // Each bucket's pieces differ by one parameter at most.
    assert_true(llabs(running->owned - 12 * parameters / ranks) <= 12 * params->buckets_n);
    // The moments themselves, two arrays each padded to 64 bytes.
    const int64_t moments = running->kinds[CANTO_MEMORY_OPTIMIZER];
    assert_true(moments >= running->owned / 12 * 8 && moments < running->owned / 12 * 8 + 128);
}

static void compare(int dp)
{
    static trained t;
    trained_create(canto_test_world, dp, hybrid, &t);
    canto_memory running, planned;
    CANTO_TEST_OK(canto_memory_of(&t.trainer, &running));
    assert_int_equal(running.arenas, taken(&t.trainer));
    check_share(&t.trainer, &running);
    canto_job job;
    canto_trainer measured;
    canto_config config = t.config;
    config.parallel.dp = dp;
    CANTO_TEST_OK(
        canto_job_open_planned(&config, canto_test_world->rank, canto_test_world->size, &job));
    CANTO_TEST_OK(canto_trainer_measure(&config, &job, true, &measured));
    CANTO_TEST_OK(canto_memory_of(&measured, &planned));
    check_same(&planned, &running);
    canto_trainer_destroy(&measured);
    canto_job_close(&job, CANTO_OK, 0);
    trained_destroy(&t);
}

static void memory_is_as_planned(void **state)
{
    (void)state;
    for (int dp = 1; dp <= canto_test_world->size; dp++) {
        if (canto_test_world->size % dp == 0) compare(dp);
    }
}

// The reduction of gradients and the gathering of parameters send what their price says.
static void a_step_sends_its_price(void **state)
{
    (void)state;
    static trained t;
    static const char *const tiny[] = {
        "model.pattern=L", "model.layers=1", "model.d_model=32",   "model.heads=2",
        "train.seq_len=8", "train.batch=1",  "train.accumulate=1", NULL};
    canto_step_result result;
    int64_t messages, bytes;
    trained_create(canto_test_world, 1, tiny, &t);
    const canto_comm *lane = t.job.mesh.gradients;
    CANTO_TEST_OK(canto_trainer_step(&t.trainer, 1, (canto_step_requests){0}, &result));
    double sent[2] = {(double)lane->counts.messages_sent, (double)lane->counts.bytes_sent};
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 2, sent));
    const canto_params *params = canto_model_params(t.trainer.model);
    canto_grad_price(-1, canto_test_world->size, params->buckets_n, params->bounds, &messages,
                     &bytes);
    assert_true(sent[0] == (double)messages && sent[1] == (double)bytes);
    trained_destroy(&t);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(memory_is_as_planned),
    cmocka_unit_test(a_step_sends_its_price),
};
const canto_test_module test_memory = {"memory", tests, sizeof tests / sizeof *tests};
