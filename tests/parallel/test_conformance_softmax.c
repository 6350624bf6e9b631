// Conformance of softmax attention over a divided sequence: every strategy x mask x layout x head
// shape x length, forward and every gradient, against the double-precision reference on the same
// inputs, on however many ranks the program was started with. Besides: the error does not grow with
// the number of ranks, and two runs give the same bits.
#include "tests/canto_test.h"

#include "runtime/rng.h"
#include "tests/parallel/attend_case.h"
#include "tests/ref/softmax.h"
#include "tests/ref/widen.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ARENA_BYTES = 32 << 20, BANDS_MAX = 64, DOCUMENTS_MAX = 48, TEXT_MAX = 160 };
enum { RANKS_MAX = 8, BLOCK = 64 };

// Four tensors are compared: everything a run writes.
enum { O, LSE, DQ, DKV, TENSORS };
static const char *const tensor_names[TENSORS] = {"o", "lse", "dq", "dkv"};

static const canto_attention_shape shapes[] = {
    {2, 2, 2, 8, 8, 0.35f},  // every head its own keys and values
    {4, 2, 2, 8, 8, 0.35f},  // groups of two
    {3, 1, 1, 8, 8, 0.35f},  // one for all
    {4, 2, 1, 8, 8, 0.35f},  // more key heads than value heads
    {2, 1, 2, 16, 4, 0.25f}, // fewer, and wider keys than values
};

typedef struct mask_case {
    const char *name;
    bool packed; // documents with lengths down to 1
    int64_t left, right;
} mask_case;

static const mask_case masks[] = {
    {"full", false, CANTO_UNLIMITED, CANTO_UNLIMITED},
    {"causal", false, CANTO_UNLIMITED, 0},
    {"window", false, 8, 0},
    {"two-sided window", false, 5, 3},
    {"documents, full", true, CANTO_UNLIMITED, CANTO_UNLIMITED},
    {"documents, causal", true, CANTO_UNLIMITED, 0},
    {"documents, window", true, 4, 0},
};
enum { MASKS = sizeof masks / sizeof *masks };

static const int weights[RANKS_MAX] = {2, 0, 1, 3, 1, 0, 2, 1}; // of the first ranks

// --- one problem: inputs, mask and the reference ---

typedef struct problem {
    char name[TEXT_MAX];
    canto_test_inputs inputs;
    canto_mask mask;
    int64_t width[TENSORS], count[TENSORS];
    double *ref[TENSORS];
    double alone[TENSORS]; // mean errors of one rank
    int runs;              // divided ones so far, and the sums of errors beside them
    double sum_alone[TENSORS], sum_divided[TENSORS];
    float *all[TENSORS]; // scratch: the whole sequence
    bool *empty;         // [count[LSE]]: the row may attend to nothing, and its ref is 0
} problem;

static void *take(canto_arena *arena, int64_t n, size_t bytes)
{
    void *out;
    CANTO_TEST_OK(canto_arena_array(arena, "test", n, bytes, &out));
    return out;
}

// Lengths 1, 1, then anything from 1 to a quarter of the stream.
static canto_documents packed_documents(int64_t tokens, int64_t starts[DOCUMENTS_MAX + 1])
{
    canto_documents documents = {0, starts};
    starts[0] = 0;
    while (starts[documents.n] < tokens) {
        const int i = documents.n++;
        int64_t n = i < 2 ? 1 : 1 + canto_rng_below(3, CANTO_RNG_TEST, (uint64_t)i, tokens / 4 + 1);
        if (starts[i] + n > tokens || documents.n == DOCUMENTS_MAX) n = tokens - starts[i];
        starts[i + 1] = starts[i] + n;
    }
    return documents;
}

static void make_mask(const mask_case *how, int64_t tokens, canto_mask *mask)
{
    int64_t starts[DOCUMENTS_MAX + 1] = {0, tokens};
    const canto_documents packed = packed_documents(tokens, starts);
    const canto_documents one = {1, (const int64_t[]){0, tokens}};
    CANTO_TEST_OK(canto_mask_set(mask, how->packed ? &packed : &one, how->left, how->right));
}

