// Slots: nothing that lives at the same time overlaps, room is given back, and things that live for
// two steps never need more than two blocks, whatever their sizes.
#include "tests/canto_test.h"

#include "parallel/slots.h"
#include "runtime/rng.h"

enum { CAPACITY = 64, BLOCK = 100, STEPS = 2000 };

static canto_arena new_slots(int64_t rows, canto_slots *slots)
{
    canto_arena arena;
    CANTO_TEST_OK(canto_arena_create(&arena, 1 << 14));
    CANTO_TEST_OK(canto_slots_create(&arena, rows, CAPACITY, slots));
    return arena;
}

static void gives_room_back(void **state)
{
    (void)state;
    canto_slots slots;
    canto_arena arena = new_slots(10, &slots);
    int64_t row;
    CANTO_TEST_OK(canto_slots_take(&slots, "parts", 0, 1, 4, &row));
    assert_int_equal(row, 0);
    CANTO_TEST_OK(canto_slots_take(&slots, "parts", 1, 2, 6, &row));
    assert_int_equal(row, 4);
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "no room for 1 rows of parts in step 1: 10 of 10",
                     canto_slots_take(&slots, "parts", 1, 1, 1, &row));
    CANTO_TEST_OK(canto_slots_take(&slots, "parts", 2, 2, 4, &row));
    assert_int_equal(row, 0);
    CANTO_TEST_OK(canto_slots_take(&slots, "parts", 3, 3, 10, &row));
    assert_int_equal(row, 0);
    assert_int_equal(slots.peak, 10);
    canto_slots_reset(&slots);
    CANTO_TEST_OK(canto_slots_take(&slots, "parts", 0, 0, 10, &row));
    canto_arena_destroy(&arena);
}

static void refuses_too_many(void **state)
{
    (void)state;
    canto_slots slots;
    canto_arena arena = new_slots(1000, &slots);
    int64_t row;
    for (int i = 0; i < CAPACITY; i++)
        CANTO_TEST_OK(canto_slots_take(&slots, "parts", 0, 0, 1, &row));
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "more than 64 parts",
                     canto_slots_take(&slots, "parts", 0, 0, 1, &row));
    canto_arena_destroy(&arena);
}

// Takes pieces of random sizes that add up to at most one block.
static void take_block(canto_slots *slots, int step, uint64_t *counter, int *owner)
{
    int64_t left = BLOCK;
    while (left > 0) {
        int64_t rows = 1 + (int64_t)(canto_rng_uniform(7, CANTO_RNG_TEST, (*counter)++) * 60);
        if (rows > left) break;
        int64_t row;
        CANTO_TEST_OK(canto_slots_take(slots, "parts", step, step + 1, rows, &row));
        for (int64_t i = row; i < row + rows; i++) {
            assert_true(owner[i] < step); // free since the end of this step
            owner[i] = step + 1;
        }
        left -= rows;
    }
}

static void two_blocks_suffice_for_two_steps(void **state)
{
    (void)state;
    canto_slots slots;
    canto_arena arena = new_slots(2 * BLOCK, &slots);
    int until[2 * BLOCK];
    for (int i = 0; i < 2 * BLOCK; i++) until[i] = -1;
    uint64_t counter = 0;
    for (int step = 0; step < STEPS; step++) take_block(&slots, step, &counter, until);
    assert_true(slots.peak > BLOCK); // both halves were in use
    canto_arena_destroy(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_room_back),
        cmocka_unit_test(refuses_too_many),
        cmocka_unit_test(two_blocks_suffice_for_two_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
