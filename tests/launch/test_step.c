// A training step on several ranks: it is the step of one rank, however the ranks divide it; they
// compare their plans in every step, and making a plan is a small part of it.
#include "tests/canto_test.h"
#include "tests/launch/corpora.h"
#include "tests/launch/trained.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const tiny[] = {
    "model.pattern=LS", "model.layers=2", "model.d_model=32",   "model.heads=2",
    "train.seq_len=64", "train.batch=1",  "train.accumulate=2", NULL};

// --- the same step on any mesh ---

enum { COMPARED = 3, BATCH = 12 };

static void take_steps(canto_comm *world, int dp, const char *layout,
                       canto_step_result results[COMPARED])
{
    static trained t;
    char layout_key[64], batch_key[64];
    snprintf(batch_key, sizeof batch_key, "train.batch=%d", BATCH);
    snprintf(layout_key, sizeof layout_key, "parallel.layout=%s", layout);
    const char *const overrides[] = {"model.pattern=LS",   "model.layers=2",   "model.d_model=32",
                                     "model.heads=2",      "train.seq_len=50", batch_key,
                                     "train.accumulate=2", layout_key,         NULL};
    trained_create(world, dp, overrides, &t);
    for (int64_t step = 1; step <= COMPARED; step++)
        CANTO_TEST_OK(
            canto_trainer_step(&t.trainer, step, (canto_step_requests){0}, &results[step - 1]));
    trained_destroy(&t);
}

static void compare(const char *what, double x, double expected, double tolerance)
{
    if (!(fabs(x - expected) <= tolerance * fabs(expected)))
        fail_msg("%s: %.9g, on one rank %.9g", what, x, expected);
}

// Loss and gradient are divided by the targets of all ranks and streams; AdamW would hide another
// divisor in the losses, the norm does not.
static void a_step_is_that_of_one_rank_on_any_mesh(void **state)
{
    (void)state;
    static const char *const layouts[] = {"contiguous", "zigzag"};
    canto_step_result alone[COMPARED], together[COMPARED];
    canto_comm *self;
    CANTO_TEST_OK(canto_comm_self_open(&self));
    take_steps(self, 1, layouts[0], alone);
    canto_comm_destroy(&self);
    for (int dp = 1; dp <= canto_test_world->size; dp++) {
        if (canto_test_world->size % dp != 0) continue;
        take_steps(canto_test_world, dp, layouts[dp % 2], together);
        for (int i = 0; i < COMPARED; i++) {
            compare("loss", together[i].loss, alone[i].loss, 1e-5);
            compare("gradient norm", together[i].grad_norm, alone[i].grad_norm, 1e-4);
            assert_true(together[i].lr == alone[i].lr);
        }
    }
}

// --- replicas that read unevenly ---

enum { LOSSES = 20 };

// *uneven: whether in some step two replicas read different numbers of documents, and in all steps
// of sequences.
typedef struct {
    double losses[LOSSES];
    bool uneven_documents, uneven_sequences;
} twenty_steps;

static void note_unevenness(const trained *t, twenty_steps *out)
{
    int64_t mine[] = {t->trainer.plan.documents.n, t->trainer.data.sequences}, all[8][2];
    CANTO_TEST_OK(canto_comm_gather_small(t->job.world, sizeof mine, mine, all));
    for (int r = 1; r < t->job.world->size; r++) {
        out->uneven_documents = out->uneven_documents || all[r][0] != all[0][0];
        out->uneven_sequences = out->uneven_sequences || all[r][1] != all[0][1];
    }
}

static void take_20_steps(canto_comm *world, int dp, const char *order, twenty_steps *out)
{
    static trained t;
    char key[64];
    snprintf(key, sizeof key, "data.order=%s", order);
    const char *const overrides[] = {"model.pattern=LS",
                                     "model.layers=2",
                                     "model.d_model=32",
                                     "model.heads=2",
                                     "train.seq_len=50",
                                     "train.batch=4",
                                     "train.warmup=5",
                                     "data.max_documents=0",
                                     key,
                                     NULL};
    *out = (twenty_steps){0};
    trained_create(world, dp, overrides, &t);
    for (int64_t step = 1; step <= LOSSES; step++) {
        canto_step_result result;
        CANTO_TEST_OK(canto_trainer_step(&t.trainer, step, (canto_step_requests){0}, &result));
        out->losses[step - 1] = result.loss;
        note_unevenness(&t, out);
    }
    trained_destroy(&t);
}

