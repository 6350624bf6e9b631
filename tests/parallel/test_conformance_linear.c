// Distributed linear attention against the double reference over the whole sequence: every
// transport x mixer (gates included) x documents x layout x heads x length, forward and backward,
// every token; and the error does not grow with the number of ranks.
#include "tests/canto_test.h"

#include "parallel/recur.h"
#include "tests/parallel/world.h"
#include "tests/ref/linear.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 4, KEY_DIM = 6, VALUE_DIM = 5, TOKENS_MAX = 1000 };
enum { RANKS_MAX = 16, RUNS_MAX = 12 };
enum { Q_WIDTH = HEADS * KEY_DIM, KV_WIDTH_MAX = HEADS * (KEY_DIM + VALUE_DIM) };
enum { Y_WIDTH_MAX = HEADS * (VALUE_DIM + 1), O_WIDTH = HEADS * VALUE_DIM };
// Large, because with eps = 0 a document of one token has o = v, and its dq is nothing but
// rounding.
static const double EPS = 0.5;

typedef enum mixer_kind {
    MIXER_NORMALISED,
    MIXER_PLAIN,
    MIXER_DECAY,
    MIXER_GATED,     // gates as a layer has them
    MIXER_FORGETTING // gates from 0 to -1e4, with a normaliser column
} mixer_kind;
typedef enum documents_kind {
    DOCUMENTS_NONE,
    DOCUMENTS_RANDOM,
    DOCUMENTS_SINGLE,
    DOCUMENTS_N
} documents_kind;

// One whole sequence (or several), its inputs, and what the reference makes of it.
typedef struct problem {
    mixer_kind mixer;
    canto_linear_shape shape; // log_decay: of the host
    int sequences_n;
    int64_t tokens, kv_width, gate_width, y_width;
    canto_documents documents;
    int64_t starts[TOKENS_MAX + 1];
    float q[TOKENS_MAX * Q_WIDTH], kv[TOKENS_MAX * KV_WIDTH_MAX], dout[TOKENS_MAX * O_WIDTH];
    float gates[TOKENS_MAX * Q_WIDTH]; // [tokens, gate_width]
    double o_ref[TOKENS_MAX * O_WIDTH], dq_ref[TOKENS_MAX * Q_WIDTH];
    double dkv_ref[TOKENS_MAX * KV_WIDTH_MAX], dgates_ref[TOKENS_MAX * Q_WIDTH];
} problem;

typedef struct errors {
    double o, dq, dkv, dgates;
} errors;

static problem *task;             // owned by the module
static canto_arena arena, memory; // of the host, of the device
static canto_comm *lane, *alone;  // of the device

static const float decays[HEADS] = {-0.3f, -50, -1e-4f, 0};

// --- making problems ---

static void fill_documents(documents_kind kind, int64_t sequence_length)
{
    dice d = {.seed = (uint64_t)task->tokens};
    task->documents = (canto_documents){0, task->starts};
    for (int s = 0; s < task->sequences_n; s++) {
        int64_t begin = s * sequence_length, *starts = task->starts + task->documents.n;
        int n = kind == DOCUMENTS_NONE ? 1 : (int)sequence_length;
        if (kind == DOCUMENTS_RANDOM) n = roll_documents(&d, sequence_length, 1 + n / 9, starts);
        if (kind != DOCUMENTS_RANDOM)
            for (int i = 0; i < n; i++) starts[i] = i;
        for (int i = 0; i < n; i++) starts[i] += begin;
        task->documents.n += n;
    }
    task->starts[task->documents.n] = task->tokens;
}

static void fill_gates(void)
{
    static const float values[] = {0, -0.03f, -2, -50};
    canto_test_fill("gates", task->tokens * task->gate_width, task->gates);
    for (int64_t i = 0; i < task->tokens * task->gate_width; i++) {
        const int64_t t = i / task->gate_width;
        task->gates[i] = -0.1f * fabsf(task->gates[i]);
        if (task->mixer == MIXER_FORGETTING) task->gates[i] = values[(t / 5 + i % 3) % 4];
        if (task->mixer == MIXER_FORGETTING && t % 50 == 17) task->gates[i] = -1e4f;
    }
}

