// Compiled schedules: the buffers suffice for any mask on any division, and what does not fit is
// refused by name.
#define _GNU_SOURCE
#include "tests/canto_test.h"

#include "parallel/compiled.h"
#include "tests/parallel/counting.h"

enum { RANKS_MAX = 12 };

static double max2(double a, double b)
{
    return a > b ? a : b;
}

// Random masks, compiled by every rank without a run: two blocks of parts and four of sums always
// do, and less would not.
static void room_suffices_for_any_mask(void **state)
{
    (void)state;
    dice d = {.seed = 12};
    double parts = 0, sums = 0; // most blocks in use
    for (int i = 0; i < 600; i++) {
        static counting_problem p;
        int64_t bounds[3];
        int weights[RANKS_MAX];
        counting_roll_problem(&d, 2 + i % (RANKS_MAX - 1), &p, bounds, weights);
        p.strategy = i % 2 ? &canto_strategy_ring : &canto_strategy_gather;
        for (int r = 0; r < p.desc.size; r++) {
            counting_rank it = {0};
            CANTO_TEST_OK(counting_rank_open(&p, r, &it));
            CANTO_TEST_OK(counting_rank_make(&p, &it));
            const double block = (double)it.shards.tokens_max;
            parts = max2(parts, (double)it.compiled->parts.peak / block);
            sums = max2(sums, (double)it.compiled->sums.peak / block);
            counting_rank_close(&it);
        }
    }
    assert_true(parts == 2);
    assert_true(sums > 3);
}

// --- refusals ---

static counting_rank open_four(counting_problem *p)
{
    *p = (counting_problem){.desc = {.layout = CANTO_LAYOUT_CONTIGUOUS, .size = 4, .length = 40},
                            .strategy = &canto_strategy_gather,
                            .device = &counting_device,
                            .bands_n = 1,
                            .bands = {{0, 40, 0, 40, CANTO_BAND_MIN, CANTO_BAND_MAX}}};
    counting_rank it = {0};
    CANTO_TEST_OK(counting_rank_open(p, 0, &it));
    CANTO_TEST_OK(counting_rank_make(p, &it));
    return it;
}

// All parts are sent at once and used one after the other: three blocks wait at the same time.
static void refuses_a_schedule_that_needs_more_room(void **state)
{
    (void)state;
    counting_problem p;
    counting_rank it = open_four(&p);
    for (int64_t i = 0; i < it.schedule.visits_n; i++) it.schedule.visits[i].step = 0;
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY,
                     "no room for 10 rows of parts in step 0: 20 of 20 rows are taken",
                     canto_compiled_make(it.compiled, &it.schedule, &it.mask, &it.shards));
    counting_rank_close(&it);
}

static void refuses_what_it_was_not_made_for(void **state)
{
    (void)state;
    counting_problem p;
    counting_rank it = open_four(&p);
    canto_comm *self;
    CANTO_TEST_OK(canto_comm_self_open(&self));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT,
                     "the schedule is rank 0's of 4, the communicator says rank 0 of 1",
                     canto_attend_forward(it.compiled, self, &counting_device, &counting_shape,
                                          NULL, NULL, NULL, NULL, it.work));
    canto_comm_destroy(&self);
    it.schedule.rank = 1;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "the schedule is rank 1's of 4",
                     canto_compiled_make(it.compiled, &it.schedule, &it.mask, &it.shards));
    it.schedule.rank = 0;
    it.schedule.parts_n = it.compiled->parts_capacity + 1;
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "data.max_documents",
                     canto_compiled_make(it.compiled, &it.schedule, &it.mask, &it.shards));
    counting_rank_close(&it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_suffices_for_any_mask),
        cmocka_unit_test(refuses_a_schedule_that_needs_more_room),
        cmocka_unit_test(refuses_what_it_was_not_made_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