// Lines of 1 to 300 bytes are documents. Four sequences are no multiple of three replicas.
static void twenty_losses_are_those_of_one_rank(void **state)
{
    (void)state;
    static twenty_steps alone, together;
    const int size = canto_test_world->size;
    canto_comm *self;
    CANTO_TEST_OK(canto_comm_self_open(&self));
    take_20_steps(self, 1, "packed", &alone);
    canto_comm_destroy(&self);
    for (int dp = 1; dp <= size; dp++) {
        if (size % dp != 0) continue;
        take_20_steps(canto_test_world, dp, "packed", &together);
        for (int i = 0; i < LOSSES; i++) compare("loss", together.losses[i], alone.losses[i], 1e-5);
        assert_int_equal(together.uneven_documents, dp > 1);
        assert_int_equal(together.uneven_sequences, dp == 3);
    }
}

// --- what a step costs ---

// Documents change from step to step, and with them what is sent; nobody's counters are read to
// make the price.
static void lanes_send_what_the_plan_says(const char *layout, const char *softmax,
                                          const char *linear, int dp)
{
    static trained t;
    char keys[3][64];
    snprintf(keys[0], sizeof keys[0], "parallel.layout=%s", layout);
    snprintf(keys[1], sizeof keys[1], "parallel.softmax=%s", softmax);
    snprintf(keys[2], sizeof keys[2], "parallel.linear=%s", linear);
    const char *const overrides[] = {"model.pattern=LSGWR",
                                     "model.layers=5",
                                     "model.d_model=32",
                                     "model.heads=2",
                                     "model.mixers=[{letter: W, kind: softmax, window: 9}]",
                                     "train.seq_len=150",
                                     "train.batch=4",
                                     "train.accumulate=2",
                                     keys[0],
                                     keys[1],
                                     keys[2],
                                     NULL};
    trained_create(canto_test_world, dp, overrides, &t);
    const canto_tally *tally = &t.trainer.tally;
    for (int64_t step = 1; step <= COMPARED; step++) {
        canto_step_result result;
        CANTO_TEST_OK(canto_trainer_step(&t.trainer, step, (canto_step_requests){0}, &result));
        for (int i = 0; i < CANTO_LANES; i++) {
            const canto_lane_tally *lane = &tally->lanes[i];
            if (lane->sent.bytes != lane->priced.bytes ||
                lane->sent.messages != lane->priced.messages)
                fail_msg("%s, %s, %s, lane %s: %lld bytes in %lld messages, priced %lld in %lld",
                         layout, softmax, linear, canto_lane_name((canto_lane)i),
                         (long long)lane->sent.bytes, (long long)lane->sent.messages,
                         (long long)lane->priced.bytes, (long long)lane->priced.messages);
        }
    }
    assert_int_equal(tally->steps, COMPARED);
    assert_int_equal(tally->tokens, COMPARED * 2 * 4 * 150);
    // Loss, norm, figures.
    assert_int_equal(tally->lanes[CANTO_LANE_CONTROL].collectives, 3 * COMPARED);
    const int size = canto_test_world->size;
    assert_true((tally->lanes[CANTO_LANE_GRADIENTS].sent.bytes > 0) == (size > 1));
    double sent = (double)tally->lanes[CANTO_LANE_SCHEDULE].sent.bytes;
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 1, &sent));
    assert_true((sent > 0) == (size > dp));
    trained_destroy(&t);
}

static void every_lane_sends_its_price(void **state)
{
    (void)state;
    lanes_send_what_the_plan_says("contiguous", "ring", "lasp1", 1);
    lanes_send_what_the_plan_says("zigzag", "gather", "lasp2", 1);
    if (canto_test_world->size % 2 == 0)
        lanes_send_what_the_plan_says("zigzag", "ring", "lasp1", 2);
}

static void phases_add_up_to_the_steps(void **state)
{
    (void)state;
    static trained t;
    trained_create(canto_test_world, 1, tiny, &t);
    canto_phases *phases = &t.trainer.phases;
    canto_phases_enter(phases, CANTO_PHASE_OTHER);
    const double start_s = phases->since_s;
    canto_step_result result;
    for (int64_t step = 1; step <= COMPARED; step++)
        CANTO_TEST_OK(canto_trainer_step(&t.trainer, step, (canto_step_requests){0}, &result));
    double sum_s = 0;
    for (int i = 0; i < CANTO_PHASES; i++) {
        const bool in_step = i > CANTO_PHASE_OTHER && i < CANTO_PHASE_CHECKPOINT;
        if (in_step && !(phases->seconds[i] > 0)) fail_msg("no %s", canto_phase_name(i));
        sum_s += phases->seconds[i];
    }
    assert_true(fabs(sum_s - (phases->since_s - start_s)) < 1e-6);
    assert_true(sum_s >= t.trainer.tally.step_s - 1e-6);
    // The figures of all ranks are the step's.
    double wait_s = 0;
    for (int r = 0; r < canto_test_world->size; r++) {
        const canto_step_figures *rank = &result.ranks[r];
        assert_true(rank->compute_s > 0 && rank->wait_s >= 0);
        assert_true(rank->compute_s + rank->wait_s < 10 * result.step_s + 1);
        wait_s += rank->wait_s / canto_test_world->size;
    }
    assert_true(fabs(wait_s - result.comm_wait_s) < 1e-9);
    trained_destroy(&t);
}

