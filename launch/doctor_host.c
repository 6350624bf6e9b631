// What the host gives: memory, stacks, places for files.
#define _GNU_SOURCE
#include "launch/doctor.h"

#include "runtime/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

static const double gigabyte = 1e9;

// --- memory ---

// "MemTotal:       24576 kB"; 0: not there.
static double meminfo(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtod(at + strlen(name), NULL) * 1024 : 0;
}

// The smallest limit that a control group tells, in bytes; 0: none.
static double group_limit(const canto_patient *patient)
{
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    char text[64];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (!canto_patient_read(patient, files[i], sizeof text, text)) continue;
        const double limit = strtod(text, NULL); // "max" is 0
        return limit < 1e18 ? limit : 0;
    }
    return 0;
}

void canto_look_at_memory(const canto_patient *patient, canto_finding *out)
{
    char text[4096], limited[64] = "";
    if (!canto_patient_read(patient, "/proc/meminfo", sizeof text, text)) {
        canto_find(out, CANTO_VERDICT_WARN, "mount /proc", "the system does not tell its memory");
        return;
    }
    const double total = meminfo(text, "MemTotal:"), limit = group_limit(patient);
    double available = meminfo(text, "MemAvailable:");
    const bool grouped = limit > 0 && limit < total;
    if (grouped) snprintf(limited, sizeof limited, ", limited to %.1f GB", limit / gigabyte);
    if (grouped && limit < available) available = limit;
    const bool little = available < gigabyte;
    canto_find(out, little ? CANTO_VERDICT_WARN : CANTO_VERDICT_OK,
               little ? "end other processes, or ask the scheduler for more (--mem); `canto plan "
                        "CONFIG --ranks W --memory` tells what a run takes"
                      : NULL,
               "%.1f GB, %.1f available%s", total / gigabyte, available / gigabyte, limited);
}

void canto_look_at_stack(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    struct rlimit limit;
    const unsigned long long need = CANTO_KERNEL_STACK + (256 << 10); // as canto_threads_set
    const char *threads = getenv("OMP_STACKSIZE");
    if (getrlimit(RLIMIT_STACK, &limit) != 0) limit.rlim_cur = RLIM_INFINITY;
    if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < need) {
        canto_find(out, CANTO_VERDICT_FAIL, "ulimit -s 8192", "%llu KiB, kernels need %llu",
                   (unsigned long long)limit.rlim_cur >> 10, need >> 10);
        return;
    }
    char size[32] = "unlimited";
    if (limit.rlim_cur != RLIM_INFINITY)
        snprintf(size, sizeof size, "%llu KiB", (unsigned long long)limit.rlim_cur >> 10);
    canto_find(out, CANTO_VERDICT_OK, NULL, "%s%s%s", size, threads ? ", OMP_STACKSIZE " : "",
               threads ? threads : "");
}

// --- places for files ---

enum { SCRATCH_BYTES = 1 << 20 };

// Where an attempt ended; NULL: it did not.
static const char *write_scratch(int file)
{
    static const char zeros[4096];
    for (int n = 0; n < SCRATCH_BYTES; n += (int)sizeof zeros) {
        if (write(file, zeros, sizeof zeros) != (ssize_t)sizeof zeros) return "written";
    }
    if (fsync(file) != 0) return "brought to disk";
    return NULL;
}

// Makes, writes, locks, renames and removes a file; returns what did not work, or NULL.
static const char *try_directory(const char *dir, bool *locks)
{
    char path[4096], other[4096 + 4];
    snprintf(path, sizeof path, "%s/.canto-doctor.%d.XXXXXX", dir, (int)getpid());
    const int file = mkstemp(path);
    *locks = false;
    if (file < 0) return "made";
    const char *what = write_scratch(file);
    const int error = errno;
    *locks = flock(file, LOCK_EX | LOCK_NB) == 0;
    snprintf(other, sizeof other, "%s.new", path);
    const bool renamed = rename(path, other) == 0;
    const bool removed = unlink(renamed ? other : path) == 0;
    close(file);
    errno = error;
    return what ? what : !renamed ? "renamed" : !removed ? "removed" : NULL;
}

