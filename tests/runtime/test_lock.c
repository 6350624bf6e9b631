// The run directory's lock: who is refused, who is taken over, and that one of several takers wins.
#define _GNU_SOURCE
#include "tests/canto_test.h"

#include "runtime/lock.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct {
    char dir[256];
    char path[300];
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    const char *parent = getenv("TMPDIR");
    snprintf(f->dir, sizeof f->dir, "%.200s/canto-lock-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(f->dir)) return -1;
    snprintf(f->path, sizeof f->path, "%s/lock", f->dir);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    unlink(f->path);
    int left = rmdir(f->dir); // fails when something else was left there
    free(f);
    return left;
}

static bool locked(const fixture *f)
{
    return access(f->path, F_OK) == 0;
}

static void put(const fixture *f, const char *text)
{
    FILE *file = fopen(f->path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void get(const fixture *f, char text[4096])
{
    FILE *file = fopen(f->path, "r");
    assert_non_null(file);
    text[fread(text, 1, 4095, file)] = '\0';
    fclose(file);
}

// Replaces the value of a key in the lock file: the rest of it stays genuine.
static void change(const fixture *f, const char *key, const char *value)
{
    char text[4096], changed[8192], wanted[64];
    get(f, text);
    snprintf(wanted, sizeof wanted, "\"%s\": ", key);
    char *at = strstr(text, wanted);
    assert_non_null(at);
    at += strlen(wanted);
    char *end = at + strcspn(at, ",}");
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, value, end);
    put(f, changed);
}

// --- holders ---

typedef struct {
    pid_t pid;
    int to, from; // pipes
} holder;

static void hold(const fixture *f, int from, int to)
{
    canto_lock lock;
    char takeover[CANTO_MESSAGE_MAX], c = 0;
    bool good = canto_lock_acquire(f->dir, &lock, takeover) == CANTO_OK;
    if (write(to, good ? "y" : "n", 1) != 1) _exit(1);
    if (read(from, &c, 1) == 1 && c == 'r') canto_lock_release(&lock);
    _exit(good ? 0 : 1);
}

// A process that has taken the lock.
static holder start_holder(const fixture *f)
{
    int down[2], up[2];
    char answer;
    assert_int_equal(pipe(down), 0);
    assert_int_equal(pipe(up), 0);
    holder h = {.pid = fork(), .to = down[1], .from = up[0]};
    if (h.pid == 0) {
        close(down[1]);
        hold(f, down[0], up[1]);
    }
    close(down[0]);
    close(up[1]);
    assert_int_equal(read(h.from, &answer, 1), 1);
    assert_int_equal(answer, 'y');
    return h;
}

// release: 'r' gives the lock back first, anything else just ends.
static void end_holder(holder *h, char release)
{
    int status;
    assert_int_equal(write(h->to, &release, 1), 1);
    assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
    close(h->to);
    close(h->from);
}

// --- tests ---

static void test_take_and_release(void **state)
{
    fixture *f = *state;
    canto_lock lock, second;
    char takeover[CANTO_MESSAGE_MAX] = "x";
    CANTO_TEST_OK(canto_lock_acquire(f->dir, &lock, takeover));
    assert_string_equal(takeover, "");
    assert_true(lock.held && locked(f));
    // We are a live owner ourselves.
    char words[64];
    snprintf(words, sizeof words, "in use by process %d on this host", (int)getpid());
    CANTO_TEST_FAILS(CANTO_ERROR_LOCKED, words, canto_lock_acquire(f->dir, &second, takeover));
    assert_false(second.held);
    canto_lock_release(&second);
    assert_true(locked(f));
    canto_lock_release(&lock);
    assert_false(lock.held || locked(f));
    canto_lock_release(&lock);
    canto_lock_release(&(canto_lock){0});
    CANTO_TEST_OK(canto_lock_acquire(f->dir, &lock, takeover));
    canto_lock_release(&lock);
}

static void test_live_owner(void **state)
{
    fixture *f = *state;
    canto_lock lock;
    char takeover[CANTO_MESSAGE_MAX], words[64];
    holder h = start_holder(f);
    snprintf(words, sizeof words, "in use by process %d on this host", (int)h.pid);
    CANTO_TEST_FAILS(CANTO_ERROR_LOCKED, words, canto_lock_acquire(f->dir, &lock, takeover));
    end_holder(&h, 'r');
    CANTO_TEST_OK(canto_lock_acquire(f->dir, &lock, takeover));
    assert_string_equal(takeover, "");
    canto_lock_release(&lock);
}

static void expect_takeover(const fixture *f, pid_t dead)
{
    canto_lock lock;
    char takeover[CANTO_MESSAGE_MAX], words[64];
    snprintf(words, sizeof words, "from process %d, which is dead", (int)dead);
    CANTO_TEST_OK(canto_lock_acquire(f->dir, &lock, takeover));
    assert_non_null(strstr(takeover, words));
    canto_lock_release(&lock);
    assert_false(locked(f));
}

static void test_dead_owner(void **state)
{
    fixture *f = *state;
    holder h = start_holder(f);
    end_holder(&h, 'x');
    assert_true(locked(f));
    expect_takeover(f, h.pid);
    // Killed and not yet waited for: dead all the same.
    h = start_holder(f);
    siginfo_t info;
    kill(h.pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)h.pid, &info, WEXITED | WNOWAIT), 0);
    expect_takeover(f, h.pid);
    waitpid(h.pid, NULL, 0);
    close(h.to);
    close(h.from);
}