static void make_reference(canto_arena *arena, problem *it)
{
    const canto_test_inputs *in = &it->inputs;
    const size_t mark = canto_arena_mark(arena);
    double *q = take(arena, it->count[DQ], sizeof *q);
    double *kv = take(arena, it->count[DKV], sizeof *kv);
    double *dout = take(arena, it->count[O], sizeof *dout);
    canto_ref_widen(it->count[DQ], in->q, q);
    canto_ref_widen(it->count[DKV], in->kv, kv);
    canto_ref_widen(it->count[O], in->dout, dout);
    canto_ref_softmax_forward(&in->shape, in->tokens, in->tokens, it->mask.bands_n, it->mask.bands,
                              q, kv, it->ref[O], it->ref[LSE]);
    canto_ref_softmax_backward(&in->shape, in->tokens, in->tokens, it->mask.bands_n, it->mask.bands,
                               q, kv, dout, it->ref[DQ], it->ref[DKV]);
    canto_arena_release(arena, mark);
    for (int64_t i = 0; i < it->count[LSE]; i++) {
        it->empty[i] = isinf(it->ref[LSE][i]);
        if (it->empty[i]) it->ref[LSE][i] = 0;
    }
}

static void problem_create(canto_arena *arena, const canto_attention_shape *shape, int64_t tokens,
                           problem *it)
{
    memset(it, 0, sizeof *it);
    canto_test_inputs_create(arena, shape, tokens, &it->inputs);
    CANTO_TEST_OK(canto_mask_create(arena, BANDS_MAX, &it->mask));
    it->width[O] = (int64_t)shape->heads * shape->value_dim;
    it->width[LSE] = shape->heads;
    it->width[DQ] = (int64_t)shape->heads * shape->key_dim;
    it->width[DKV] = canto_attention_kv_width(shape);
    for (int i = 0; i < TENSORS; i++) {
        it->count[i] = tokens * it->width[i];
        it->ref[i] = take(arena, it->count[i], sizeof(double));
        it->all[i] = take(arena, it->count[i], sizeof(float));
    }
    it->empty = take(arena, it->count[LSE], sizeof(bool));
}

// --- comparison ---

static const float *result(const canto_test_case *run, int tensor)
{
    const float *const results[TENSORS] = {run->o, run->lse, run->dq, run->dkv};
    return results[tensor];
}

// The whole sequence, with this rank's results in the place of its tokens and the reference in that
// of all others. A row that may attend to nothing becomes 0, or NaN if it has an lse.
static void overlay(const problem *it, const canto_test_case *run, int tensor)
{
    float *all = it->all[tensor];
    for (int64_t i = 0; i < it->count[tensor]; i++) all[i] = (float)it->ref[tensor][i];
    for (int64_t i = 0; tensor == LSE && i < it->count[LSE]; i++) {
        if (it->empty[i]) all[i] = -INFINITY;
    }
    canto_test_case_scatter(run, it->width[tensor], result(run, tensor), all);
    for (int64_t i = 0; tensor == LSE && i < it->count[LSE]; i++) {
        if (it->empty[i]) all[i] = all[i] == -INFINITY ? 0 : NAN;
    }
}

static double error_of(const problem *it, const canto_test_case *run, int tensor)
{
    overlay(it, run, tensor);
    return canto_test_error(it->count[tensor], it->all[tensor], it->ref[tensor]);
}

static double tolerance_of(const problem *it, int tensor)
{
    return tensor == O || tensor == LSE ? canto_test_forward_tolerance(it->inputs.tokens)
                                        : CANTO_TEST_GRADIENT;
}

static void expect_close(const problem *it, const char *how, const canto_test_case *run)
{
    for (int i = 0; i < TENSORS; i++) {
        const double error = error_of(it, run, i);
        if (!(error <= tolerance_of(it, i)))
            fail_msg("%s, %s: %s: error %.3g, tolerance %.3g", it->name, how, tensor_names[i],
                     error, tolerance_of(it, i));
    }
}

// --- flat in the number of ranks ---

// Root of the mean square of the errors of all ranks' tokens, relative to that of the reference: of
// many rounding errors the mean is a stable number, the largest is a matter of luck.
static void mean_errors(const problem *it, const canto_test_case *run, double errors[TENSORS])
{
    double squares[TENSORS] = {0};
    for (int i = 0; i < TENSORS; i++) {
        overlay(it, run, i);
        for (int64_t j = 0; j < it->count[i]; j++) {
            // The rounded reference, so that other ranks' tokens add nothing.
            const double error = (double)it->all[i][j] - (double)(float)it->ref[i][j];
            squares[i] += error * error;
        }
    }
    CANTO_TEST_OK(canto_comm_sum_small(run->comm, TENSORS, squares));
    for (int i = 0; i < TENSORS; i++) {
        double size = 0;
        for (int64_t j = 0; j < it->count[i]; j++) size += it->ref[i][j] * it->ref[i][j];
        errors[i] = sqrt(squares[i] / (size > 0 ? size : 1));
    }
}

