// What each rank reads from its own schedule and buckets, summed over the ranks, is the price of
// the whole.
#include "tests/canto_test.h"

#include "parallel/traffic.h"
#include "tests/parallel/world.h"

enum { ROW_BYTES = 100, CASES = 200 };

static canto_traffic sum_over_ranks(const random_case *c, const canto_strategy *strategy,
                                    bool backward)
{
    canto_traffic sum = {0};
    for (int r = 0; r < c->desc.size; r++) {
        world w;
        world_open_case(&w, c, r);
        world_schedule(&w, strategy);
        sum = canto_traffic_add(sum, canto_schedule_traffic(&w.schedule, ROW_BYTES, backward));
        world_close(&w);
    }
    return sum;
}

static canto_price price_of(const random_case *c, const canto_strategy *strategy)
{
    world w;
    canto_price price;
    world_open_case(&w, c, -1);
    world_schedule(&w, strategy);
    CANTO_TEST_OK(canto_schedule_price(&w.schedule, &w.mask, &w.shards, ROW_BYTES,
                                       &(canto_machine){0}, &price));
    world_close(&w);
    return price;
}

static void ranks_sum_up_to_the_price(void **state)
{
    (void)state;
    const canto_strategy *strategies[] = {&canto_strategy_ring, &canto_strategy_gather,
                                          &strategy_star};
    int64_t sent = 0;
    dice d = {.seed = 11};
    for (int i = 0; i < CASES; i++) {
        random_case c;
        roll_case(&d, 1 + i % 6, roll_between(&d, 1, 60), 6, &c);
        const canto_strategy *strategy = strategies[i % 3];
        const canto_price price = price_of(&c, strategy);
        const canto_traffic forward = sum_over_ranks(&c, strategy, false);
        const canto_traffic backward = sum_over_ranks(&c, strategy, true);
        assert_int_equal(forward.messages, price.messages);
        assert_int_equal(forward.bytes, price.rows * ROW_BYTES);
        assert_int_equal(backward.messages, price.messages + price.sum_messages);
        assert_int_equal(backward.bytes, (price.rows + price.sum_rows) * ROW_BYTES);
        sent += backward.messages;
    }
    assert_true(sent > CASES);
}

// P (W-1)/W numbers each way and rank, so 2 P (W-1) of all ranks, however buckets are cut.
static void gradients_cost_twice_the_parameters_of_the_other_ranks(void **state)
{
    (void)state;
    static const int64_t bounds[] = {0, 1, 1, 14, 77, 80};
    enum { BUCKETS = 5, NUMBERS = 80 };
    for (int size = 1; size <= 9; size++) {
        canto_traffic sum = {0};
        for (int r = 0; r < size; r++) {
            canto_comm comm = {.rank = r, .size = size};
            const canto_grad grad = {.comm = &comm, .buckets_n = BUCKETS, .bounds = bounds};
            sum = canto_traffic_add(sum, canto_grad_traffic(&grad));
        }
        assert_int_equal(sum.bytes, 2 * NUMBERS * (size - 1) * (int64_t)sizeof(float));
        int64_t pieces = 0; // of at least one number
        for (int b = 0; b < BUCKETS; b++) {
            const int64_t n = bounds[b + 1] - bounds[b];
            pieces += n < size ? n : size;
        }
        assert_int_equal(sum.messages, 2 * (size - 1) * pieces);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_sum_up_to_the_price),
        cmocka_unit_test(gradients_cost_twice_the_parameters_of_the_other_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
