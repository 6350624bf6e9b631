// Prices: messages, rows and buffers of well-known cases as plain numbers, seconds of cases that
// can be worked out by hand.
#include "tests/canto_test.h"

#include "tests/parallel/world.h"

static const canto_machine nothing = {0};

static canto_price price_of(world *w, const canto_strategy *strategy, const canto_machine *machine)
{
    canto_price price;
    world_schedule(w, strategy);
    CANTO_TEST_OK(canto_schedule_price(&w->schedule, &w->mask, &w->shards, 100, machine, &price));
    return price;
}

static canto_price window_price(canto_layout layout, int size, int64_t length, int64_t left,
                                int64_t right, const canto_strategy *strategy)
{
    world w;
    world_open(&w, (world_desc){.layout = layout, .size = size, .length = length, .rank = -1});
    world_window(&w, left, right);
    canto_price price = price_of(&w, strategy, &nothing);
    world_close(&w);
    return price;
}

// m = one rank's C rows, W ranks: full W(W-1) messages and m each, causal contiguous half of both,
// causal zigzag 3/4 W(W-1) m in at most 3/2 W(W-1) messages.
static const struct {
    int ranks;
    int64_t length;
    int64_t full_messages, full_rows;
    int64_t causal_messages, causal_rows;
    int64_t zigzag_messages_most, zigzag_rows;
} table[] = {
    {1, 12, 0, 0, 0, 0, 0, 0},          {2, 16, 2, 16, 1, 8, 3, 12},
    {3, 30, 6, 60, 3, 30, 9, 45},       {4, 64, 12, 192, 6, 96, 18, 144},
    {8, 32, 56, 224, 28, 112, 84, 168}, {16, 1024, 240, 15360, 120, 7680, 360, 11520},
};

static void check_traffic(const canto_price *price, int64_t messages, int64_t rows)
{
    assert_int_equal(price->messages, messages);
    assert_int_equal(price->rows, rows);
    assert_int_equal(price->sum_messages, messages);
    assert_int_equal(price->sum_rows, rows);
}

static void test_traffic(void **state)
{
    (void)state;
    const canto_strategy *both[] = {&canto_strategy_ring, &canto_strategy_gather};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (int s = 0; s < 2; s++) {
            int ranks = table[i].ranks;
            int64_t n = table[i].length, all = CANTO_UNLIMITED;
            canto_price p = window_price(CANTO_LAYOUT_CONTIGUOUS, ranks, n, all, all, both[s]);
            check_traffic(&p, table[i].full_messages, table[i].full_rows);
            p = window_price(CANTO_LAYOUT_CONTIGUOUS, ranks, n, all, 0, both[s]);
            check_traffic(&p, table[i].causal_messages, table[i].causal_rows);
            p = window_price(CANTO_LAYOUT_ZIGZAG, ranks, n, all, 0, both[s]);
            check_traffic(&p, p.messages, table[i].zigzag_rows);
            assert_in_range(p.messages, 0, table[i].zigzag_messages_most);
        }
    }
}

// A window of 5 on 4 ranks: 4 rows over each edge between ranks, whatever the length; 3 edges
// contiguous, 6 zigzag.
static void test_window_is_a_halo(void **state)
{
    (void)state;
    const canto_strategy *both[] = {&canto_strategy_ring, &canto_strategy_gather};
    for (int s = 0; s < 2; s++) {
        for (int64_t length = 64; length <= 65536; length *= 4) {
            canto_price p = window_price(CANTO_LAYOUT_CONTIGUOUS, 4, length, 4, 0, both[s]);
            check_traffic(&p, 3, 12);
            p = window_price(CANTO_LAYOUT_ZIGZAG, 4, length, 4, 0, both[s]);
            check_traffic(&p, 6, 24);
            p = window_price(CANTO_LAYOUT_CONTIGUOUS, 4, length, 4, 4, both[s]);
            check_traffic(&p, 6, 24);
        }
    }
}

static void check_buffers(const world *w, const canto_strategy *strategy, const canto_price *p)
{
    char name[WORLD_NAME_MAX];
    const int64_t block = w->shards.tokens_max; // the largest
    if (p->peak_part_rows > 2 * block || p->peak_sum_rows > 4 * block)
        fail_msg("%s: %lld rows of parts and %lld of sums at once, at most 2 * %lld and 4 * %lld",
                 world_name(w, strategy, name), (long long)p->peak_part_rows,
                 (long long)p->peak_sum_rows, (long long)block, (long long)block);
}

