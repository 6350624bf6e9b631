// metrics.jsonl: numbers come back to the same bits, records beyond a step are set aside once, a
// truncated last line hurts nothing.
#define _DEFAULT_SOURCE
#include "launch/metrics.h"
#include "launch/trainer.h"
#include "tests/canto_test.h"

#include <float.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct run_dir {
    char path[64], metrics[128], discarded[128];
} run_dir;

static int set_up(void **state)
{
    run_dir *run = calloc(1, sizeof *run);
    *state = run;
    strcpy(run->path, "/tmp/canto_metrics_XXXXXX");
    if (!run || !mkdtemp(run->path)) return -1;
    snprintf(run->metrics, sizeof run->metrics, "%s/metrics.jsonl", run->path);
    snprintf(run->discarded, sizeof run->discarded, "%s/metrics.discarded.jsonl", run->path);
    return 0;
}

static int tear_down(void **state)
{
    run_dir *run = *state;
    unlink(run->metrics);
    unlink(run->discarded);
    int failed = rmdir(run->path); // fails if anything else was left there
    free(run);
    return failed;
}

static canto_metrics_step record_of(int64_t step)
{
    return (canto_metrics_step){.step = step,
                                .loss = 1.0 / (double)(step + 2),
                                .text = true,
                                .grad_norm = sqrt((double)step),
                                .lr = 1e-3 / 3,
                                .tokens = 4096,
                                .step_s = 0.25,
                                .comm_wait_s = 0.01,
                                .bytes_sent = (int64_t)1 << 40,
                                .ranks = 3};
}

static void open_at(const run_dir *run, int64_t step, int64_t moved_expected, canto_metrics *out)
{
    int64_t moved;
    CANTO_TEST_OK(canto_metrics_open(run->path, step, out, &moved));
    assert_int_equal(moved, moved_expected);
}

static void write_steps(const canto_metrics *metrics, int64_t first, int64_t last)
{
    for (int64_t step = first; step <= last; step++) {
        canto_metrics_step record = record_of(step);
        CANTO_TEST_OK(canto_metrics_write_step(metrics, &record));
    }
}

static void append_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "a");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
}

// The steps of a file's records in order, 0 for anything else: "1 2 0 3 ".
static void steps_of(const char *path, char *out, size_t bytes)
{
    FILE *file = fopen(path, "r");
    size_t n = 0;
    out[0] = '\0';
    for (char line[2048]; file && fgets(line, sizeof line, file);) {
        json_t *object = json_loads(line, 0, NULL);
        int64_t step = json_integer_value(json_object_get(object, "step"));
        n += (size_t)snprintf(out + n, bytes - n, "%lld ", (long long)step);
        json_decref(object);
    }
    if (file) fclose(file);
}

static void assert_steps(const char *path, const char *expected)
{
    char steps[512];
    steps_of(path, steps, sizeof steps);
    assert_string_equal(steps, expected);
}

// --- writing and reading ---

typedef struct seen {
    int64_t records, events;
    json_t *last;
} seen;

static void see(void *context, const json_t *record)
{
    seen *s = context;
    s->records++;
    s->events += json_object_get(record, "event") != NULL;
    json_decref(s->last);
    s->last = json_deep_copy(record);
}

static uint64_t bits_in(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));
    assert_non_null(text);
    assert_int_equal(strlen(text), 18);
    return strtoull(text, NULL, 16);
}

static void assert_same_bits(const json_t *record, const char *key, double expected)
{
    double value = json_real_value(json_object_get(record, key));
    assert_memory_equal(&value, &expected, sizeof value);
}