// Features of the basic kind are positive.
static void fill_inputs(void)
{
    if (task->shape.gate) fill_gates();
    canto_test_fill("q", task->tokens * Q_WIDTH, task->q);
    canto_test_fill("kv", task->tokens * task->kv_width, task->kv);
    canto_test_fill("dout", task->tokens * O_WIDTH, task->dout);
    if (task->mixer == MIXER_DECAY || task->mixer == MIXER_GATED) return;
    int64_t k_width = (int64_t)task->shape.kv_heads * KEY_DIM;
    canto_device_cpu()->kernels->feature_forward(canto_device_cpu(), CANTO_FEATURE_ELU1,
                                                 task->tokens, Q_WIDTH, Q_WIDTH, task->q, task->q);
    canto_device_cpu()->kernels->feature_forward(canto_device_cpu(), CANTO_FEATURE_ELU1,
                                                 task->tokens, k_width, task->kv_width, task->kv,
                                                 task->kv);
}

static double *widen(int64_t n, const float *x)
{
    double *wide = malloc(sizeof *wide * (size_t)n);
    assert_non_null(wide);
    for (int64_t i = 0; i < n; i++) wide[i] = x[i];
    return wide;
}

static void fill_reference(void)
{
    int64_t n = task->tokens, entries = n * HEADS;
    canto_ref_documents documents = {task->documents.n, task->starts};
    double *q = widen(n * Q_WIDTH, task->q), *kv = widen(n * task->kv_width, task->kv);
    double *dout = widen(n * O_WIDTH, task->dout), *gates = widen(n * Q_WIDTH, task->gates);
    double *y = malloc(sizeof *y * (size_t)(2 * n * Y_WIDTH_MAX)), *dy = y + n * Y_WIDTH_MAX;
    assert_non_null(y);
    const canto_ref_run run = {n, documents, q, kv, NULL, gates};
    const canto_ref_gradients gradients = {task->dq_ref, task->dkv_ref, NULL, task->dgates_ref};
    canto_ref_linear_forward(&task->shape, &run, NULL, y, NULL);
    if (task->shape.ones) {
        canto_ref_normalise(entries, VALUE_DIM, EPS, y, task->o_ref);
        canto_ref_normalise_backward(entries, VALUE_DIM, EPS, y, dout, dy);
    } else {
        memcpy(task->o_ref, y, sizeof *y * (size_t)(n * O_WIDTH));
        memcpy(dy, dout, sizeof *y * (size_t)(n * O_WIDTH));
    }
    canto_ref_linear_backward(&task->shape, &run, NULL, dy, NULL, &gradients, NULL);
    free(q), free(kv), free(gates), free(dout), free(y);
}

static void make_problem(mixer_kind mixer, documents_kind kind, int kv_heads, int sequences_n,
                         int64_t sequence_length)
{
    task->mixer = mixer;
    task->shape =
        (canto_linear_shape){.heads = HEADS,
                             .kv_heads = kv_heads,
                             .key_dim = KEY_DIM,
                             .value_dim = VALUE_DIM,
                             .ones = mixer == MIXER_NORMALISED || mixer == MIXER_FORGETTING,
                             .log_decay = mixer == MIXER_DECAY ? decays : NULL,
                             .gate = mixer >= MIXER_GATED ? CANTO_GATE_KEY : CANTO_GATE_NONE};
    task->sequences_n = sequences_n;
    task->tokens = sequences_n * sequence_length;
    task->kv_width = canto_linear_kv_width(&task->shape);
    task->gate_width = canto_linear_transition_count(&task->shape);
    task->y_width = (int64_t)HEADS * canto_linear_columns(&task->shape);
    fill_documents(kind, sequence_length);
    fill_inputs();
    fill_reference();
}

