// The store under a system that fails at its N-th call, for every N (tests/runtime/faulty.h).
#define _GNU_SOURCE
#include "tests/runtime/faulty.h"
#include "tests/runtime/store_case.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// --- what must hold afterwards ---

typedef struct {
    canto_comm *comm;
    char dir[256];
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f || canto_comm_self_open(&f->comm) != CANTO_OK) return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    canto_comm_destroy(&f->comm);
    free(f);
    return 0;
}

static int entries_of(const char *path)
{
    int n = 0;
    DIR *entries = opendir(path);
    while (readdir(entries)) n++;
    closedir(entries);
    return n - 2;
}

// A fresh directory with generation 1 in it.
static void start_round(fixture *f)
{
    store_case_directory(f->dir);
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 1, STORE_CASE_EVEN, 1));
}

static void expect_latest_is_good(const fixture *f)
{
    char path[512], *text;
    size_t bytes;
    int step;
    snprintf(path, sizeof path, "%s/latest", f->dir);
    if (access(path, F_OK) != 0) return;
    text = store_case_read_file(path, &bytes);
    assert_int_equal(sscanf(text, "step-%d\n", &step), 1);
    CANTO_TEST_OK(canto_store_verify(f->dir, step));
    free(text);
}

// The newest checkpoint verifies and is generation `low` or `high`, bit by bit; then generation 3
// is saved, and nothing is left over of what went wrong.
static void end_round(fixture *f, int low, int high)
{
    canto_error_clear();
    expect_latest_is_good(f);
    int64_t newest = store_case_load(f->comm, f->dir, -1);
    if (newest != low && newest != high) fail_msg("generation %d is the newest", (int)newest);
    CANTO_TEST_OK(canto_store_verify(f->dir, newest));
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 3, STORE_CASE_ODD, 1));
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 3);
    assert_int_equal(entries_of(f->dir), 2); // the step and latest
    expect_latest_is_good(f);
    store_case_remove(f->dir);
}

// --- tests ---

// Returns false once the save ended before its N-th call.
static bool die_at(fixture *f, fault_kind kind, int at)
{
    start_round(f);
    pid_t child = fork();
    if (child == 0) {
        faulty_arm(kind, at, 0);
        _exit(store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1) == CANTO_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_true(WEXITSTATUS(status) == 99 || WEXITSTATUS(status) == 0);
    bool died = WEXITSTATUS(status) == 99;
    end_round(f, died ? 1 : 2, 2);
    return died;
}

// Every thing is on disk before another names it, and the old generation goes last.
static void test_order(void **state)
{
    fixture *f = *state;
    start_round(f);
    faulty_journal_start();
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1));
    char *journal = faulty_journal_stop();
    char *trash = strstr(journal, "rename to .trash-step-00000001.");
    assert_non_null(trash);
    *trash = '\0';
    assert_string_equal(journal, "sync shard-0000-of-0001.h5; "
                                 "sync manifest.json.tmp; "
                                 "rename to manifest.json; "
                                 "sync latest.tmp; "
                                 "sync step-00000002.tmp; "
                                 "rename to step-00000002; "
                                 "sync canto-store; "
                                 "rename to latest; "
                                 "sync canto-store; ");
    end_round(f, 2, 2);
}

static void test_killed_before_every_call(void **state)
{
    int n = 1;
    while (die_at(*state, FAULT_DIE, n)) n++;
    assert_true(n > 30); // the wrapping works: a save makes that many calls
}

static void test_killed_within_every_write(void **state)
{
    int deaths = 0;
    for (int n = 1; n <= 60; n++) deaths += die_at(*state, FAULT_DIE_HALF, n);
    assert_int_equal(deaths, 3); // shard, manifest, latest
}

static int descriptors(void)
{
    return entries_of("/proc/self/fd");
}

static bool fail_at(fixture *f, fault_kind kind, int at, int error)
{
    start_round(f);
    int before = descriptors();
    faulty_arm(kind, at, error);
    canto_status status = store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1);
    bool failed = faulty_disarm();
    assert_int_equal(descriptors(), before);
    assert_true(status == CANTO_OK || failed);
    assert_true(status == CANTO_OK || canto_error_message()[0] != '\0');
    // One error: reported, and the old generation is the newest; or harmless, and the new one is.
    // From a disk that fails for good a published step cannot be taken back: complete all the same.
    if (kind == FAULT_ERROR) end_round(f, status == CANTO_OK ? 2 : 1, status == CANTO_OK ? 2 : 1);
    if (kind != FAULT_ERROR) end_round(f, status == CANTO_OK ? 2 : 1, 2);
    return failed;
}

static void test_error_of_every_call(void **state)
{
    const int errors[] = {ENOSPC, EIO};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        int n = 1;
        while (fail_at(*state, FAULT_ERROR, n, errors[i])) n++;
        assert_true(n > 30);
    }
}

static void test_error_from_every_call_on(void **state)
{
    int n = 1;
    while (fail_at(*state, FAULT_ERRORS, n, EIO)) n++;
}

static void test_disk_that_lies(void **state)
{
    fixture *f = *state;
    int lies = 0;
    for (int n = 1; n <= 60; n++) {
        start_round(f);
        faulty_arm(FAULT_LIE, n, 0);
        canto_status status = CANTO_OK;
        // Only a write can lie: other calls are counted, and carried out.
        status = store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1);
        faulty_disarm();
        if (status != CANTO_OK) {
            lies++;
            assert_non_null(strstr(canto_error_message(), "the disk lost some"));
        }
        end_round(f, status == CANTO_OK ? 2 : 1, status == CANTO_OK ? 2 : 1);
    }
    assert_int_equal(lies, 3);
}

