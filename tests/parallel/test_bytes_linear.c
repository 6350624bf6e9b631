// Messages and bytes of linear attention, counted by the communicator and summed over ranks,
// against plain numbers. One state: 2 key/value heads x 4 x (3 + 1) floats = 128 bytes; with gates
// its transition: 2 x 4 floats = 32 bytes.
#include "tests/canto_test.h"

#include "parallel/recur.h"

#include <string.h>

enum { HEADS = 2, KEY_DIM = 4, VALUE_DIM = 3, STATE_BYTES = 128, TOKENS_MAX = 4 * 48 };

static canto_arena arena, memory; // of the host, of the device
static canto_comm *lane;

typedef struct sent {
    double messages, bytes; // by all ranks
} sent;

static sent counted(void)
{
    CANTO_TEST_OK(canto_device_finish(canto_test_device));
    double all[2] = {(double)lane->counts.messages_sent, (double)lane->counts.bytes_sent};
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 2, all));
    return (sent){all[0], all[1]};
}

static sent since(sent before)
{
    sent now = counted();
    return (sent){now.messages - before.messages, now.bytes - before.bytes};
}

// Rows of `width` floats on the device.
static float *filled(const char *name, int width)
{
    static float rows[TOKENS_MAX * 14];
    float *at;
    canto_test_fill(name, TOKENS_MAX * width, rows);
    CANTO_TEST_OK(canto_arena_array(&memory, name, TOKENS_MAX * width, sizeof *at, (void **)&at));
    canto_test_upload(at, rows, sizeof *at * TOKENS_MAX * (size_t)width);
    return at;
}

static float *zeros(int width)
{
    float *at = filled("zeros", width);
    canto_test_device->kernels->fill(canto_test_device, TOKENS_MAX * width, 0, at);
    return at;
}

// What one forward and one backward pass send; one document of `tokens`.
static void run(const canto_transport *transport, canto_layout layout, bool gated, int64_t tokens,
                sent *forward, sent *backward)
{
    canto_mesh mesh = {.dp = 1, .cp = lane->size, .cp_rank = lane->rank, .schedule = lane};
    canto_linear_shape shape = {.heads = HEADS,
                                .kv_heads = HEADS,
                                .key_dim = KEY_DIM,
                                .value_dim = VALUE_DIM,
                                .ones = true,
                                .gate = gated ? CANTO_GATE_KEY : CANTO_GATE_NONE};
    canto_plan_desc desc = {.mesh = &mesh,
                            .device = canto_test_device,
                            .layout = layout,
                            .softmax = &canto_strategy_ring,
                            .linear = transport,
                            .sequences_n = 1,
                            .sequence_length = tokens,
                            .documents_max = 1,
                            .state_count_max = canto_linear_summary_count(&shape)};
    canto_plan plan;
    canto_documents documents = {1, (int64_t[]){0, tokens}};
    canto_arena_release(&arena, 0);
    canto_arena_release(&memory, 0);
    CANTO_TEST_OK(canto_plan_create(&arena, &memory, &desc, &plan));
    CANTO_TEST_OK(canto_plan_update(&plan, &documents));
    float *q = filled("q", 8), *kv = filled("kv", 14), *y = filled("y", 8);
    float *dq = filled("dq", 8), *dkv = filled("dkv", 14);
    const float *gates = gated ? zeros(8) : NULL;
    float *dgates = zeros(8);
    float *states;
    void *work;
    CANTO_TEST_OK(canto_arena_array(&memory, "states", canto_recur_states_count(&plan, &shape),
                                    sizeof *states, (void **)&states));
    CANTO_TEST_OK(canto_arena_take(&memory, "work", canto_recur_work_bytes(&plan, &shape), &work));
    sent before = counted();
    CANTO_TEST_OK(canto_recur_forward(&plan, &shape, q, kv, gates, y, states, work));
    *forward = since(before);
    before = counted();
    CANTO_TEST_OK(
        canto_recur_backward(&plan, &shape, q, kv, gates, states, y, dq, dkv, dgates, work));
    *backward = since(before);
    canto_plan_destroy(&plan);
}

static void expect_run(const char *name, canto_layout layout, bool gated, int expected, int bytes)
{
    for (int64_t tokens = 48; tokens <= TOKENS_MAX; tokens *= 4) {
        sent forward, backward;
        run(canto_transport_find(name), layout, gated, tokens, &forward, &backward);
        assert_int_equal((int)forward.messages, expected);
        assert_int_equal((int)backward.messages, expected);
        assert_int_equal((int)forward.bytes, bytes);
        assert_int_equal((int)backward.bytes, bytes);
    }
}

// messages [W - 1]: on W = 1, 2, 3, 4 ranks; gated_bytes [W - 1]: with gates.
static void expect(const char *name, canto_layout layout, const int messages[4],
                   const int gated_bytes[4])
{
    if (lane->size > 4) skip();
    int expected = messages[lane->size - 1];
    expect_run(name, layout, false, expected, expected * STATE_BYTES);
    expect_run(name, layout, true, expected, gated_bytes[lane->size - 1]);
}

// A chain hands on states: transitions are never sent.
static void test_lasp1_contiguous(void **state)
{
    (void)state;
    expect("lasp1", CANTO_LAYOUT_CONTIGUOUS, (int[]){0, 1, 2, 3}, (int[]){0, 128, 256, 384});
}

static void test_lasp1_zigzag(void **state)
{
    (void)state;
    expect("lasp1", CANTO_LAYOUT_ZIGZAG, (int[]){0, 2, 4, 6}, (int[]){0, 256, 512, 768});
}

// Summaries carry transitions, but that of the first segment, which no state enters: 12 x 128 + 9 x
// 32 bytes on 4 ranks.
static void test_lasp2_contiguous(void **state)
{
    (void)state;
    expect("lasp2", CANTO_LAYOUT_CONTIGUOUS, (int[]){0, 2, 6, 12}, (int[]){0, 288, 896, 1824});
}

// 2W chunks are 2W - 1 segments: the two chunks in the middle are neighbours on one rank, and
// travel as one summary.
static void test_lasp2_zigzag(void **state)
{
    (void)state;
    expect("lasp2", CANTO_LAYOUT_ZIGZAG, (int[]){0, 3, 10, 21}, (int[]){0, 448, 1536, 3264});
}

static int open_module(void **state)
{
    (void)state;
    CANTO_TEST_OK(canto_arena_create(&arena, (size_t)16 << 20));
    CANTO_TEST_OK(canto_arena_create_on(&memory, canto_test_device, (size_t)16 << 20));
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "schedule", 0, &lane));
    CANTO_TEST_OK(canto_device_lane(canto_test_device, lane, &lane));
    return 0;
}

static int close_module(void **state)
{
    (void)state;
    canto_comm_destroy(&lane);
    canto_arena_destroy(&memory);
    canto_arena_destroy(&arena);
    return 0;
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test_setup_teardown(test_lasp1_contiguous, open_module, close_module),
    cmocka_unit_test_setup_teardown(test_lasp1_zigzag, open_module, close_module),
    cmocka_unit_test_setup_teardown(test_lasp2_contiguous, open_module, close_module),
    cmocka_unit_test_setup_teardown(test_lasp2_zigzag, open_module, close_module),
};

const canto_test_module test_bytes_linear = {"bytes_linear", tests, sizeof tests / sizeof tests[0]};