static const char *file_system(const char *dir)
{
    static const struct {
        unsigned long type;
        const char *name;
    } known[] = {{0x6969, "NFS"},       {0x0BD00BD0, "Lustre"}, {0x47504653, "GPFS"},
                 {0x01021994, "tmpfs"}, {0xEF53, "ext4"},       {0x58465342, "XFS"},
                 {0x9123683E, "btrfs"}, {0x794C7630, "overlay"}};
    struct statfs info;
    if (statfs(dir, &info) != 0) return "?";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if ((unsigned long)info.f_type == known[i].type) return known[i].name;
    }
    return "another file system";
}

static int64_t free_bytes(const char *dir)
{
    struct statfs info;
    return statfs(dir, &info) == 0 ? (int64_t)info.f_bavail * (int64_t)info.f_bsize : 0;
}

void canto_look_at_directory(const canto_patient *patient, canto_finding *out)
{
    bool locks;
    const char *wrong = try_directory(patient->dir, &locks);
    const char *kind = file_system(patient->dir);
    const double left = (double)free_bytes(patient->dir);
    if (wrong)
        canto_find(out, CANTO_VERDICT_FAIL,
                   "name a directory that this user may write and that has room: canto doctor DIR; "
                   "`df -h` and `quota` tell",
                   "%.150s: a file of 1 MiB cannot be %s: %s", patient->dir, wrong,
                   strerror(errno));
    else if (!locks)
        canto_find(out, CANTO_VERDICT_WARN,
                   "mount it with locks (lustre: -o flock; NFS: no nolock): without, the lock of a "
                   "dead run must be removed by hand",
                   "%.150s (%s): files cannot be locked", patient->dir, kind);
    else if (left < (double)patient->free_bytes)
        canto_find(out, CANTO_VERDICT_WARN,
                   "make room, or name another directory: a checkpoint takes 12 bytes a parameter",
                   "%.150s (%s): %.2f GB left", patient->dir, kind, left / gigabyte);
    else
        canto_find(out, CANTO_VERDICT_OK, NULL,
                   "%.150s (%s): writes, syncs, locks, renames; %.1f GB left", patient->dir, kind,
                   left / gigabyte);
}

void canto_look_at_shared_memory(const canto_patient *patient, canto_finding *out)
{
    char path[4096];
    struct statfs info;
    snprintf(path, sizeof path, "%s/dev/shm", patient->root);
    if (statfs(path, &info) != 0 || access(path, W_OK) != 0) {
        canto_find(out, CANTO_VERDICT_WARN,
                   "mount it (containers: --shm-size=1g), or --mca btl_vader_backing_directory DIR",
                   "/dev/shm cannot be written: ranks of a host share memory elsewhere, or not");
        return;
    }
    const double size = (double)info.f_blocks * (double)info.f_bsize;
    const double left = (double)info.f_bavail * (double)info.f_bsize;
    const bool small = left < 64e6;
    canto_find(out, small ? CANTO_VERDICT_WARN : CANTO_VERDICT_OK,
               small ? "remove what is left in it, or enlarge it (containers: --shm-size=1g)"
                     : NULL,
               "/dev/shm: %.2f of %.2f GB left", left / gigabyte, size / gigabyte);
}

// The path of a socket holds 107 bytes, of which Open MPI adds about 60.
enum { TEMPORARY_MAX = 45 };

void canto_look_at_temporary(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    const char *given = getenv("TMPDIR");
    const char *dir = given ? given : "/tmp";
    bool locks;
    const char *wrong = try_directory(dir, &locks);
    if (wrong)
        canto_find(out, CANTO_VERDICT_FAIL, "export TMPDIR=DIR with a local directory",
                   "%.150s: a file of 1 MiB cannot be %s: %s", dir, wrong, strerror(errno));
    else if (strlen(dir) > TEMPORARY_MAX)
        canto_find(out, CANTO_VERDICT_WARN, "export TMPDIR=/tmp",
                   "%.150s is longer than %d bytes: MPI's sockets in it may not fit", dir,
                   TEMPORARY_MAX);
    else
        canto_find(out, CANTO_VERDICT_OK, NULL, "%.150s (%s): %.1f GB left", dir, file_system(dir),
                   (double)free_bytes(dir) / gigabyte);
}

void canto_look_at_gnuplot(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    char path[1024];
    if (canto_program_found("gnuplot", sizeof path, path))
        canto_find(out, CANTO_VERDICT_OK, NULL, "%.200s", path);
    else
        canto_find(out, CANTO_VERDICT_WARN, "apt-get install gnuplot-nox",
                   "not found: `canto plot` needs it, nothing else does");
}