// A process of that number lives, but it is another one; or the machine was started again.
static void test_number_used_again(void **state)
{
    fixture *f = *state;
    const char *const changes[][2] = {{"start", "1"}, {"boot", "\"another\""}};
    for (int i = 0; i < 2; i++) {
        canto_lock lock;
        char takeover[CANTO_MESSAGE_MAX];
        CANTO_TEST_OK(canto_lock_acquire(f->dir, &lock, takeover));
        change(f, changes[i][0], changes[i][1]);
        expect_takeover(f, getpid());
    }
}

static void test_other_host(void **state)
{
    fixture *f = *state;
    canto_lock lock, second;
    char takeover[CANTO_MESSAGE_MAX];
    CANTO_TEST_OK(canto_lock_acquire(f->dir, &lock, takeover));
    change(f, "host", "\"far-away\"");
    CANTO_TEST_FAILS(CANTO_ERROR_LOCKED, "on host far-away since",
                     canto_lock_acquire(f->dir, &second, takeover));
    assert_true(locked(f));
}

static void test_not_ours(void **state)
{
    fixture *f = *state;
    const char *const files[] = {"", "hello", "{}", "{\"host\": 3}", "[1, 2", "\xff\xfe"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        canto_lock lock;
        char takeover[CANTO_MESSAGE_MAX];
        put(f, files[i]);
        CANTO_TEST_FAILS(CANTO_ERROR_LOCKED, "is not a lock that this program wrote",
                         canto_lock_acquire(f->dir, &lock, takeover));
        CANTO_TEST_FAILS(CANTO_ERROR_LOCKED, "remove the file",
                         canto_lock_acquire(f->dir, &lock, takeover));
        assert_true(locked(f));
    }
}

static void test_released_only_if_ours(void **state)
{
    fixture *f = *state;
    canto_lock lock;
    char takeover[CANTO_MESSAGE_MAX];
    CANTO_TEST_OK(canto_lock_acquire(f->dir, &lock, takeover));
    change(f, "id", "\"0123456789abcdef0123456789abcdef\"");
    canto_lock_release(&lock);
    assert_true(locked(f));
}

static void test_no_directory(void **state)
{
    (void)state;
    canto_lock lock;
    char takeover[CANTO_MESSAGE_MAX];
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "cannot create /nowhere/at/all/lock",
                     canto_lock_acquire("/nowhere/at/all", &lock, takeover));
}

// --- races ---

enum { TAKERS = 3, ROUNDS = 50 };

// Waits for the gun, takes, tells, and holds until all have told.
static void race(const fixture *f, int gun, int tell, int finish)
{
    canto_lock lock;
    char takeover[CANTO_MESSAGE_MAX], c;
    if (read(gun, &c, 1) != 0) _exit(1); // end of file: the gun
    canto_status status = canto_lock_acquire(f->dir, &lock, takeover);
    c = status == CANTO_OK ? 'w' : status == CANTO_ERROR_LOCKED ? 'l' : 'e';
    if (write(tell, &c, 1) != 1) _exit(1);
    if (read(finish, &c, 1) != 0) _exit(1);
    _exit(0); // a winner dies with the lock held: the next round takes it over
}

static void close_both(int pair[2])
{
    close(pair[0]);
    close(pair[1]);
}

static int winners_of_a_race(const fixture *f)
{
    int gun[2], tell[2], finish[2], winners = 0;
    pid_t takers[TAKERS];
    assert_int_equal(pipe(gun) | pipe(tell) | pipe(finish), 0);
    for (int i = 0; i < TAKERS; i++) {
        takers[i] = fork();
        if (takers[i] != 0) continue;
        close(gun[1]);
        close(finish[1]);
        race(f, gun[0], tell[1], finish[0]);
    }
    close(gun[1]);
    for (int i = 0; i < TAKERS; i++) {
        char c;
        assert_int_equal(read(tell[0], &c, 1), 1);
        assert_int_not_equal(c, 'e');
        winners += c == 'w';
    }
    close(finish[1]);
    for (int i = 0; i < TAKERS; i++) waitpid(takers[i], NULL, 0);
    close(gun[0]);
    close_both(tell);
    close(finish[0]);
    return winners;
}

static void test_one_taker_wins(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 5 == 0) unlink(f->path); // else the lock of a dead owner is there
        assert_int_equal(winners_of_a_race(f), 1);
    }
}

#define LOCK_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOCK_TEST(test_take_and_release),
        LOCK_TEST(test_live_owner),
        LOCK_TEST(test_dead_owner),
        LOCK_TEST(test_number_used_again),
        LOCK_TEST(test_other_host),
        LOCK_TEST(test_not_ours),
        LOCK_TEST(test_released_only_if_ours),
        LOCK_TEST(test_no_directory),
        LOCK_TEST(test_one_taker_wins),
    };
    return cmocka_run_group_tests_name("runtime.lock", tests, NULL, NULL);
}