// With fewer tokens a rank than the kernels take at a time, dividing adds roundings that one rank
// does not have.
static void expect_flat(const problem *it, const char *how, const canto_test_case *run)
{
    if (it->inputs.tokens < (int64_t)BLOCK * run->comm->size) return;
    double errors[TENSORS];
    mean_errors(it, run, errors);
    for (int i = 0; i < TENSORS; i++) {
        if (!(errors[i] <= 1.25 * it->alone[i] + 1e-7))
            fail_msg("%s, %s: %s: mean error %.3g on %d ranks, %.3g on one", it->name, how,
                     tensor_names[i], errors[i], run->comm->size, it->alone[i]);
    }
}

// --- runs ---

typedef struct bench {
    canto_arena arena, memory; // of the host, of the device
    canto_comm *self, *lane;   // lanes of the device: of one rank, of all
} bench;

static void run_once(canto_test_case *run)
{
    canto_test_case_forward(run);
    canto_test_case_backward(run);
}

static void expect_same_bits_again(canto_arena *arena, const problem *it, const char *how,
                                   canto_test_case *run)
{
    float *before[TENSORS];
    for (int i = 0; i < TENSORS; i++) {
        const int64_t n = run->tokens * it->width[i];
        before[i] = take(arena, n, sizeof(float));
        memcpy(before[i], result(run, i), (size_t)n * sizeof(float));
    }
    run_once(run);
    for (int i = 0; i < TENSORS; i++) {
        const size_t bytes = (size_t)(run->tokens * it->width[i]) * sizeof(float);
        if (memcmp(before[i], result(run, i), bytes) != 0)
            fail_msg("%s, %s: %s: two runs differ", it->name, how, tensor_names[i]);
    }
}

// One rank alone: against the reference, and the yardstick of all divided runs.
static void run_alone(bench *on, problem *it)
{
    const size_t mark = canto_arena_mark(&on->arena), memory_mark = canto_arena_mark(&on->memory);
    const int64_t bounds[] = {0, it->inputs.tokens};
    const canto_test_split split = {&canto_strategy_serial, CANTO_LAYOUT_CONTIGUOUS, NULL, 1,
                                    bounds};
    canto_test_case run;
    canto_test_case_create(&on->arena, &on->memory, on->self, &split, &it->mask, &it->inputs, &run);
    run_once(&run);
    expect_close(it, "alone", &run);
    mean_errors(it, &run, it->alone);
    canto_arena_release(&on->arena, mark);
    canto_arena_release(&on->memory, memory_mark);
}

static void run_divided(bench *on, const problem *it, const char *layout,
                        const canto_test_split *split)
{
    const size_t mark = canto_arena_mark(&on->arena), memory_mark = canto_arena_mark(&on->memory);
    char how[TEXT_MAX];
    snprintf(how, sizeof how, "%s, %s", split->strategy->name, layout);
    canto_test_case run;
    canto_test_case_create(&on->arena, &on->memory, on->lane, split, &it->mask, &it->inputs, &run);
    run_once(&run);
    expect_close(it, how, &run);
    expect_flat(it, how, &run);
    expect_same_bits_again(&on->arena, it, how, &run);
    canto_arena_release(&on->arena, mark);
    canto_arena_release(&on->memory, memory_mark);
}

static void run_layouts(bench *on, const problem *it, const canto_strategy *strategy)
{
    const int64_t n = it->inputs.tokens;
    const int64_t one[] = {0, n};
    const int64_t two[] = {0, n / 3, n};
    run_divided(on, it, "contiguous",
                &(canto_test_split){strategy, CANTO_LAYOUT_CONTIGUOUS, NULL, 1, one});
    run_divided(on, it, "zigzag", &(canto_test_split){strategy, CANTO_LAYOUT_ZIGZAG, NULL, 1, one});
    run_divided(on, it, "uneven",
                &(canto_test_split){strategy, CANTO_LAYOUT_UNEVEN, weights, 1, one});
    if (n >= 3)
        run_divided(on, it, "two zigzag sequences",
                    &(canto_test_split){strategy, CANTO_LAYOUT_ZIGZAG, NULL, 2, two});
}

