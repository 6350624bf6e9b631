// Differences of tensors, taken in run by run: counts, places, maxima, and numbers that have none.
#include "launch/tensor_diff.h"
#include "tests/canto_test.h"

#include <math.h>

static void test_runs_are_one_tensor(void **state)
{
    (void)state;
    const float a[6] = {1, 2, 3, -4, 0, 8};
    const float b[6] = {1, 2, 3.5f, -4, 0.25f, 7};
    canto_tensor_diff whole, pieces;
    canto_tensor_diff_init(&whole);
    canto_tensor_diff_add(&whole, CANTO_F32, 6, a, b);
    canto_tensor_diff_init(&pieces);
    for (int i = 0; i < 6; i += 2) canto_tensor_diff_add(&pieces, CANTO_F32, 2, a + i, b + i);
    assert_memory_equal(&whole, &pieces, sizeof whole);
    assert_int_equal(whole.count, 6);
    assert_int_equal(whole.differing, 3);
    assert_int_equal(whole.first, 2);
    assert_true(whole.max_abs == 1 && whole.max_rel == 1);
}

static void test_what_has_no_size(void **state)
{
    (void)state;
    const double a[5] = {NAN, NAN, INFINITY, 0.0, 1};
    const double b[5] = {NAN, 1, -INFINITY, -0.0, 1};
    canto_tensor_diff diff;
    canto_tensor_diff_init(&diff);
    canto_tensor_diff_add(&diff, CANTO_F64, 5, a, b);
    assert_int_equal(diff.differing, 3); // equal bits are equal, also of a NaN; zeros are two
    assert_int_equal(diff.unmeasured, 2);
    assert_int_equal(diff.first, 1);
    assert_true(diff.max_abs == 0 && diff.max_rel == 0);
}

static void test_integers(void **state)
{
    (void)state;
    const uint8_t a[3] = {1, 200, 3}, b[3] = {1, 100, 3};
    canto_tensor_diff diff;
    canto_tensor_diff_init(&diff);
    canto_tensor_diff_add(&diff, CANTO_U8, 3, a, b);
    assert_true(diff.differing == 1 && diff.max_abs == 100 && diff.max_rel == 0.5);
    canto_tensor_diff_init(&diff);
    canto_tensor_diff_add(&diff, CANTO_I64, 0, a, b);
    assert_true(diff.count == 0 && diff.first == -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_are_one_tensor),
        cmocka_unit_test(test_what_has_no_size),
        cmocka_unit_test(test_integers),
    };
    return cmocka_run_group_tests_name("launch.tensor_diff", tests, NULL, NULL);
}
