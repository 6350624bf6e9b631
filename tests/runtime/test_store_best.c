// The best checkpoints: which are marked, that retention leaves them, and that marks change as a
// whole, whatever happens.
#include "tests/runtime/store_case.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    canto_comm *comm;
    char dir[256];
} fixture;

static int setup(void **state)
{
    static fixture f;
    if (canto_comm_self_open(&f.comm) != CANTO_OK) return -1;
    store_case_directory(f.dir);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    store_case_remove(f->dir);
    canto_comm_destroy(&f->comm);
    return 0;
}

static void save(fixture *f, int64_t step, int keep_last)
{
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, step, STORE_CASE_EVEN, keep_last));
}

static bool mark(fixture *f, int64_t step, double loss, int keep_best, int keep_last)
{
    bool best;
    const canto_store_mark made = {step, loss, 1000};
    CANTO_TEST_OK(canto_store_mark_best(f->dir, &made, keep_best, keep_last, &best));
    return best;
}

// "2 1": the marked steps, best first; "|": after it the committed steps, ascending.
static void expect(fixture *f, const char *expected)
{
    char text[256] = "";
    canto_store_marks marks;
    canto_store_entry entries[16];
    int n;
    CANTO_TEST_OK(canto_store_best(f->dir, &marks));
    CANTO_TEST_OK(canto_store_list(f->dir, 16, entries, &n));
    for (int i = 0; i < marks.n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "%d ", (int)marks.list[i].step);
    strcat(text, "|");
    for (int i = 0; i < n; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), " %d", (int)entries[i].step);
    assert_string_equal(text, expected);
}

static void test_the_best_outlives_newer_ones(void **state)
{
    fixture *f = *state;
    expect(f, "|");
    const double losses[] = {3, 1, 2, 1.5, 0.5, 0.75};
    const bool is_best[] = {true, true, false, false, true, false};
    const char *const after[] = {"1 | 1", "2 | 1 2", "2 | 2 3", "2 | 2 3 4", "5 | 4 5", "5 | 5 6"};
    for (int i = 0; i < 6; i++) {
        save(f, i + 1, 2);
        assert_int_equal(mark(f, i + 1, losses[i], 1, 2), is_best[i]);
        expect(f, after[i]);
    }
}

static void test_several_best(void **state)
{
    fixture *f = *state;
    const double losses[] = {3, 1, 2, 1, 4};
    for (int i = 0; i < 5; i++) {
        save(f, i + 1, 1);
        mark(f, i + 1, losses[i], 3, 1);
    }
    expect(f, "2 4 3 | 2 3 4 5"); // of equal losses the earlier one stays ahead
    mark(f, 5, 0.5, 2, 1);        // evaluated again
    expect(f, "5 2 | 2 5");
    mark(f, 5, 0.5, 0, 1);
    expect(f, "| 5");
}

// A worse step than all of a full list changes nothing. Directories stand for the steps.
static void test_full(void **state)
{
    fixture *f = *state;
    canto_store_marks marks;
    char path[300];
    assert_true(mkdir(f->dir, 0700) == 0 || errno == EEXIST);
    for (int step = 1; step <= CANTO_STORE_MARKS_MAX + 1; step++) {
        snprintf(path, sizeof path, "%s/step-%08d", f->dir, step);
        assert_int_equal(mkdir(path, 0700), 0);
        mark(f, step, step, CANTO_STORE_MARKS_MAX, 0);
    }
    CANTO_TEST_OK(canto_store_best(f->dir, &marks));
    assert_int_equal(marks.n, CANTO_STORE_MARKS_MAX);
    assert_int_equal(marks.evaluated, CANTO_STORE_MARKS_MAX + 1);
    for (int i = 0; i < marks.n; i++) assert_int_equal(marks.list[i].step, i + 1);
    mark(f, 1, 0.5, 1, 0); // fewer are asked for, and the new one is the best
    CANTO_TEST_OK(canto_store_best(f->dir, &marks));
    assert_int_equal(marks.n, 1);
}

static void test_other_bytes_are_not_compared(void **state)
{
    fixture *f = *state;
    bool best;
    save(f, 1, 1);
    mark(f, 1, 0.25, 1, 1);
    save(f, 2, 1);
    const canto_store_mark more = {2, 0.5, 2000};
    CANTO_TEST_OK(canto_store_mark_best(f->dir, &more, 1, 1, &best));
    assert_true(best);
    expect(f, "2 | 2");
}

// A run that goes back forgets what it will do again, and what is not there counts as not marked.
static void test_going_back(void **state)
{
    fixture *f = *state;
    canto_store_marks marks;
    for (int step = 1; step <= 3; step++) {
        save(f, step, 0);
        mark(f, step, step == 2 ? 1 : 2, 2, 0);
    }
    expect(f, "2 1 | 1 2 3");
    CANTO_TEST_OK(canto_store_set_aside(f->dir, 1, NULL, NULL));
    expect(f, "1 | 1");
    CANTO_TEST_OK(canto_store_best(f->dir, &marks));
    assert_int_equal(marks.evaluated, 1);
    save(f, 2, 0);
    mark(f, 2, 0.5, 2, 0);
    char path[512];
    snprintf(path, sizeof path, "%s/step-00000002", f->dir);
    char aside[600];
    snprintf(aside, sizeof aside, "%s.away", path);
    assert_int_equal(rename(path, aside), 0);
    expect(f, "1 | 1");
    assert_int_equal(rename(aside, path), 0);
    expect(f, "2 1 | 1 2");
}

// Every byte that differs is noticed; then nothing is removed, and nothing else is hindered.
static void test_damage(void **state)
{
    fixture *f = *state;
    char path[512];
    size_t bytes;
    canto_store_marks marks;
    save(f, 1, 1);
    mark(f, 1, 1, 1, 1);
    snprintf(path, sizeof path, "%s/best", f->dir);
    char *text = store_case_read_file(path, &bytes);
    for (size_t i = 0; i < bytes; i++) {
        text[i] ^= 1;
        store_case_write_file(path, text, bytes);
        CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "best is damaged",
                         canto_store_best(f->dir, &marks));
        text[i] ^= 1;
    }
    store_case_write_file(path, text, bytes / 2);
    free(text);
    save(f, 2, 1);
    save(f, 3, 1);
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 3);
    bool best;
    const canto_store_mark made = {3, 2, 1000};
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "no checkpoint is removed",
                     canto_store_mark_best(f->dir, &made, 1, 1, &best));
    CANTO_TEST_OK(canto_store_verify(f->dir, 1));
    assert_int_equal(unlink(path), 0);
    mark(f, 3, 2, 1, 1);
    expect(f, "3 | 3");
}

#define BEST_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BEST_TEST(test_the_best_outlives_newer_ones),
        BEST_TEST(test_several_best),
        BEST_TEST(test_full),
        BEST_TEST(test_other_bytes_are_not_compared),
        BEST_TEST(test_going_back),
        BEST_TEST(test_damage),
    };
    return cmocka_run_group_tests_name("runtime.store_best", tests, NULL, NULL);
}
