// The store under a system that fails at its N-th call, for every N: the process dies, the call
// reports an error, is interrupted, is cut short, or lies; and memory runs out.
//
// The program is linked with --wrap for the calls below, so that nothing in the store knows of it.
#define _GNU_SOURCE
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

// --- the failing system ---

typedef enum {
    FAULT_NONE,
    FAULT_DIE,      // the process ends before the call
    FAULT_DIE_HALF, // a write takes half of its bytes first
    FAULT_ERROR,    // this call fails
    FAULT_ERRORS,   // this call and all later ones fail
    FAULT_LIE,      // a write reports success and takes nothing
    FAULT_TROUBLE,  // every write takes at most 7 bytes, and every other call of write, fsync and
                    // pread is interrupted
} fault_kind;

static struct {
    fault_kind kind;
    int at;    // the N
    int error; // errno
    int calls; // since it was armed
    int hits;
    bool memory; // calls are allocations, else system calls
} fault;

static void arm(fault_kind kind, int at, int error)
{
    fault.kind = kind;
    fault.at = at;
    fault.error = error;
    fault.calls = 0;
    fault.hits = 0;
    fault.memory = false;
}

static void arm_memory(int at)
{
    arm(FAULT_ERROR, at, ENOMEM);
    fault.memory = true;
}

static bool disarm(void)
{
    fault.kind = FAULT_NONE;
    return fault.hits > 0;
}

// What a save syncs and renames, in order: "sync latest.tmp.*; rename to latest; ...".
static struct {
    bool on;
    char text[2048];
} journal;

static void record(const char *what, const char *path)
{
    if (!journal.on) return;
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    const char *tmp = strstr(name, ".tmp.");
    int shown = (int)(tmp ? tmp - name + 4 : (ssize_t)strlen(name)); // without the random id
    size_t used = strlen(journal.text);
    snprintf(journal.text + used, sizeof journal.text - used, "%s %.*s; ", what,
             strncmp(name, "canto-store-", 12) == 0 ? 11 : shown, name);
}

// Whether this call has to fail; errno is set then.
static bool hit(bool memory)
{
    if (fault.kind == FAULT_NONE || fault.memory != memory) return false;
    fault.calls++;
    bool now = fault.kind == FAULT_ERRORS ? fault.calls >= fault.at : fault.calls == fault.at;
    if (!now) return false;
    fault.hits++;
    if (fault.kind == FAULT_DIE) _exit(99);
    errno = fault.error;
    return fault.kind == FAULT_ERROR || fault.kind == FAULT_ERRORS;
}

static bool interrupted(void)
{
    if (fault.kind != FAULT_TROUBLE || ++fault.calls % 2 == 0) return false;
    fault.hits++;
    errno = EINTR;
    return true;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    return hit(false) ? -1 : __real_open(path, flags, 0666);
}

ssize_t __real_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    int before = fault.hits;
    if (interrupted() || (fault.kind != FAULT_TROUBLE && hit(false))) return -1;
    if (fault.kind == FAULT_TROUBLE) return __real_write(fd, data, bytes < 7 ? bytes : 7);
    if (fault.hits == before) return __real_write(fd, data, bytes);
    if (fault.kind == FAULT_DIE_HALF) {
        ssize_t n = __real_write(fd, data, bytes / 2);
        _exit(n >= 0 ? 99 : 1);
    }
    return (ssize_t)bytes; // FAULT_LIE
}

ssize_t __real_pread(int fd, void *data, size_t bytes, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t bytes, off_t offset)
{
    if (interrupted() || (fault.kind != FAULT_TROUBLE && hit(false))) return -1;
    return __real_pread(fd, data, bytes, offset);
}

// Nothing here survives a loss of power, so the disk need not be waited for.
int __wrap_fsync(int fd)
{
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = '\0';
    record("sync", path);
    return interrupted() || (fault.kind != FAULT_TROUBLE && hit(false)) ? -1 : 0;
}

// Linux gives the descriptor back even when close fails.
int __real_close(int fd);
int __wrap_close(int fd)
{
    bool fails = hit(false);
    int error = errno;
    int result = __real_close(fd);
    errno = error;
    return fails ? -1 : result;
}

#define WRAP(name, parameters, arguments)                                                          \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        return hit(false) ? -1 : __real_##name arguments;                                          \
    }
WRAP(mkdir, (const char *path, mode_t mode), (path, mode))
WRAP(rmdir, (const char *path), (path))
WRAP(unlink, (const char *path), (path))
WRAP(unlinkat, (int dir, const char *name, int flags), (dir, name, flags))
WRAP(lstat, (const char *path, struct stat *info), (path, info))
WRAP(fstat, (int fd, struct stat *info), (fd, info))

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to)
{
    record("rename to", to);
    return hit(false) ? -1 : __real_rename(from, to);
}

DIR *__real_opendir(const char *path);
DIR *__wrap_opendir(const char *path)
{
    return hit(false) ? NULL : __real_opendir(path);
}

void *__real_malloc(size_t bytes);
void *__wrap_malloc(size_t bytes)
{
    return hit(true) ? NULL : __real_malloc(bytes);
}

void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes)
{
    return hit(true) ? NULL : __real_calloc(n, bytes);
}

void *__real_realloc(void *old, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes)
{
    return hit(true) ? NULL : __real_realloc(old, bytes);
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
    return hit(true) ? NULL : __real_strdup(text);
}

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
        arm(kind, at, 0);
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
    journal.text[0] = '\0';
    journal.on = true;
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1));
    journal.on = false;
    char *trash = strstr(journal.text, "rename to .trash-step-00000001.");
    assert_non_null(trash);
    *trash = '\0';
    assert_string_equal(journal.text, "sync shard-0000-of-0001.h5; "
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
    arm(kind, at, error);
    canto_status status = store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1);
    bool failed = disarm();
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
        arm(FAULT_LIE, n, 0);
        canto_status status = CANTO_OK;
        // Only a write can lie: other calls are counted, and carried out.
        status = store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1);
        disarm();
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
    arm(FAULT_TROUBLE, 0, 0);
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1));
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 2);
    assert_true(disarm());
    end_round(f, 2, 2);
}

static bool load_fails_at(fixture *f, int at, bool memory)
{
    canto_store_reader *reader;
    char data[STORE_CASE_BYTES_MAX];
    const store_case_tensor *t = &store_case_tensors[0];
    int before = descriptors();
    memory ? arm_memory(at) : arm(FAULT_ERROR, at, EIO);
    canto_status status = canto_store_open(f->comm, f->dir, 2, NULL, NULL, &reader);
    if (status == CANTO_OK) {
        status = canto_store_read(reader, t->name, t->dtype, t->dims_n, t->dims, 0, 15, data);
    }
    bool failed = disarm();
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
    arm_memory(at);
    canto_status status = store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1);
    bool failed = disarm();
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
        STORE_TEST(test_reading_fails),
        STORE_TEST(test_memory_runs_out),
    };
    return cmocka_run_group_tests_name("runtime.store_faults", tests, NULL, NULL);
}
