// What canto plot reads out of metrics.jsonl: records with and without times of ranks, other
// numbers of ranks, more steps than are drawn, and lines that are no records.
#define _DEFAULT_SOURCE
#include "launch/plot_files.h"
#include "tests/canto_test.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct run_dir {
    char path[64], metrics[128];
    FILE *file;
} run_dir;

static int set_up(void **state)
{
    run_dir *run = calloc(1, sizeof *run);
    *state = run;
    strcpy(run->path, "/tmp/canto_plot_XXXXXX");
    if (!run || !mkdtemp(run->path)) return -1;
    snprintf(run->metrics, sizeof run->metrics, "%s/metrics.jsonl", run->path);
    run->file = fopen(run->metrics, "w");
    return run->file ? 0 : -1;
}

static int tear_down(void **state)
{
    run_dir *run = *state;
    unlink(run->metrics);
    int failed = rmdir(run->path);
    free(run);
    return failed;
}

static void line(const run_dir *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(const run_dir *run, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    assert_true(vfprintf(run->file, format, args) > 0);
    va_end(args);
    assert_int_equal(fputc('\n', run->file), '\n');
}

static canto_plot_data read_all(run_dir *run)
{
    canto_plot_data data;
    assert_int_equal(fclose(run->file), 0);
    CANTO_TEST_OK(canto_plot_read(run->path, &data));
    return data;
}

static void close_to(double x, double expected)
{
    if (!(fabs(x - expected) <= 1e-9 * fabs(expected) + 1e-12))
        fail_msg("%.12g, expected %.12g", x, expected);
}

static void steps_and_evaluations_are_told_apart(void **state)
{
    run_dir *run = *state;
    line(run, "{\"step\": 0, \"event\": \"start\", \"ranks\": 2}");
    line(run, "{\"step\": 1, \"bits_per_byte\": 8.0, \"tokens_per_s\": 100}");
    line(run, "{\"step\": 1, \"event\": \"eval\", \"bits_per_byte\": 7.5}");
    line(run, "no record");
    line(run, "{\"step\": 2, \"bits_per_byte\": 6.0, \"tokens_per_s\": 300}");
    line(run, "{\"step\": 2, \"event\": \"eval\"}"); // of another program
    line(run, "{\"step\": \"three\", \"bits_per_byte\": 5.0}");
    line(run, "{\"step\": 3, \"lr\": 5.0}");
    assert_true(fputs("{\"step\": 3, \"bits_per", run->file) >= 0);
    canto_plot_data data = read_all(run);
    assert_int_equal(data.points_n, 2);
    assert_int_equal(data.steps, 2);
    assert_int_equal(data.evaluations_n, 1);
    assert_int_equal(data.skipped, 2);
    close_to(data.points[1].step, 2);
    close_to(data.points[1].loss, 6);
    close_to(data.points[1].tokens_per_s, 300);
    close_to(data.evaluations[0].loss, 7.5);
    assert_false(data.tokens);
    // Written before there were times of ranks.
    assert_false(data.timed);
    assert_int_equal(data.ranks_n, 0);
    canto_plot_free(&data);
}

static void losses_of_tokens_are_drawn_in_nats(void **state)
{
    run_dir *run = *state;
    line(run, "{\"step\": 1, \"loss\": 9.5, \"tokens_per_s\": 100}");
    line(run, "{\"step\": 1, \"event\": \"eval\", \"loss\": 9.25, \"perplexity\": 1e4}");
    canto_plot_data data = read_all(run);
    assert_true(data.tokens);
    close_to(data.points[0].loss, 9.5);
    close_to(data.evaluations[0].loss, 9.25);
    canto_plot_free(&data);
}

static void times_of_the_latest_ranks_are_averaged(void **state)
{
    run_dir *run = *state;
    line(run, "{\"step\": 1, \"bits_per_byte\": 8.0, \"tokens_per_s\": 100}");
    for (int step = 2; step <= 3; step++)
        line(run,
             "{\"step\": %d, \"bits_per_byte\": 8, \"tokens_per_s\": 9, \"compute_us\": [5000000], "
             "\"wait_us\": [0]}",
             step);
    for (int step = 4; step <= 5; step++)
        line(run,
             "{\"step\": %d, \"bits_per_byte\": 8, \"tokens_per_s\": 9, \"compute_us\": [%d, "
             "300000], \"wait_us\": [200000, %d]}",
             step, 100000 * (step - 3), 1000 * step);
    canto_plot_data data = read_all(run);
    assert_true(data.timed);
    assert_false(data.points[0].timed);
    assert_int_equal(data.ranks_n, 2);
    assert_int_equal(data.ranks_steps, 2);
    close_to(data.ranks_first, 4);
    close_to(data.ranks_last, 5);
    close_to(data.ranks[0].compute_s, 0.15);
    close_to(data.ranks[1].compute_s, 0.3);
    close_to(data.ranks[0].wait_s, 0.2);
    close_to(data.ranks[1].wait_s, 0.0045);
    const canto_spread *compute = &data.points[3].compute_s;
    close_to(compute->min, 0.1);
    close_to(compute->mean, 0.2);
    close_to(compute->max, 0.3);
    assert_int_equal(compute->slowest, 1);
    close_to(data.points[1].compute_s.mean, 5);
    canto_plot_free(&data);
}

static void summed_up_times_and_broken_ones(void **state)
{
    run_dir *run = *state;
    line(run, "{\"step\": 1, \"bits_per_byte\": 8, \"tokens_per_s\": 9, \"compute_us\": {\"min\": "
              "1000, \"mean\": 2000, \"max\": 4000, \"slowest\": 70}, \"wait_us\": {\"min\": 0, "
              "\"mean\": 500, \"max\": 900, \"slowest\": 3}}");
    line(run, "{\"step\": 2, \"bits_per_byte\": 8, \"tokens_per_s\": 9, \"compute_us\": {\"min\": "
              "1000}, \"wait_us\": [1]}");
    line(run, "{\"step\": 3, \"bits_per_byte\": 8, \"tokens_per_s\": 9, \"compute_us\": [], "
              "\"wait_us\": 7}");
    canto_plot_data data = read_all(run);
    assert_int_equal(data.points_n, 3);
    assert_true(data.points[0].timed);
    assert_false(data.points[1].timed || data.points[2].timed);
    close_to(data.points[0].compute_s.mean, 0.002);
    close_to(data.points[0].wait_s.max, 0.0009);
    assert_int_equal(data.points[0].compute_s.slowest, 70);
    assert_int_equal(data.ranks_n, 0);
    canto_plot_free(&data);
}

// Twice as many steps as points, and one: groups of three.
static void many_steps_are_drawn_as_means(void **state)
{
    run_dir *run = *state;
    enum { STEPS = 2 * CANTO_PLOT_POINTS_MAX + 1 };
    for (int step = 1; step <= STEPS; step++)
        line(run,
             "{\"step\": %d, \"bits_per_byte\": %d, \"tokens_per_s\": %d, \"compute_us\": [%d, "
             "%d], \"wait_us\": [3, 3]}",
             step, step, step % 3 == 0 ? 50 : 100, 10 * step, 10 * step + 1);
    canto_plot_data data = read_all(run);
    assert_int_equal(data.steps, STEPS);
    assert_int_equal(data.points_n, (STEPS + 2) / 3);
    for (int64_t i = 0; i < data.points_n - 1; i++) {
        const canto_plot_point *point = &data.points[i];
        const double last = 3.0 * (double)(i + 1);
        close_to(point->step, last);
        close_to(point->loss, last - 1);
        close_to(point->tokens_per_s, 75); // three steps in 1 + 1 + 2 times as long
        close_to(point->compute_s.min, 1e-5 * (last - 2));
        close_to(point->compute_s.max, 1e-5 * last + 1e-6);
        close_to(point->compute_s.mean, 1e-5 * (last - 1) + 0.5e-6);
        // A straight line stays one, where the ends are far.
        if (i >= data.points_n / 4 && i < data.points_n / 2) close_to(point->smooth_loss, last - 1);
    }
    assert_int_equal(data.ranks_steps, STEPS);
    canto_plot_free(&data);
}

// Eight points and three on either side: an end loses those beyond it, and no more.
static void windows_are_cut_on_one_side(void **state)
{
    run_dir *run = *state;
    static const double want[] = {2.5, 3, 3.5, 4, 5, 5.5, 6, 6.5}; // means of 1..4, 1..5, .. 5..8
    for (int step = 1; step <= 8; step++)
        line(run, "{\"step\": %d, \"bits_per_byte\": %d, \"tokens_per_s\": 9}", step, step);
    canto_plot_data data = read_all(run);
    assert_int_equal(data.points_n, 8);
    for (int i = 0; i < 8; i++) close_to(data.points[i].smooth_loss, want[i]);
    canto_plot_free(&data);
}

static void expect_margin(run_dir *run, double tokens_per_s, const char *margin)
{
    canto_plot_point point = {.tokens_per_s = tokens_per_s};
    const canto_plot_data data = {.points_n = 1, .points = &point};
    static const char *const files[] = {"steps.csv", "evaluations.csv", "ranks.csv", "plots.gp"};
    char path[512], script[8192];
    CANTO_TEST_OK(canto_plot_write(&data, "run", run->path));
    snprintf(path, sizeof path, "%s/plots.gp", run->path);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    script[fread(script, 1, sizeof script - 1, file)] = '\0';
    fclose(file);
    assert_non_null(strstr(strstr(script, "tokens per second"), margin));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", run->path, files[i]);
        assert_int_equal(unlink(path), 0);
    }
}