// --- running them ---

// One rank's part, on the device: inputs, then results.
typedef struct part {
    float *q, *kv, *gates, *dout, *y, *o, *dy, *dq, *dkv, *dgates, *states;
    void *work;
} part;

static float *take(int64_t count)
{
    float *out;
    CANTO_TEST_OK(canto_arena_array(&memory, "part", count, sizeof *out, (void **)&out));
    return out;
}

static float *take_rows(const canto_plan *plan, int64_t width, const float *whole)
{
    static float rows[TOKENS_MAX * KV_WIDTH_MAX];
    float *at = take(plan->tokens * width);
    for (int64_t t = 0; t < plan->tokens; t++)
        memcpy(rows + t * width, whole + canto_plan_position(plan, t) * width,
               sizeof *rows * (size_t)width);
    canto_test_upload(at, rows, sizeof *rows * (size_t)(plan->tokens * width));
    return at;
}

// The shape for the device.
static canto_linear_shape device_shape(void)
{
    canto_linear_shape shape = task->shape;
    if (!shape.log_decay) return shape;
    float *at = take(shape.kv_heads);
    canto_test_upload(at, task->shape.log_decay, sizeof *at * (size_t)shape.kv_heads);
    shape.log_decay = at;
    return shape;
}

static part take_part(const canto_plan *plan)
{
    part mine = {.q = take_rows(plan, Q_WIDTH, task->q),
                 .kv = take_rows(plan, task->kv_width, task->kv),
                 .gates = NULL,
                 .dout = take_rows(plan, O_WIDTH, task->dout),
                 .y = take(plan->tokens * Y_WIDTH_MAX),
                 .o = take(plan->tokens * O_WIDTH),
                 .dy = take(plan->tokens * Y_WIDTH_MAX),
                 .dq = take(plan->tokens * Q_WIDTH),
                 .dkv = take(plan->tokens * task->kv_width),
                 .states = take(canto_recur_states_count(plan, &task->shape))};
    if (task->shape.gate) {
        mine.gates = take_rows(plan, task->gate_width, task->gates);
        mine.dgates = take(plan->tokens * task->gate_width);
    }
    CANTO_TEST_OK(
        canto_arena_take(&memory, "work", canto_recur_work_bytes(plan, &task->shape), &mine.work));
    return mine;
}

// As a layer does it.
static void run_part(canto_plan *plan, part *mine)
{
    const canto_device *device = plan->desc.device;
    const canto_linear_shape shape = device_shape();
    int64_t entries = plan->tokens * HEADS;
    CANTO_TEST_OK(canto_recur_forward(plan, &shape, mine->q, mine->kv, mine->gates, mine->y,
                                      mine->states, mine->work));
    if (task->shape.ones) {
        device->kernels->linear_normalise(device, entries, VALUE_DIM, (float)EPS, mine->y, mine->o);
        device->kernels->linear_normalise_backward(device, entries, VALUE_DIM, (float)EPS, mine->y,
                                                   mine->dout, mine->dy);
    } else {
        mine->o = mine->y;
        mine->dy = mine->dout;
    }
    CANTO_TEST_OK(canto_recur_backward(plan, &shape, mine->q, mine->kv, mine->gates, mine->states,
                                       mine->dy, mine->dq, mine->dkv, mine->dgates, mine->work));
}

// Largest error of my rows, divided by the largest number of the whole tensor.
static double error_of(const canto_plan *plan, int64_t width, const float *at, const double *whole)
{
    static float rows[TOKENS_MAX * KV_WIDTH_MAX];
    double largest = 0, error = 0;
    canto_test_download(rows, at, sizeof *rows * (size_t)(plan->tokens * width));
    for (int64_t i = 0; i < task->tokens * width; i++) largest = fmax(largest, fabs(whole[i]));
    for (int64_t t = 0; t < plan->tokens; t++) {
        for (int64_t c = 0; c < width; c++) {
            double x = rows[t * width + c];
            if (!isfinite(x)) return INFINITY;
            error = fmax(error, fabs(x - whole[canto_plan_position(plan, t) * width + c]));
        }
    }
    return largest > 0 ? error / largest : error;
}