static void numbers_come_back_to_the_same_bits(void **state)
{
    run_dir *run = *state;
    static const double values[] = {1.0 / 3, DBL_MIN / 8, DBL_MAX / 2, 0.1 + 0.2,
                                    5.545177444479562};
    canto_metrics metrics;
    open_at(run, 0, 0, &metrics);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        canto_metrics_step record = record_of(7);
        record.loss = values[i];
        record.grad_norm = -values[i];
        CANTO_TEST_OK(canto_metrics_write_step(&metrics, &record));
        seen s = {0};
        int64_t skipped;
        CANTO_TEST_OK(canto_metrics_read(run->path, see, &s, &skipped));
        assert_int_equal(s.records, i + 1);
        assert_int_equal(skipped, 0);
        uint64_t loss = bits_in(s.last, "loss_bits"), norm = bits_in(s.last, "grad_norm_bits");
        assert_memory_equal(&loss, &record.loss, sizeof loss);
        assert_memory_equal(&norm, &record.grad_norm, sizeof norm);
        assert_same_bits(s.last, "loss", record.loss);
        assert_same_bits(s.last, "grad_norm", record.grad_norm);
        assert_same_bits(s.last, "lr", record.lr);
        assert_same_bits(s.last, "bits_per_byte", record.loss / log(2));
        assert_same_bits(s.last, "tokens_per_s", 16384);
        assert_int_equal(json_integer_value(json_object_get(s.last, "bytes_sent")),
                         (int64_t)1 << 40);
        assert_int_equal(json_integer_value(json_object_get(s.last, "ranks")), 3);
        assert_true(json_number_value(json_object_get(s.last, "time")) > 1e9);
        json_decref(s.last);
    }
    canto_metrics_close(&metrics);
}

static void tokens_that_are_no_bytes_have_no_bits_per_byte(void **state)
{
    run_dir *run = *state;
    canto_metrics metrics;
    open_at(run, 0, 0, &metrics);
    canto_metrics_step record = record_of(7);
    record.text = false;
    CANTO_TEST_OK(canto_metrics_write_step(&metrics, &record));
    seen s = {0};
    int64_t skipped;
    CANTO_TEST_OK(canto_metrics_read(run->path, see, &s, &skipped));
    assert_null(json_object_get(s.last, "bits_per_byte"));
    assert_same_bits(s.last, "loss", record.loss);
    json_decref(s.last);
    canto_metrics_close(&metrics);
    json_t *text = canto_metrics_evaluation(3, 2.5, 1000, true);
    assert_same_bits(text, "bits_per_byte", 2.5 / log(2));
    assert_int_equal(json_integer_value(json_object_get(text, "bytes")), 1000);
    json_t *tokens = canto_metrics_evaluation(3, 2.5, 1000, false);
    assert_same_bits(tokens, "perplexity", exp(2.5));
    assert_int_equal(json_integer_value(json_object_get(tokens, "tokens")), 1000);
    assert_null(json_object_get(tokens, "bits_per_byte"));
    json_decref(text);
    json_decref(tokens);
    assert_null(canto_metrics_evaluation(3, NAN, 1000, false));
}

// --- times of ranks ---

enum { RANKS_MAX = CANTO_METRICS_RANKS_MAX + 1 };

// Rank r computes for r + 1 ms, and waits for as long as the slowest needs.
static json_t *write_times(const run_dir *run, int ranks)
{
    canto_step_figures figures[RANKS_MAX] = {0};
    for (int r = 0; r < ranks; r++) {
        figures[r].compute_s = 1e-3 * (r + 1);
        figures[r].wait_s = 1e-3 * (ranks - r - 1) + 1e-7;
    }
    canto_metrics metrics;
    canto_metrics_step record = record_of(1);
    record.ranks = ranks;
    record.figures = figures;
    open_at(run, 0, 0, &metrics);
    CANTO_TEST_OK(canto_metrics_write_step(&metrics, &record));
    canto_metrics_close(&metrics);
    seen s = {0};
    int64_t skipped;
    CANTO_TEST_OK(canto_metrics_read(run->path, see, &s, &skipped));
    assert_int_equal(skipped, 0);
    unlink(run->metrics);
    return s.last;
}

