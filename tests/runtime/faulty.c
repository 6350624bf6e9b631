// The wrapped calls.
#define _GNU_SOURCE
#include "tests/runtime/faulty.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct {
    fault_kind kind;
    int at;    // the N
    int error; // errno
    int calls; // since it was armed
    int hits;
    bool memory; // calls are allocations, else system calls
} fault;

void faulty_arm(fault_kind kind, int at, int error)
{
    fault.kind = kind;
    fault.at = at;
    fault.error = error;
    fault.calls = 0;
    fault.hits = 0;
    fault.memory = false;
}

void faulty_arm_memory(int at)
{
    faulty_arm(FAULT_ERROR, at, ENOMEM);
    fault.memory = true;
}

bool faulty_disarm(void)
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

void faulty_journal_start(void)
{
    journal.text[0] = '\0';
    journal.on = true;
}

char *faulty_journal_stop(void)
{
    journal.on = false;
    return journal.text;
}