static void an_evaluation_is_one_phase(void **state)
{
    (void)state;
    static trained t;
    trained_create(canto_test_world, 1, tiny, &t);
    canto_phases *phases = &t.trainer.phases;
    double loss;
    int64_t counted;
    canto_phases_enter(phases, CANTO_PHASE_OTHER);
    canto_phases_hold(phases, CANTO_PHASE_EVALUATION);
    CANTO_TEST_OK(canto_trainer_evaluate(&t.trainer, 500, &loss, &counted));
    canto_phases_release(phases);
    assert_int_equal(phases->now, CANTO_PHASE_OTHER);
    for (int i = CANTO_PHASE_CLEAR; i < CANTO_PHASES; i++)
        assert_true((phases->seconds[i] > 0) == (i == CANTO_PHASE_EVALUATION));
    trained_destroy(&t);
}

// --- plans ---

static canto_status take_step(trained *t, int64_t step)
{
    canto_step_result result;
    return canto_trainer_step(&t->trainer, step, (canto_step_requests){0}, &result);
}

// Every rank reads one document a window, so that the plan stays as it was, and with it a digest
// changed by hand on the last rank.
static void another_plan_on_one_rank_is_told_on_all(void **state)
{
    (void)state;
    static trained t;
    int size = canto_test_world->size;
    trained_create(canto_test_world, 1, tiny, &t);
    t.trainer.data.corpus.desc.separator = "";
    CANTO_TEST_OK(take_step(&t, 1));
    CANTO_TEST_OK(take_step(&t, 2));
    if (canto_test_world->rank == size - 1) t.trainer.plan.digest ^= 1;
    if (size == 1) {
        CANTO_TEST_OK(take_step(&t, 3));
    } else {
        char words[96];
        snprintf(words, sizeof words, "rank %d made another plan than rank 0", size - 1);
        CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, words, take_step(&t, 3));
        // The step ended between the start of the gradients' reduction and its end.
        CANTO_TEST_OK(canto_grad_finish(&t.trainer.grad));
    }
    trained_destroy(&t);
}

static void another_text_on_one_rank_is_told_on_all(void **state)
{
    (void)state;
    static trained t;
    int size = canto_test_world->size;
    trained_create(canto_test_world, 1, tiny, &t);
    canto_trainer_destroy(&t.trainer);
    if (size > 1 && canto_test_world->rank == size - 1) {
        FILE *text = fopen(t.text, "a");
        assert_non_null(text);
        assert_int_equal(fputs("x", text) >= 0 && fclose(text) == 0, 1);
    }
    canto_status status = canto_trainer_create(&t.config, &t.job, true, &t.trainer);
    if (size == 1)
        CANTO_TEST_OK(status);
    else
        CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "the text is another one than on rank 0", status);
    trained_destroy(&t);
}

// --- data that turn out wrong in a step ---

static void make_shard(const char *root, int32_t token_700)
{
    enum { N = 2000 };
    int32_t tokens[N];
    for (int i = 0; i < N; i++) tokens[i] = i == 700 ? token_700 : i % 256;
    corpora_shard(root, "x.bin", 2, N, tokens);
}

// Token 700 is in the last sequence of step 3, and goes bad after the start.
static void a_bad_token_on_one_rank_is_told_on_all(void **state)
{
    (void)state;
    static trained t;
    char root[64], key[96];
    corpora_make(root);
    make_shard(root, 0);
    snprintf(key, sizeof key, "data.path=%s/x.bin", root);
    const char *const overrides[] = {"model.pattern=LS",
                                     "model.layers=2",
                                     "model.d_model=32",
                                     "model.heads=2",
                                     "train.seq_len=60",
                                     "train.batch=4",
                                     "data.separator=",
                                     "data.order=packed",
                                     key,
                                     NULL};
    trained_create(canto_test_world, canto_test_world->size == 4 ? 2 : 1, overrides, &t);
    make_shard(root, 256);
    CANTO_TEST_OK(take_step(&t, 1));
    CANTO_TEST_OK(take_step(&t, 2));
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "x.bin is 256, outside of model.vocab 256",
                     take_step(&t, 3));
    CANTO_TEST_OK(canto_grad_finish(&t.trainer.grad));
    trained_destroy(&t);
    corpora_remove(root);
}