static errors run(canto_comm *comm, canto_layout layout, const canto_transport *transport)
{
    static const int weights[RANKS_MAX] = {2, 0, 1, 3, 1};
    canto_mesh mesh = {.dp = 1, .cp = comm->size, .cp_rank = comm->rank, .schedule = comm};
    canto_plan_desc desc = {.mesh = &mesh,
                            .device = canto_test_device,
                            .layout = layout,
                            .weights = layout == CANTO_LAYOUT_UNEVEN ? weights : NULL,
                            .softmax = &canto_strategy_ring,
                            .linear = transport,
                            .sequences_n = task->sequences_n,
                            .sequence_length = task->tokens / task->sequences_n,
                            .documents_max = task->documents.n,
                            .state_count_max = canto_linear_summary_count(&task->shape)};
    canto_arena_release(&arena, 0);
    canto_arena_release(&memory, 0);
    canto_plan plan;
    CANTO_TEST_OK(canto_plan_create(&arena, &memory, &desc, &plan));
    CANTO_TEST_OK(canto_plan_update(&plan, &task->documents));
    part mine = take_part(&plan);
    run_part(&plan, &mine);
    errors found = {error_of(&plan, O_WIDTH, mine.o, task->o_ref),
                    error_of(&plan, Q_WIDTH, mine.dq, task->dq_ref),
                    error_of(&plan, task->kv_width, mine.dkv, task->dkv_ref),
                    error_of(&plan, task->gate_width, mine.dgates, task->dgates_ref)};
    canto_plan_destroy(&plan);
    return found;
}

static void keep_worst(errors *worst, const errors *found)
{
    worst->o = fmax(worst->o, found->o);
    worst->dq = fmax(worst->dq, found->dq);
    worst->dkv = fmax(worst->dkv, found->dkv);
    worst->dgates = fmax(worst->dgates, found->dgates);
}

// Largest error of any rank, for each run; all ranks get the same numbers, so all agree on failure.
static void worst_of_ranks(errors found[RUNS_MAX])
{
    static errors all[RANKS_MAX][RUNS_MAX];
    CANTO_TEST_OK(canto_comm_gather_small(canto_test_world, sizeof all[0], found, all));
    for (int r = 0; r < canto_test_world->size; r++) {
        for (int i = 0; i < RUNS_MAX; i++) keep_worst(&found[i], &all[r][i]);
    }
}

static void expect(const char *what, const char *name, double error, double tolerance)
{
    if (error <= tolerance) return;
    fail_msg(
        "%s: %s: error %.3g on %d ranks, tolerance %.3g; %d x %lld tokens, %d documents, mixer "
        "%d, %d key/value heads",
        name, what, error, canto_test_world->size, tolerance, task->sequences_n,
        (long long)(task->tokens / task->sequences_n), task->documents.n, task->mixer,
        task->shape.kv_heads);
}

// The worst errors of all problems of a mixer: on one rank, and of each run on all ranks.
typedef struct record {
    errors one, runs[RUNS_MAX];
} record;