// Buffers: two blocks of parts and four of sums hold any mask.
static void test_buffers(void **state)
{
    (void)state;
    dice d = {.seed = 51};
    for (int trial = 0; trial < 400; trial++) {
        random_case c;
        world w;
        roll_case(&d, 1 + (int)roll(&d, 12), roll(&d, 300), 1 + (int)roll(&d, 30), &c);
        world_open_case(&w, &c, -1);
        for (int i = 1; canto_strategies[i]; i++) {
            canto_price p = price_of(&w, canto_strategies[i], &nothing);
            check_buffers(&w, canto_strategies[i], &p);
        }
        world_close(&w);
    }
}

// Full mask, 4 ranks of 16: the ring holds the part it computes with and the next one; backward the
// sum it computes, the one that leaves and the one that comes in.
static void test_buffers_by_hand(void **state)
{
    (void)state;
    int64_t all = CANTO_UNLIMITED;
    canto_price p = window_price(CANTO_LAYOUT_CONTIGUOUS, 4, 64, all, all, &canto_strategy_ring);
    assert_int_equal(p.peak_part_rows, 32);
    assert_int_equal(p.peak_sum_rows, 48);
    p = window_price(CANTO_LAYOUT_CONTIGUOUS, 4, 64, all, all, &canto_strategy_gather);
    assert_int_equal(p.peak_part_rows, 32);
    assert_int_equal(p.peak_sum_rows, 48);
    // A part stays until it has been passed on, one step after its use.
    p = window_price(CANTO_LAYOUT_CONTIGUOUS, 4, 64, all, all, &strategy_slow);
    assert_int_equal(p.peak_part_rows, 32);
}

static void test_pairs(void **state)
{
    (void)state;
    int64_t all = CANTO_UNLIMITED;
    const canto_strategy *ring = &canto_strategy_ring;
    // 16 rows each: rank 3 sees 48 columns and its triangle; zigzag: everybody 64 * 65 / 2 / 4.
    canto_price p = window_price(CANTO_LAYOUT_CONTIGUOUS, 4, 64, all, 0, ring);
    assert_int_equal(p.pairs_max, 16 * 48 + 136);
    p = window_price(CANTO_LAYOUT_ZIGZAG, 4, 64, all, 0, ring);
    assert_int_equal(p.pairs_max, 520);
}

static double full_seconds(canto_machine machine)
{
    world w;
    world_open(&w, (world_desc){.size = 4, .length = 64, .rank = -1});
    world_window(&w, CANTO_UNLIMITED, CANTO_UNLIMITED);
    double seconds = price_of(&w, &canto_strategy_ring, &machine).seconds;
    world_close(&w);
    return seconds;
}

// Full mask, 4 ranks of 16 rows of 100 bytes: 3 messages of 1600 bytes in a row, 4 blocks of 256
// pairs, the message under the block if it is shorter.
static void test_seconds(void **state)
{
    (void)state;
    canto_machine m = {.gamma_s_per_pair = 1};
    assert_true(full_seconds(m) == 1024);
    m = (canto_machine){.alpha_s = 1};
    assert_true(full_seconds(m) == 3);
    m = (canto_machine){.beta_s_per_byte = 2};
    assert_true(full_seconds(m) == 9600);
    m = (canto_machine){.alpha_s = 200, .gamma_s_per_pair = 1};
    assert_true(full_seconds(m) == 1024);
    m = (canto_machine){.alpha_s = 300, .gamma_s_per_pair = 1};
    assert_true(full_seconds(m) == 3 * 300 + 256);
}

// Causal, contiguous, 3 ranks of 2 rows, gather: rank 2 gets part 1 and then part 0, and computes
// 3, 4 and 4 pairs. Steps are no barriers: rank 0, with 3 pairs, waits for nobody.
static void test_longest_path(void **state)
{
    (void)state;
    world w;
    canto_machine m = {.alpha_s = 10, .gamma_s_per_pair = 1};
    world_open(&w, (world_desc){.size = 3, .length = 6, .rank = -1});
    world_window(&w, CANTO_UNLIMITED, 0);
    // Message 1 -> 2 is through at 10; 0 -> 1 too, and rank 0 then starts 0 -> 2, to which rank 2
    // is ready at 10: through at 20; then the last 4 pairs.
    assert_true(price_of(&w, &canto_strategy_gather, &m).seconds == 24);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_traffic),      cmocka_unit_test(test_window_is_a_halo),
        cmocka_unit_test(test_buffers),      cmocka_unit_test(test_buffers_by_hand),
        cmocka_unit_test(test_pairs),        cmocka_unit_test(test_seconds),
        cmocka_unit_test(test_longest_path),
    };
    return cmocka_run_group_tests_name("parallel.price", tests, NULL, NULL);
}