static void test_interrupted_and_short_calls(void **state)
{
    fixture *f = *state;
    start_round(f);
    faulty_arm(FAULT_TROUBLE, 0, 0);
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1));
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 2);
    assert_true(faulty_disarm());
    end_round(f, 2, 2);
}

// --- marks of the best ---

static canto_status mark_step(const fixture *f, int64_t step, double loss)
{
    bool best;
    const canto_store_mark mark = {step, loss, 1000};
    return canto_store_mark_best(f->dir, &mark, 1, 1, &best);
}

static int64_t best_of(const fixture *f)
{
    canto_store_marks marks;
    CANTO_TEST_OK(canto_store_best(f->dir, &marks));
    assert_int_equal(marks.n, 1);
    return marks.list[0].step;
}

// Generation 1 is marked; then generation 2 is saved and not yet marked.
static void start_marks(fixture *f)
{
    start_round(f);
    CANTO_TEST_OK(mark_step(f, 1, 2));
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1));
}

// Either is the best, and it is there; the next mark leaves nothing of what went wrong.
static void end_marks(fixture *f, int low)
{
    canto_error_clear();
    const int64_t best = best_of(f);
    if (best != low && best != 2) fail_msg("step %d is the best", (int)best);
    CANTO_TEST_OK(canto_store_verify(f->dir, best));
    CANTO_TEST_OK(canto_store_verify(f->dir, 2));
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 3, STORE_CASE_EVEN, 1));
    CANTO_TEST_OK(mark_step(f, 3, 0.5));
    assert_int_equal(best_of(f), 3);
    assert_int_equal(entries_of(f->dir), 3); // the step, latest and best
    store_case_remove(f->dir);
}

static bool mark_dies_at(fixture *f, fault_kind kind, int at)
{
    start_marks(f);
    pid_t child = fork();
    if (child == 0) {
        faulty_arm(kind, at, 0);
        _exit(mark_step(f, 2, 1) == CANTO_OK ? 0 : 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    bool died = WEXITSTATUS(status) == 99;
    assert_true(died || WEXITSTATUS(status) == 0);
    end_marks(f, died ? 1 : 2);
    return died;
}

static bool mark_fails_at(fixture *f, fault_kind kind, int at)
{
    start_marks(f);
    int before = descriptors();
    faulty_arm(kind, at, EIO);
    canto_status status = mark_step(f, 2, 1);
    bool failed = faulty_disarm();
    assert_int_equal(descriptors(), before);
    assert_true(status == CANTO_OK || failed);
    end_marks(f, status == CANTO_OK ? 2 : 1);
    return failed;
}

static void test_marks_change_as_a_whole(void **state)
{
    int n = 1, halves = 0;
    while (mark_dies_at(*state, FAULT_DIE, n)) n++;
    assert_true(n > 10);
    for (int i = 1; i < n; i++) halves += mark_dies_at(*state, FAULT_DIE_HALF, i);
    assert_int_equal(halves, 1);
    for (n = 1; mark_fails_at(*state, FAULT_ERROR, n);) n++;
    for (n = 1; mark_fails_at(*state, FAULT_ERRORS, n);) n++;
}

static bool load_fails_at(fixture *f, int at, bool memory)
{
    canto_store_reader *reader;
    char data[STORE_CASE_BYTES_MAX];
    const store_case_tensor *t = &store_case_tensors[0];
    int before = descriptors();
    memory ? faulty_arm_memory(at) : faulty_arm(FAULT_ERROR, at, EIO);
    canto_status status = canto_store_open(f->comm, f->dir, 2, NULL, NULL, &reader);
    if (status == CANTO_OK) {
        status = canto_store_read(reader, t->name, t->dtype, t->dims_n, t->dims, 0, 15, data);
    }
    bool failed = faulty_disarm();
    canto_store_close(&reader);
    assert_int_equal(descriptors(), before);
    assert_true(status == CANTO_OK || failed);
    if (memory && failed) assert_int_equal(status, CANTO_ERROR_MEMORY);
    assert_true(status == CANTO_OK || canto_error_message()[0] != '\0');
    canto_error_clear();
    return failed;
}

static void test_reading_fails(void **state)
{
    fixture *f = *state;
    start_round(f);
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_EVEN, 0));
    int calls = 1, allocations = 1;
    while (load_fails_at(f, calls, false)) calls++;
    while (load_fails_at(f, allocations, true)) allocations++;
    assert_true(calls > 10 && allocations > 10);
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 2);
    end_round(f, 2, 2);
}

static bool memory_fails_at(fixture *f, int at)
{
    start_round(f);
    faulty_arm_memory(at);
    canto_status status = store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1);
    bool failed = faulty_disarm();
    assert_true(status == CANTO_ERROR_MEMORY || status == CANTO_OK);
    assert_true(failed || status == CANTO_OK);
    end_round(f, status == CANTO_OK ? 2 : 1, status == CANTO_OK ? 2 : 1);
    return failed;
}

static void test_memory_runs_out(void **state)
{
    int n = 1;
    while (memory_fails_at(*state, n)) n++;
    assert_true(n > 30);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_order),
        STORE_TEST(test_killed_before_every_call),
        STORE_TEST(test_killed_within_every_write),
        STORE_TEST(test_error_of_every_call),
        STORE_TEST(test_error_from_every_call_on),
        STORE_TEST(test_disk_that_lies),
        STORE_TEST(test_interrupted_and_short_calls),
        STORE_TEST(test_marks_change_as_a_whole),
        STORE_TEST(test_reading_fails),
        STORE_TEST(test_memory_runs_out),
    };
    return cmocka_run_group_tests_name("runtime.store_faults", tests, NULL, NULL);
}