static void check_problem(record *worst)
{
    errors one = run(alone, CANTO_LAYOUT_CONTIGUOUS, &canto_transport_lasp1);
    keep_worst(&worst->one, &one);
    errors found[RUNS_MAX] = {{0}};
    int runs = 0;
    for (int t = 0; canto_transports[t]; t++) {
        for (canto_layout layout = 0; layout <= CANTO_LAYOUT_UNEVEN; layout++) {
            assert_true(runs < RUNS_MAX);
            found[runs++] = run(lane, layout, canto_transports[t]);
        }
    }
    worst_of_ranks(found);
    for (int i = 0; i < runs; i++) {
        const char *name = canto_transports[i / (CANTO_LAYOUT_UNEVEN + 1)]->name;
        expect("o", name, found[i].o, canto_test_forward_tolerance(task->tokens));
        expect("dq", name, found[i].dq, CANTO_TEST_GRADIENT);
        expect("dkv", name, found[i].dkv, CANTO_TEST_GRADIENT);
        expect("dgates", name, found[i].dgates, CANTO_TEST_GATE_GRADIENT);
        keep_worst(&worst->runs[i], &found[i]);
    }
}

static void expect_flat(const char *what, double error, double one)
{
    if (error <= 1.25 * one + 1e-7) return;
    fail_msg("%s: the error grows from %.3g on one rank to %.3g on %d", what, one, error,
             canto_test_world->size);
}

// --- the module ---

static int open_module(void **state)
{
    (void)state;
    task = malloc(sizeof *task);
    assert_non_null(task);
    CANTO_TEST_OK(canto_arena_create(&arena, (size_t)256 << 20));
    CANTO_TEST_OK(canto_arena_create_on(&memory, canto_test_device, (size_t)256 << 20));
    CANTO_TEST_OK(canto_comm_self_open(&alone));
    CANTO_TEST_OK(canto_device_lane(canto_test_device, alone, &alone));
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "schedule", 0, &lane));
    CANTO_TEST_OK(canto_device_lane(canto_test_device, lane, &lane));
    return 0;
}

static int close_module(void **state)
{
    (void)state;
    canto_comm_destroy(&lane);
    canto_comm_destroy(&alone);
    canto_arena_destroy(&memory);
    canto_arena_destroy(&arena);
    free(task);
    return 0;
}

static void check_mixer(mixer_kind mixer)
{
    static const int64_t lengths[] = {1, 7, 64, 129, 1000};
    record worst = {.one = {0}};
    for (int i = 0; i < 5; i++) {
        for (documents_kind kind = 0; kind < DOCUMENTS_N; kind++) {
            for (int kv_heads = HEADS; kv_heads > 1; kv_heads /= 2) {
                make_problem(mixer, kind, kv_heads, 1, lengths[i]);
                check_problem(&worst);
            }
        }
    }
    make_problem(mixer, DOCUMENTS_RANDOM, HEADS / 2, 3, 41);
    check_problem(&worst);
    for (int i = 0; i < RUNS_MAX; i++) {
        expect_flat("o", worst.runs[i].o, worst.one.o);
        expect_flat("dq", worst.runs[i].dq, worst.one.dq);
        expect_flat("dkv", worst.runs[i].dkv, worst.one.dkv);
        expect_flat("dgates", worst.runs[i].dgates, worst.one.dgates);
    }
}

static void test_normalised(void **state)
{
    (void)state;
    check_mixer(MIXER_NORMALISED);
}

static void test_plain(void **state)
{
    (void)state;
    check_mixer(MIXER_PLAIN);
}

static void test_decay(void **state)
{
    (void)state;
    check_mixer(MIXER_DECAY);
}

static void test_gated(void **state)
{
    (void)state;
    check_mixer(MIXER_GATED);
}

static void test_forgetting(void **state)
{
    (void)state;
    check_mixer(MIXER_FORGETTING);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_normalised, open_module, close_module),
    cmocka_unit_test_setup_teardown(test_plain, open_module, close_module),
    cmocka_unit_test_setup_teardown(test_decay, open_module, close_module),
    cmocka_unit_test_setup_teardown(test_gated, open_module, close_module),
    cmocka_unit_test_setup_teardown(test_forgetting, open_module, close_module),
};

const canto_test_module test_conformance_linear = {"conformance_linear", tests,
                                                   sizeof tests / sizeof tests[0]};
