// The run directory's lock: a file that appears complete and atomically, and whose owner can be
// told to be alive.
//
// A new lock is written under a name of its own and linked to DIR/lock, so that nobody ever reads
// half of one and exactly one of several linkers succeeds. A dead owner's lock is replaced by
// rename while its old file is held with flock: a second taker finds either the lock held or, once
// it has it, that DIR/lock is another file by now, and looks again.
#define _GNU_SOURCE
#include "runtime/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOCK_FILE_MAX = 4096, LOOKS_MAX = 100 };

typedef struct {
    char host[256];
    char boot[64];
    char id[33];
    char time[32];
    long long pid;
    long long start; // of the process, in clock ticks since boot
} owner;

// --- who ---

static bool read_small(const char *path, char *text, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t n = read(fd, text, room - 1);
    close(fd);
    if (n < 0) return false;
    text[n] = '\0';
    return true;
}

// Fields 3 and 22 of /proc/PID/stat. The name in field 2 may hold anything.
static bool process_stat(long long pid, char *state, long long *start)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%lld/stat", pid);
    if (!read_small(path, text, sizeof text)) return false;
    const char *rest = strrchr(text, ')');
    const char *format = " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                         "%*s %lld";
    return rest && sscanf(rest + 1, format, state, start) == 2;
}

static bool process_lives(long long pid, long long start)
{
    char state;
    long long found;
    // Z, X: ended, only not yet waited for. A system that hides others' processes still answers
    // kill.
    if (process_stat(pid, &state, &found)) return state != 'Z' && state != 'X' && found == start;
    return pid > 0 && pid <= INT_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static canto_status describe_self(owner *out)
{
    unsigned char random[16];
    char state;
    *out = (owner){.pid = getpid()};
    const time_t now = time(NULL);
    struct tm utc;
    strftime(out->time, sizeof out->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    if (gethostname(out->host, sizeof out->host - 1) != 0 ||
        !read_small("/proc/sys/kernel/random/boot_id", out->boot, sizeof out->boot) ||
        !process_stat(out->pid, &state, &out->start) ||
        getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        CANTO_FAIL(CANTO_ERROR_IO, "cannot tell this host and process apart from others: %s",
                   strerror(errno));
    }
    out->boot[strcspn(out->boot, "\n")] = '\0';
    for (int i = 0; i < 16; i++) snprintf(out->id + 2 * i, 3, "%02x", random[i]);
    return CANTO_OK;
}

// --- the file ---

static char *owner_to_text(const owner *who)
{
    json_t *object = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "host", who->host, "boot",
                               who->boot, "id", who->id, "time", who->time, "pid",
                               (json_int_t)who->pid, "start", (json_int_t)who->start);
    char *text = object ? json_dumps(object, JSON_SORT_KEYS) : NULL;
    json_decref(object);
    return text;
}

static bool copy_text(char *to, size_t room, const char *from)
{
    return (size_t)snprintf(to, room, "%s", from) < room;
}

static bool owner_from_text(const char *text, owner *out)
{
    const char *host, *boot, *id, *stamp;
    json_int_t pid, start;
    json_error_t error;
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    *out = (owner){0};
    bool good = object &&
                json_unpack_ex(object, &error, JSON_STRICT, "{s:s, s:s, s:s, s:s, s:I, s:I}",
                               "host", &host, "boot", &boot, "id", &id, "time", &stamp, "pid", &pid,
                               "start", &start) == 0 &&
                copy_text(out->host, sizeof out->host, host) &&
                copy_text(out->boot, sizeof out->boot, boot) &&
                copy_text(out->id, sizeof out->id, id) &&
                copy_text(out->time, sizeof out->time, stamp);
    if (good) {
        out->pid = pid;
        out->start = start;
    }
    json_decref(object);
    return good;
}

static canto_status write_fully(int fd, const char *path, const char *text)
{
    for (size_t left = strlen(text); left > 0;) {
        ssize_t n = write(fd, text, left);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) CANTO_FAIL(CANTO_ERROR_IO, "cannot write %s: %s", path, strerror(errno));
        text += n;
        left -= (size_t)n;
    }
    if (fsync(fd) != 0) {
        CANTO_FAIL(CANTO_ERROR_IO, "cannot bring %s to disk: %s", path, strerror(errno));
    }
    return CANTO_OK;
}

// Our lock under a name of its own.
static canto_status write_own(const char *path, const owner *who)
{
    char *text = owner_to_text(who);
    if (!text) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for the lock %s", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    canto_status status = fd < 0 ? canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__,
                                                     "cannot create %s: %s", path, strerror(errno))
                                 : write_fully(fd, path, text);
    if (fd >= 0) close(fd);
    free(text);
    return status;
}

static bool read_owner(int fd, owner *out)
{
    char text[LOCK_FILE_MAX];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0) return false;
    text[n] = '\0';
    return owner_from_text(text, out);
}

// --- another's lock ---