// The mask of the problem is set: reference, one rank alone, then every strategy and layout.
static void run_problem(bench *on, const char *mask, problem *it)
{
    snprintf(it->name, sizeof it->name, "%lld tokens, %s, %d/%d/%d heads",
             (long long)it->inputs.tokens, mask, it->inputs.shape.heads, it->inputs.shape.key_heads,
             it->inputs.shape.value_heads);
    make_reference(&on->arena, it);
    run_alone(on, it);
    for (int i = 0; canto_strategies[i]; i++) {
        if (canto_strategies[i]->applicable(canto_test_world->size))
            run_layouts(on, it, canto_strategies[i]);
    }
}

// --- the tests ---

static int bench_open(void **state)
{
    static bench it;
    CANTO_TEST_OK(canto_arena_create(&it.arena, ARENA_BYTES));
    CANTO_TEST_OK(canto_arena_create_on(&it.memory, canto_test_device, ARENA_BYTES));
    CANTO_TEST_OK(canto_comm_self_open(&it.self));
    CANTO_TEST_OK(canto_device_lane(canto_test_device, it.self, &it.self));
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "schedule", 0, &it.lane));
    CANTO_TEST_OK(canto_device_lane(canto_test_device, it.lane, &it.lane));
    assert_true(canto_test_world->size <= RANKS_MAX);
    *state = &it;
    return 0;
}

static int bench_close(void **state)
{
    bench *it = *state;
    canto_comm_destroy(&it->lane);
    canto_comm_destroy(&it->self);
    canto_arena_destroy(&it->memory);
    canto_arena_destroy(&it->arena);
    return 0;
}

static void run_masks(bench *on, const canto_attention_shape *shape, int64_t tokens, int masks_n,
                      const mask_case *list)
{
    const size_t mark = canto_arena_mark(&on->arena);
    problem it;
    problem_create(&on->arena, shape, tokens, &it);
    for (int m = 0; m < masks_n; m++) {
        make_mask(&list[m], tokens, &it.mask);
        run_problem(on, list[m].name, &it);
    }
    canto_arena_release(&on->arena, mark);
}

static void run_all_masks(bench *on, int shape)
{
    static const int64_t lengths[] = {1, 7, 64, 129};
    for (int n = 0; n < 4; n++) run_masks(on, &shapes[shape], lengths[n], MASKS, masks);
}

static void heads_own_keys(void **state)
{
    run_all_masks(*state, 0);
}

static void heads_in_groups(void **state)
{
    run_all_masks(*state, 1);
}

static void heads_share_one_key(void **state)
{
    run_all_masks(*state, 2);
}

static void key_heads_differ_from_value_heads(void **state)
{
    run_all_masks(*state, 3);
}

static void key_dim_differs_from_value_dim(void **state)
{
    run_all_masks(*state, 4);
}

// Long enough that tiles are cut into pieces.
static void thousand_tokens(void **state)
{
    const mask_case chosen[] = {masks[1], masks[0], masks[5]};
    run_masks(*state, &shapes[4], 1000, 3, chosen);
    run_masks(*state, &shapes[1], 1000, 1, chosen);
}

// Rectangles that no name stands for: a common prefix, a late causal block, rows without any key.
static void rows_without_keys(void **state)
{
    bench *on = *state;
    const size_t mark = canto_arena_mark(&on->arena);
    const int64_t n = 60;
    const canto_band bands[] = {
        {10, 60, 0, 5, CANTO_BAND_MIN, CANTO_BAND_MAX},
        {12, 25, 30, 40, CANTO_BAND_MIN, CANTO_BAND_MAX},
        {40, 60, 40, 60, CANTO_BAND_MIN, 0},
    };
    problem it;
    problem_create(&on->arena, &shapes[1], n, &it);
    CANTO_TEST_OK(canto_mask_set_bands(&it.mask, n, 3, bands));
    run_problem(on, "rectangles", &it);
    assert_true(it.empty[0] && !it.empty[it.count[LSE] - 1]);
    canto_arena_release(&on->arena, mark);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(heads_own_keys, bench_open, bench_close),
    cmocka_unit_test_setup_teardown(heads_in_groups, bench_open, bench_close),
    cmocka_unit_test_setup_teardown(heads_share_one_key, bench_open, bench_close),
    cmocka_unit_test_setup_teardown(key_heads_differ_from_value_heads, bench_open, bench_close),
    cmocka_unit_test_setup_teardown(key_dim_differs_from_value_dim, bench_open, bench_close),
    cmocka_unit_test_setup_teardown(thousand_tokens, bench_open, bench_close),
    cmocka_unit_test_setup_teardown(rows_without_keys, bench_open, bench_close),
};

const canto_test_module test_conformance_softmax = {"conformance_softmax", tests,
                                                    sizeof tests / sizeof *tests};