// The label of the axis stands left of the numbers.
static void long_numbers_have_room(void **state)
{
    run_dir *run = *state;
    assert_int_equal(fclose(run->file), 0);
    expect_margin(run, 9000, "set lmargin 11\n");
    expect_margin(run, 250000, "set lmargin 12\n");
    expect_margin(run, 12e6, "set lmargin 14\n");
}

static void nothing_to_draw_is_told(void **state)
{
    run_dir *run = *state;
    canto_plot_data data;
    line(run, "{\"step\": 0, \"event\": \"start\"}");
    assert_int_equal(fclose(run->file), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "metrics.jsonl holds no step yet",
                     canto_plot_read(run->path, &data));
    canto_plot_free(&data);
    CANTO_TEST_FAILS(CANTO_ERROR_IO,
                     "/nowhere/run holds no run: /nowhere/run/metrics.jsonl: No such file",
                     canto_plot_read("/nowhere/run", &data));
    canto_plot_free(&data);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(steps_and_evaluations_are_told_apart),
        WITH_DIR(losses_of_tokens_are_drawn_in_nats),
        WITH_DIR(times_of_the_latest_ranks_are_averaged),
        WITH_DIR(summed_up_times_and_broken_ones),
        WITH_DIR(many_steps_are_drawn_as_means),
        WITH_DIR(windows_are_cut_on_one_side),
        WITH_DIR(long_numbers_have_room),
        WITH_DIR(nothing_to_draw_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