static canto_status refuse_unless_dead(const char *path, int fd, const owner *self, owner *other)
{
    if (!read_owner(fd, other)) {
        CANTO_FAIL(CANTO_ERROR_LOCKED,
                   "%s is not a lock that this program wrote: if no job works in the directory, "
                   "remove the file",
                   path);
    }
    if (strcmp(other->host, self->host) != 0) {
        CANTO_FAIL(CANTO_ERROR_LOCKED,
                   "the run directory is in use by process %lld on host %s since %s, which cannot "
                   "be looked at from %s: if that job has ended, remove %s",
                   other->pid, other->host, other->time, self->host, path);
    }
    if (strcmp(other->boot, self->boot) == 0 && process_lives(other->pid, other->start)) {
        CANTO_FAIL(CANTO_ERROR_LOCKED,
                   "the run directory is in use by process %lld on this host (%s) since %s: stop "
                   "it, or use another directory (lock %s)",
                   other->pid, other->host, other->time, path);
    }
    return CANTO_OK;
}

static bool still_there(const char *path, int fd)
{
    struct stat held, named;
    return fstat(fd, &held) == 0 && lstat(path, &named) == 0 && held.st_dev == named.st_dev &&
           held.st_ino == named.st_ino;
}

// Replaces the dead owner's file, which is open as fd, by ours. *taken false: look again.
static canto_status replace_dead(const char *path, int fd, const char *own, const owner *self,
                                 owner *other, bool *taken)
{
    *taken = false;
    CANTO_TRY(refuse_unless_dead(path, fd, self, other));
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK || errno == EINTR) return CANTO_OK; // another taker is at it
        CANTO_FAIL(CANTO_ERROR_LOCKED,
                   "process %lld, which held %s, is dead, but its lock cannot be taken over (%s): "
                   "remove the file",
                   other->pid, path, strerror(errno));
    }
    if (!still_there(path, fd)) return CANTO_OK;
    if (rename(own, path) != 0) {
        CANTO_FAIL(CANTO_ERROR_IO, "cannot rename %s to %s: %s", own, path, strerror(errno));
    }
    *taken = true;
    return CANTO_OK;
}

static canto_status meet_existing(const char *path, const char *own, const owner *self,
                                  owner *other, bool *taken)
{
    *taken = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return CANTO_OK; // released in between
    if (fd < 0)
        CANTO_FAIL(CANTO_ERROR_LOCKED, "cannot look at the lock %s: %s", path, strerror(errno));
    canto_status status = replace_dead(path, fd, own, self, other, taken);
    close(fd);
    return status;
}

static void pause_briefly(void)
{
    const struct timespec while_another_takes = {.tv_nsec = 1000000};
    nanosleep(&while_another_takes, NULL);
}

static canto_status take(const char *path, const char *own, const owner *self, char *takeover)
{
    for (int i = 0; i < LOOKS_MAX; i++) {
        owner other;
        bool taken;
        if (link(own, path) == 0) return CANTO_OK;
        if (errno != EEXIST) {
            CANTO_FAIL(CANTO_ERROR_IO, "cannot make the lock %s: %s", path, strerror(errno));
        }
        CANTO_TRY(meet_existing(path, own, self, &other, &taken));
        if (taken) {
            snprintf(takeover, CANTO_MESSAGE_MAX,
                     "took over %.200s from process %lld, which is dead (it held it since %s)",
                     path, other.pid, other.time);
            return CANTO_OK;
        }
        pause_briefly();
    }
    CANTO_FAIL(CANTO_ERROR_LOCKED, "the lock %s changes hands all the time: try again", path);
}

canto_status canto_lock_acquire(const char *dir, canto_lock *out, char takeover[CANTO_MESSAGE_MAX])
{
    owner self;
    char own[sizeof out->path + 64];
    *out = (canto_lock){0};
    takeover[0] = '\0';
    int n = snprintf(out->path, sizeof out->path, "%s/lock", dir);
    CANTO_CHECK(n > 0 && (size_t)n < sizeof out->path, "the path %.200s... is too long", dir);
    CANTO_TRY(describe_self(&self));
    snprintf(own, sizeof own, "%s.%s", out->path, self.id);
    canto_status status = write_own(own, &self);
    if (status == CANTO_OK) status = take(out->path, own, &self, takeover);
    unlink(own); // gone already after a takeover
    if (status != CANTO_OK) return status;
    out->held = true;
    memcpy(out->id, self.id, sizeof out->id);
    return CANTO_OK;
}

canto_status canto_lock_look(const char *dir)
{
    owner self, other;
    char path[sizeof((canto_lock *)0)->path];
    int n = snprintf(path, sizeof path, "%s/lock", dir);
    CANTO_CHECK(n > 0 && (size_t)n < sizeof path, "the path %.200s... is too long", dir);
    CANTO_TRY(describe_self(&self));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return CANTO_OK;
    if (fd < 0)
        CANTO_FAIL(CANTO_ERROR_LOCKED, "cannot look at the lock %s: %s", path, strerror(errno));
    canto_status status = refuse_unless_dead(path, fd, &self, &other);
    close(fd);
    return status;
}

void canto_lock_release(canto_lock *lock)
{
    if (!lock->held) return;
    owner now;
    int fd = open(lock->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd >= 0) {
        if (read_owner(fd, &now) && strcmp(now.id, lock->id) == 0) unlink(lock->path);
        close(fd);
    }
    lock->held = false;
}