// Every document is its own end.
static void nothing_to_predict_is_told(void **state)
{
    (void)state;
    static trained t;
    char root[64], key[96], newlines[2001];
    memset(newlines, '\n', sizeof newlines);
    newlines[2000] = '\0';
    corpora_make(root);
    corpora_text(root, "x", newlines);
    snprintf(key, sizeof key, "data.path=%s", root);
    const char *const overrides[] = {"model.pattern=LS",
                                     "model.layers=2",
                                     "model.d_model=32",
                                     "model.heads=2",
                                     "train.seq_len=60",
                                     "train.batch=2",
                                     key,
                                     "data.order=packed",
                                     NULL};
    trained_create(canto_test_world, 1, overrides, &t);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "nothing to predict", take_step(&t, 1));
    trained_destroy(&t);
    corpora_remove(root);
}

static void too_many_documents_in_one_replica_are_told_on_all(void **state)
{
    (void)state;
    static trained t;
    const int size = canto_test_world->size, dp = size == 4 ? 2 : size;
    const char *const overrides[] = {"model.pattern=LS",
                                     "model.layers=2",
                                     "model.d_model=32",
                                     "model.heads=2",
                                     "train.seq_len=500",
                                     "train.batch=4",
                                     NULL};
    trained_create(canto_test_world, dp, overrides, &t);
    canto_data *data = &t.trainer.data;
    CANTO_TEST_OK(take_step(&t, 1));
    if (t.job.mesh.dp_rank == dp - 1) data->max_documents = data->sequences;
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "data.max_documents: the sequences of one step",
                     take_step(&t, 2));
    CANTO_TEST_OK(canto_grad_finish(&t.trainer.grad));
    trained_destroy(&t);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The median, because a rank may be put aside by the system while it makes a plan.
static void plans_take_2_percent_of_a_step_at_most(void **state)
{
    (void)state;
    enum { STEPS = 9 };
    static const char *const small[] = {"model.pattern=LS",
                                        "model.layers=2",
                                        "model.d_model=64",
                                        "model.heads=2",
                                        "train.seq_len=512",
                                        "train.batch=1",
                                        NULL};
    static trained t;
    double share[STEPS];
    trained_create(canto_test_world, 1, small, &t);
    for (int64_t step = 1; step <= STEPS; step++) {
        canto_step_result result;
        CANTO_TEST_OK(canto_trainer_step(&t.trainer, step, (canto_step_requests){0}, &result));
        share[step - 1] = t.trainer.plan.make_s / result.step_s;
    }
    qsort(share, STEPS, sizeof *share, by_value);
    if (!(share[0] > 0 && share[STEPS / 2] <= 0.02))
        fail_msg("a plan takes %.4f of a step", share[STEPS / 2]);
    trained_destroy(&t);
}

// parallel.cp is open, so the configuration alone cannot tell.
static void shares_fit_the_number_of_ranks(void **state)
{
    (void)state;
    char *const overrides[] = {"parallel.layout=uneven", "parallel.weights=[1, 2, 3, 4, 5]"};
    canto_config config;
    canto_job job = {.world = canto_test_world, .device = canto_test_device};
    canto_trainer trainer;
    CANTO_TEST_OK(canto_config_read(NULL, 2, overrides, &config, NULL));
    CANTO_TEST_OK(canto_mesh_create(canto_test_world, canto_test_device, 1, 0, &job.mesh));
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "parallel.weights has 5 shares",
                     canto_trainer_create(&config, &job, true, &trainer));
    canto_trainer_destroy(&trainer);
    canto_mesh_destroy(&job.mesh);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_step_is_that_of_one_rank_on_any_mesh),
    cmocka_unit_test(twenty_losses_are_those_of_one_rank),
    cmocka_unit_test(every_lane_sends_its_price),
    cmocka_unit_test(phases_add_up_to_the_steps),
    cmocka_unit_test(an_evaluation_is_one_phase),
    cmocka_unit_test(another_plan_on_one_rank_is_told_on_all),
    cmocka_unit_test(another_text_on_one_rank_is_told_on_all),
    cmocka_unit_test(a_bad_token_on_one_rank_is_told_on_all),
    cmocka_unit_test(nothing_to_predict_is_told),
    cmocka_unit_test(too_many_documents_in_one_replica_are_told_on_all),
    cmocka_unit_test(plans_take_2_percent_of_a_step_at_most),
    cmocka_unit_test(shares_fit_the_number_of_ranks),
};
const canto_test_module test_step = {"step", tests, sizeof tests / sizeof *tests};
