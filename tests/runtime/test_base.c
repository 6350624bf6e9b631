// Status, tensors, arenas, random numbers.
#include "tests/canto_test.h"

#include "runtime/arena.h"
#include "runtime/rng.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static canto_status fail_twice(void)
{
    canto_error_raise(CANTO_ERROR_IO, "a.c", 1, "first %d", 1);
    CANTO_FAIL(CANTO_ERROR_MEMORY, "second");
}

static void test_first_message_wins(void **state)
{
    (void)state;
    CANTO_TEST_FAILS(CANTO_ERROR_MEMORY, "first 1 (a.c:1)", fail_twice());
    canto_error_set_rank(2, 4);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "rank 2 of 4: x",
                     canto_error_raise(CANTO_ERROR_IO, "b.c", 2, "x"));
    canto_error_set_rank(0, 0);
}

static void test_tensor_sizes(void **state)
{
    (void)state;
    canto_tensor t = canto_tensor_view(CANTO_F64, NULL, 3, (int64_t[]){2, 0, 5});
    assert_int_equal(canto_tensor_count(&t), 0);
    t.dims_n = 1;
    assert_int_equal(canto_tensor_bytes(&t), 16);
}

static void take_twice(canto_arena *arena, float **a, int64_t **b)
{
    CANTO_TEST_OK(canto_arena_array(arena, "a", 3, sizeof **a, (void **)a));
    size_t mark = canto_arena_mark(arena);
    void *scratch;
    CANTO_TEST_OK(canto_arena_take(arena, "scratch", 1000, &scratch));
    canto_arena_release(arena, mark);
    CANTO_TEST_OK(canto_arena_array(arena, "b", 5, sizeof **b, (void **)b));
}

static void test_arena_measures(void **state)
{
    (void)state;
    canto_arena measuring, real, too_large;
    float *a;
    int64_t *b;
    CANTO_TEST_OK(canto_arena_create_measuring(&measuring));
    take_twice(&measuring, &a, &b);
    assert_int_equal(measuring.peak, 64 + 1024);
    CANTO_TEST_OK(canto_arena_create(&real, measuring.peak));
    take_twice(&real, &a, &b);
    assert_int_equal((uintptr_t)b % CANTO_ARENA_ALIGN, 0);
    assert_int_equal(b[4], 0);
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "no room for c",
                     canto_arena_take(&real, "c", 2000, (void **)&a));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "impossible size",
                     canto_arena_array(&real, "d", INT64_MAX, 8, (void **)&a));
    CANTO_TEST_FAILS(CANTO_ERROR_MEMORY, "of this host",
                     canto_arena_create(&too_large, (size_t)1 << 55));
    assert_null(too_large.base);
    CANTO_TEST_FAILS(CANTO_ERROR_MEMORY, "measuring arena: far too much",
                     canto_arena_take(&measuring, "far too much", SIZE_MAX / 2, (void **)&a));
    canto_arena_destroy(&measuring);
    canto_arena_destroy(&real);
}

// Data touched while measuring is a programming error, and must show at once.
static void test_measuring_faults(void **state)
{
    (void)state;
    canto_arena measuring;
    float *a;
    CANTO_TEST_OK(canto_arena_create_measuring(&measuring));
    CANTO_TEST_OK(canto_arena_array(&measuring, "a", 3, sizeof *a, (void **)&a));
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(volatile float *)a = 1;
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    canto_arena_destroy(&measuring);
}

static void test_rng(void **state)
{
    (void)state;
    assert_true(canto_rng_bits(1, 2, 3) == canto_rng_bits(1, 2, 3));
    assert_true(canto_rng_bits(1, 2, 3) != canto_rng_bits(1, 3, 3));
    assert_true(canto_rng_bits(1, 2, 3) != canto_rng_bits(2, 2, 3));
    double sum = 0, squares = 0;
    for (uint64_t i = 0; i < 20000; i++) {
        double x = canto_rng_normal(7, CANTO_RNG_TEST, i);
        sum += x;
        squares += x * x;
        int64_t below = canto_rng_below(7, CANTO_RNG_TEST, i, 10);
        assert_true(below >= 0 && below < 10);
    }
    assert_true(fabs(sum / 20000) < 0.03);
    assert_true(fabs(squares / 20000 - 1) < 0.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_message_wins),
        cmocka_unit_test(test_tensor_sizes),
        cmocka_unit_test(test_arena_measures),
        cmocka_unit_test(test_measuring_faults),
        cmocka_unit_test(test_rng),
    };
    return cmocka_run_group_tests_name("runtime.base", tests, NULL, NULL);
}