static int64_t number_in(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static void times_of_few_ranks_are_written_one_by_one(void **state)
{
    for (int ranks = 1; ranks < RANKS_MAX; ranks += 21) {
        json_t *record = write_times(*state, ranks);
        const json_t *compute = json_object_get(record, "compute_us");
        const json_t *wait = json_object_get(record, "wait_us");
        assert_int_equal(json_array_size(compute), ranks);
        assert_int_equal(json_array_size(wait), ranks);
        for (int r = 0; r < ranks; r++) {
            assert_int_equal(json_integer_value(json_array_get(compute, (size_t)r)),
                             1000 * (r + 1));
            assert_int_equal(json_integer_value(json_array_get(wait, (size_t)r)),
                             1000 * (ranks - r - 1));
        }
        json_decref(record);
    }
}

static void times_of_many_ranks_are_summed_up(void **state)
{
    json_t *record = write_times(*state, RANKS_MAX);
    const json_t *compute = json_object_get(record, "compute_us");
    const json_t *wait = json_object_get(record, "wait_us");
    assert_int_equal(number_in(compute, "min"), 1000);
    assert_int_equal(number_in(compute, "mean"), 500 * (RANKS_MAX + 1));
    assert_int_equal(number_in(compute, "max"), 1000 * RANKS_MAX);
    assert_int_equal(number_in(compute, "slowest"), RANKS_MAX - 1);
    assert_int_equal(number_in(wait, "max"), 1000 * (RANKS_MAX - 1));
    assert_int_equal(number_in(wait, "slowest"), 0);
    json_decref(record);
}

static void what_is_not_finite_is_refused(void **state)
{
    run_dir *run = *state;
    canto_metrics metrics;
    open_at(run, 0, 0, &metrics);
    canto_metrics_step record = record_of(4);
    record.loss = NAN;
    CANTO_TEST_FAILS(CANTO_ERROR_NUMBERS, "step 4", canto_metrics_write_step(&metrics, &record));
    CANTO_TEST_FAILS(
        CANTO_ERROR_NUMBERS, "event eval",
        canto_metrics_write_event(&metrics, "eval", json_pack("{s:f}", "loss", INFINITY)));
    canto_metrics_close(&metrics);
    assert_steps(run->metrics, "");
}

static void events_carry_their_name_and_fields(void **state)
{
    run_dir *run = *state;
    canto_metrics metrics;
    open_at(run, 0, 0, &metrics);
    CANTO_TEST_OK(
        canto_metrics_write_event(&metrics, "save", json_pack("{s:I}", "step", (json_int_t)12)));
    canto_metrics_close(&metrics);
    canto_metrics_close(&metrics); // also of a closed one
    append_text(run->metrics, "no json\n[1, 2]\n{\"step\": 13, \"lo");
    seen s = {0};
    int64_t skipped;
    CANTO_TEST_OK(canto_metrics_read(run->path, see, &s, &skipped));
    assert_int_equal(s.records, 1);
    assert_int_equal(s.events, 1);
    assert_int_equal(skipped, 3);
    assert_string_equal(json_string_value(json_object_get(s.last, "event")), "save");
    assert_int_equal(json_integer_value(json_object_get(s.last, "step")), 12);
    assert_true(json_number_value(json_object_get(s.last, "time")) > 1e9);
    json_decref(s.last);
}

// --- continuing ---

static void records_beyond_the_step_are_set_aside_once(void **state)
{
    run_dir *run = *state;
    canto_metrics metrics;
    open_at(run, 0, 0, &metrics);
    write_steps(&metrics, 1, 6);
    CANTO_TEST_OK(
        canto_metrics_write_event(&metrics, "save", json_pack("{s:I}", "step", (json_int_t)6)));
    write_steps(&metrics, 7, 9);
    canto_metrics_close(&metrics);
    open_at(run, 6, 3, &metrics);
    assert_steps(run->metrics, "1 2 3 4 5 6 6 ");
    assert_steps(run->discarded, "7 8 9 ");
    write_steps(&metrics, 7, 8);
    canto_metrics_close(&metrics);
    open_at(run, 8, 0, &metrics);
    canto_metrics_close(&metrics);
    assert_steps(run->metrics, "1 2 3 4 5 6 6 7 8 ");
    assert_steps(run->discarded, "7 8 9 ");
    open_at(run, 0, 9, &metrics);
    canto_metrics_close(&metrics);
    assert_steps(run->metrics, "");
    assert_steps(run->discarded, "7 8 9 1 2 3 4 5 6 6 7 8 ");
}

static void nothing_to_set_aside_leaves_no_second_file(void **state)
{
    run_dir *run = *state;
    canto_metrics metrics;
    open_at(run, 0, 0, &metrics);
    write_steps(&metrics, 1, 3);
    canto_metrics_close(&metrics);
    open_at(run, 3, 0, &metrics);
    write_steps(&metrics, 4, 4);
    canto_metrics_close(&metrics);
    assert_steps(run->metrics, "1 2 3 4 ");
    assert_int_equal(access(run->discarded, F_OK), -1);
}

// A killed run's half line is set aside, so that the next record starts on a line of its own.
static void a_truncated_last_line_is_set_aside(void **state)
{
    run_dir *run = *state;
    canto_metrics metrics;
    open_at(run, 0, 0, &metrics);
    write_steps(&metrics, 1, 3);
    canto_metrics_close(&metrics);
    append_text(run->metrics, "{\"step\":4,\"loss\":0.12");
    open_at(run, 3, 1, &metrics);
    write_steps(&metrics, 4, 4);
    canto_metrics_close(&metrics);
    assert_steps(run->metrics, "1 2 3 4 ");
    append_text(run->metrics, "{\"step\":5}"); // whole, but for its newline
    open_at(run, 5, 1, &metrics);
    canto_metrics_close(&metrics);
    assert_steps(run->metrics, "1 2 3 4 ");
    assert_steps(run->discarded, "0 5 ");
}

// --- refusals ---

static void a_directory_that_cannot_be_written_is_refused(void **state)
{
    run_dir *run = *state;
    canto_metrics metrics;
    int64_t moved;
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "/nowhere/run/metrics.jsonl: No such file",
                     canto_metrics_open("/nowhere/run", 0, &metrics, &moved));
    assert_int_equal(metrics.file, -1);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "/nowhere/run/metrics.jsonl",
                     canto_metrics_read("/nowhere/run", see, NULL, &moved));
    // A directory in the place of the file stops every user, the superuser too.
    assert_int_equal(mkdir(run->metrics, 0777), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "Is a directory",
                     canto_metrics_open(run->path, 0, &metrics, &moved));
    assert_int_equal(rmdir(run->metrics), 0);
}

static void a_full_disk_is_told(void **state)
{
    (void)state;
    FILE *full = fopen("/dev/full", "w");
    if (!full) skip();
    canto_metrics metrics = {.file = fileno(full)};
    canto_metrics_step record = record_of(1);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "cannot append: No space left",
                     canto_metrics_write_step(&metrics, &record));
    fclose(full);
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(numbers_come_back_to_the_same_bits),
        WITH_DIR(times_of_few_ranks_are_written_one_by_one),
        WITH_DIR(times_of_many_ranks_are_summed_up),
        WITH_DIR(tokens_that_are_no_bytes_have_no_bits_per_byte),
        WITH_DIR(what_is_not_finite_is_refused),
        WITH_DIR(events_carry_their_name_and_fields),
        WITH_DIR(records_beyond_the_step_are_set_aside_once),
        WITH_DIR(nothing_to_set_aside_leaves_no_second_file),
        WITH_DIR(a_truncated_last_line_is_set_aside),
        WITH_DIR(a_directory_that_cannot_be_written_is_refused),
        cmocka_unit_test(a_full_disk_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
