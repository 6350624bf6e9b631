// What canto bench makes of times: ratios of rates, floors, runs that are void.
#define _GNU_SOURCE
#include "tests/canto_test.h"

#include "launch/bench.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void rest(void *of)
{
    const struct timespec time = {0, *(const long *)of * 1000000L};
    nanosleep(&time, NULL);
}

static canto_bench make(void)
{
    return (canto_bench){.name = "test",
                         .pairs = 5,
                         .threads = 1,
                         .level = canto_cpu_level_now(),
                         .library = "a library",
                         .fma = 1000,
                         .sgemm = 900};
}

// Half the time for the same amount is twice the rate.
static void test_ratio(void **state)
{
    (void)state;
    long ours = 4, theirs = 8;
    canto_bench bench = make();
    const canto_bench_row row = {.name = "half", .against = "theirs", .unit = "GB/s"};
    canto_bench_pair(&bench, row, (canto_bench_work){rest, &ours, 1e6},
                     (canto_bench_work){rest, &theirs, 1e6});
    assert_int_equal(bench.rows_n, 1);
    const canto_bench_row *found = &bench.rows[0];
    assert_true(found->ratio > 1.5 && found->ratio < 2.5);
    assert_true(found->low <= found->ratio && found->ratio <= found->high);
    assert_true(found->ours > 0.1 && found->ours <= 0.25); // 1e6 in 4 ms and a little
    assert_string_equal(bench.void_because, "");
}

static void test_above_the_roof(void **state)
{
    (void)state;
    long ours = 1, theirs = 1;
    canto_bench bench = make();
    const canto_bench_row row = {.name = "too fast", .against = "theirs", .unit = "GFLOP/s"};
    canto_bench_pair(&bench, row, (canto_bench_work){rest, &ours, 1e13},
                     (canto_bench_work){rest, &theirs, 1e6});
    assert_non_null(strstr(bench.void_because, "too fast: "));
}

static int end_with(double ratio, double floor, bool check, const char *void_because)
{
    canto_bench bench = make();
    const canto_arguments arguments = {.check = check, .json = true};
    canto_bench_row row = {.name = "row", .against = "it", .unit = "GB/s", .bound = "a test"};
    row.ratio = ratio;
    row.floor = floor;
    row.aim = floor;
    canto_bench_add(&bench, row);
    snprintf(bench.void_because, sizeof bench.void_because, "%s", void_because);
    return canto_bench_end(&bench, &arguments);
}

static void test_floors(void **state)
{
    (void)state;
    assert_int_equal(end_with(0.8, 0.7, true, ""), 0);
    assert_int_equal(end_with(0.6, 0.7, true, ""), 1);
    assert_int_equal(end_with(0.6, 0.7, false, ""), 0);
    assert_int_equal(end_with(0.6, 0, true, ""), 0);
    assert_int_equal(end_with(0.8, 0.7, true, "busy"), 1);
    assert_int_equal(end_with(0.8, 0.7, false, "busy"), 0);
}

// The loops do what they are named after.
static void test_roofs(void **state)
{
    (void)state;
    enum { N = 1024 };
    for (const canto_cpu_level *level = canto_cpu_levels; level->name; level++) {
        if (!level->works()) continue;
        static float a[N], b[N], c[N];
        for (int i = 0; i < N; i++) a[i] = (float)(i % 7), b[i] = (float)(i % 5);
        level->roofs->triad(N, a, b, 0.5f, c);
        for (int i = 0; i < N; i++) assert_true(c[i] == a[i] + 0.5f * b[i]);
        assert_true(level->roofs->read(N, a) > 0);
        assert_true(isfinite(level->roofs->fma(10)));
        assert_true(level->roofs->fma_flops > 0);
        for (int library = 0; library < 2; library++) {
            (library ? level->roofs->openblas : level->roofs->sgemm)(true, 2, 3, 4, a, b, c);
            for (int i = 0; i < 6; i++) {
                float sum = 0;
                for (int k = 0; k < 4; k++) sum += a[i / 3 * 4 + k] * b[i % 3 * 4 + k];
                assert_true(fabsf(c[i] - sum) <= 1e-5f);
                c[i] = 0;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ratio),
        cmocka_unit_test(test_above_the_roof),
        cmocka_unit_test(test_floors),
        cmocka_unit_test(test_roofs),
    };
    return cmocka_run_group_tests_name("launch.bench", tests, NULL, NULL);
}
