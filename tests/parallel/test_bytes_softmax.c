// What attention sends, counted by the communicator and summed over the ranks, against numbers
// worked out by hand: 48 tokens, 32 bytes of keys and values each, so that one rank's block has
//     m = 768, 512, 384 bytes on 2, 3, 4 ranks.
// Full: W(W-1) m in W(W-1) messages. Causal: half of it; zigzag three quarters of the bytes in at
// most 3/2 W(W-1) messages. A window of 6 needs the 5 keys before each border between ranks: 160
// bytes a border, for any number of tokens. The backward pass sends the same again and as much for
// the gradients, which are fp32 too.
#include "tests/canto_test.h"

#include "tests/parallel/attend_case.h"

enum { ARENA_BYTES = 8 << 20, RANKS_MAX = 4, TOKENS = 48 };

static const canto_attention_shape shape = {2, 1, 1, 4, 4, 0.5f};

typedef struct traffic {
    int64_t bytes, messages;
} traffic;

typedef struct row {
    const char *name;
    canto_layout layout;
    int64_t left, right;
    bool fewer_messages; // `messages` is the largest number allowed
    traffic forward[RANKS_MAX + 1], backward[RANKS_MAX + 1]; // by number of ranks
} row;

static const row full = {
    "full, contiguous",
    CANTO_LAYOUT_CONTIGUOUS,
    CANTO_UNLIMITED,
    CANTO_UNLIMITED,
    false,
    {{0}, {0, 0}, {1536, 2}, {3072, 6}, {4608, 12}},
    {{0}, {0, 0}, {3072, 4}, {6144, 12}, {9216, 24}},
};
static const row causal = {
    "causal, contiguous",
    CANTO_LAYOUT_CONTIGUOUS,
    CANTO_UNLIMITED,
    0,
    false,
    {{0}, {0, 0}, {768, 1}, {1536, 3}, {2304, 6}},
    {{0}, {0, 0}, {1536, 2}, {3072, 6}, {4608, 12}},
};
static const row zigzag = {
    "causal, zigzag",
    CANTO_LAYOUT_ZIGZAG,
    CANTO_UNLIMITED,
    0,
    true,
    {{0}, {0, 0}, {1152, 3}, {2304, 9}, {3456, 18}},
    {{0}, {0, 0}, {2304, 6}, {4608, 18}, {6912, 36}},
};
static const row window = {
    "window of 6, contiguous",
    CANTO_LAYOUT_CONTIGUOUS,
    5,
    0,
    false,
    {{0}, {0, 0}, {160, 1}, {320, 2}, {480, 3}},
    {{0}, {0, 0}, {320, 2}, {640, 4}, {960, 6}},
};
static const row window_zigzag = {
    "window of 6, zigzag",
    CANTO_LAYOUT_ZIGZAG,
    5,
    0,
    false,
    {{0}, {0, 0}, {320, 2}, {640, 4}, {960, 6}},
    {{0}, {0, 0}, {640, 4}, {1280, 8}, {1920, 12}},
};

// What all ranks have sent so far.
static traffic sent_by_all(const canto_comm *lane)
{
    const canto_comm_counts counts = lane->counts;
    double sums[] = {(double)counts.bytes_sent, (double)counts.messages_sent,
                     (double)counts.bytes_received, (double)counts.messages_received};
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 4, sums));
    assert_true(sums[0] == sums[2] && sums[1] == sums[3]);
    return (traffic){(int64_t)sums[0], (int64_t)sums[1]};
}

static traffic traffic_of(void (*pass)(canto_test_case *it), canto_test_case *it)
{
    const traffic before = sent_by_all(it->comm);
    pass(it);
    const traffic after = sent_by_all(it->comm);
    return (traffic){after.bytes - before.bytes, after.messages - before.messages};
}

static void expect(const row *it, const canto_strategy *strategy, const char *pass, traffic found,
                   traffic expected)
{
    const bool few = it->fewer_messages ? found.messages <= expected.messages
                                        : found.messages == expected.messages;
    if (found.bytes != expected.bytes || !few)
        fail_msg("%s, %s, %s: %lld bytes in %lld messages, expected %lld in %lld", strategy->name,
                 it->name, pass, (long long)found.bytes, (long long)found.messages,
                 (long long)expected.bytes, (long long)expected.messages);
}

static void count(const row *it, const canto_strategy *strategy, int64_t tokens)
{
    canto_arena arena, memory;
    canto_comm *lane;
    CANTO_TEST_OK(canto_arena_create(&arena, ARENA_BYTES));
    CANTO_TEST_OK(canto_arena_create_on(&memory, canto_test_device, ARENA_BYTES));
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "schedule", 0, &lane));
    CANTO_TEST_OK(canto_device_lane(canto_test_device, lane, &lane));
    const int64_t bounds[] = {0, tokens};
    canto_mask mask;
    CANTO_TEST_OK(canto_mask_create(&arena, 1, &mask));
    CANTO_TEST_OK(canto_mask_set(&mask, &(canto_documents){1, bounds}, it->left, it->right));
    canto_test_inputs inputs;
    canto_test_inputs_create(&arena, &shape, tokens, &inputs);
    canto_test_case run;
    const canto_test_split split = {strategy, it->layout, NULL, 1, bounds};
    canto_test_case_create(&arena, &memory, lane, &split, &mask, &inputs, &run);
    const int size = canto_test_world->size;
    expect(it, strategy, "forward", traffic_of(canto_test_case_forward, &run), it->forward[size]);
    expect(it, strategy, "backward", traffic_of(canto_test_case_backward, &run),
           it->backward[size]);
    canto_comm_destroy(&lane);
    canto_arena_destroy(&memory);
    canto_arena_destroy(&arena);
}

// Whatever the route, each part comes once to every rank that needs it.
static void count_all(const row *it, int64_t tokens)
{
    assert_true(canto_test_world->size <= RANKS_MAX);
    for (int i = 0; canto_strategies[i]; i++) {
        if (canto_strategies[i]->applicable(canto_test_world->size))
            count(it, canto_strategies[i], tokens);
    }
}

static void full_sends_every_block_to_everybody(void **state)
{
    (void)state;
    count_all(&full, TOKENS);
}

static void causal_sends_half(void **state)
{
    (void)state;
    count_all(&causal, TOKENS);
}

static void causal_zigzag_sends_three_quarters(void **state)
{
    (void)state;
    count_all(&zigzag, TOKENS);
}

static void window_sends_its_width_whatever_the_length(void **state)
{
    (void)state;
    for (int64_t tokens = TOKENS; tokens <= 4 * TOKENS; tokens *= 4) {
        count_all(&window, tokens);
        count_all(&window_zigzag, tokens);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(full_sends_every_block_to_everybody),
    cmocka_unit_test(causal_sends_half),
    cmocka_unit_test(causal_zigzag_sends_three_quarters),
    cmocka_unit_test(window_sends_its_width_whatever_the_length),
};

const canto_test_module test_bytes_softmax = {"bytes_softmax", tests, sizeof tests / sizeof *tests};
