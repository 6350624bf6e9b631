// Durable writing and bounded reading of the files of a checkpoint.
//
// A file counts as written when every byte was taken, its size is what was written and fsync
// succeeded; after a failed fsync nothing is tried again, because the kernel may have dropped the
// pages it could not write.
#define _GNU_SOURCE
#include "runtime/store_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

static canto_hash canonical(XXH128_hash_t value)
{
    canto_hash hash;
    XXH128_canonical_t form;
    XXH128_canonicalFromHash(&form, value);
    memcpy(hash.bytes, form.digest, sizeof hash.bytes);
    return hash;
}

canto_hash canto_hash_of(const void *data, size_t bytes)
{
    return canonical(XXH3_128bits(data, bytes));
}

bool canto_hash_equal(const canto_hash *a, const canto_hash *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void canto_hash_hex(const canto_hash *hash, char hex[CANTO_HASH_HEX])
{
    for (int i = 0; i < 16; i++) snprintf(hex + 2 * i, 3, "%02x", hash->bytes[i]);
}

bool canto_hash_parse(const char *hex, canto_hash *out)
{
    if (strlen(hex) != 32 || strspn(hex, "0123456789abcdef") != 32) return false;
    for (int i = 0; i < 16; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        out->bytes[i] = (unsigned char)strtoul(digits, NULL, 16);
    }
    return true;
}

canto_status canto_path_join(const char *dir, const char *name, canto_path *out)
{
    int n = snprintf(out->text, sizeof out->text, "%s/%s", dir, name);
    CANTO_CHECK(n > 0 && (size_t)n < sizeof out->text, "the path %.200s.../%s is too long", dir,
                name);
    return CANTO_OK;
}

// --- writing ---

static canto_status write_all(int fd, const char *path, const char *data, size_t bytes,
                              XXH3_state_t *hash)
{
    while (bytes > 0) {
        size_t chunk = bytes < CANTO_FILE_CHUNK ? bytes : CANTO_FILE_CHUNK;
        ssize_t n = write(fd, data, chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            CANTO_FAIL(CANTO_ERROR_IO, "cannot write %s: %s", path,
                       n < 0 ? strerror(errno) : "the system took no bytes");
        }
        XXH3_128bits_update(hash, data, (size_t)n);
        data += n;
        bytes -= (size_t)n;
    }
    return CANTO_OK;
}

static int sync_descriptor(int fd)
{
    int result;
    do result = fsync(fd);
    while (result != 0 && errno == EINTR);
    return result;
}

static canto_status write_and_sync(int fd, const char *path, const void *data, size_t bytes,
                                   XXH3_state_t *hash)
{
    CANTO_TRY(write_all(fd, path, data, bytes, hash));
    struct stat info;
    if (fstat(fd, &info) != 0 || info.st_size != (off_t)bytes) {
        CANTO_FAIL(CANTO_ERROR_IO, "%s has %lld bytes after %zu were written: the disk lost some",
                   path, (long long)info.st_size, bytes);
    }
    if (sync_descriptor(fd) != 0) {
        CANTO_FAIL(CANTO_ERROR_IO, "cannot bring %s to disk: %s", path, strerror(errno));
    }
    return CANTO_OK;
}

canto_status canto_file_create(const char *path, const void *data, size_t bytes, canto_hash *hash)
{
    XXH3_state_t *state = XXH3_createState();
    if (!state) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to write %s", path);
    XXH3_128bits_reset(state);
    canto_status status = CANTO_OK;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) {
        status = canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "cannot create %s: %s", path,
                                   strerror(errno));
    } else {
        status = write_and_sync(fd, path, data, bytes, state);
        if (close(fd) != 0 && status == CANTO_OK && errno != EINTR) {
            status = canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "cannot close %s: %s",
                                       path, strerror(errno));
        }
    }
    if (hash) *hash = canonical(XXH3_128bits_digest(state));
    XXH3_freeState(state);
    return status;
}

canto_status canto_file_rename(const char *from, const char *to)
{
    if (rename(from, to) != 0) {
        CANTO_FAIL(CANTO_ERROR_IO, "cannot rename %s to %s: %s", from, to, strerror(errno));
    }
    return CANTO_OK;
}

canto_status canto_directory_create(const char *path)
{
    if (mkdir(path, 0777) != 0) {
        CANTO_FAIL(CANTO_ERROR_IO, "cannot make the directory %s: %s", path, strerror(errno));
    }
    return CANTO_OK;
}

canto_status canto_directory_sync(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd < 0 ? -1 : sync_descriptor(fd);
    int reason = errno;
    if (fd >= 0) close(fd);
    // Some network file systems answer EINVAL: they have no directory to sync, and need none.
    if (result != 0 && (fd < 0 || reason != EINVAL)) {
        CANTO_FAIL(CANTO_ERROR_IO, "cannot bring the directory %s to disk: %s", path,
                   strerror(reason));
    }
    return CANTO_OK;
}

// --- reading ---

static canto_status open_regular(const char *path, int *fd, struct stat *info)
{
    // Not blocking: a pipe of that name would wait for ever.
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (*fd < 0) {
        int reason = errno;
        if (reason == ENOENT) CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s is missing", path);
        if (reason == ELOOP) {
            CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s is a symbolic link, which is refused", path);
        }
        CANTO_FAIL(CANTO_ERROR_IO, "cannot open %s: %s", path, strerror(reason));
    }
    canto_status status = CANTO_OK;
    if (fstat(*fd, info) != 0 || !S_ISREG(info->st_mode)) {
        status = canto_error_raise(CANTO_ERROR_CHECKPOINT, __FILE__, __LINE__,
                                   "%s is not a plain file", path);
        close(*fd);
    }
    return status;
}

static canto_status read_all(int fd, const char *path, int64_t offset, char *data, size_t bytes)
{
    while (bytes > 0) {
        size_t chunk = bytes < CANTO_FILE_CHUNK ? bytes : CANTO_FILE_CHUNK;
        ssize_t n = pread(fd, data, chunk, offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) CANTO_FAIL(CANTO_ERROR_IO, "cannot read %s: %s", path, strerror(errno));
        if (n == 0) {
            CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s ends after %lld bytes: it is truncated", path,
                       (long long)offset);
        }
        data += n;
        offset += n;
        bytes -= (size_t)n;
    }
    return CANTO_OK;
}

static canto_status read_whole(int fd, const char *path, const struct stat *info, int64_t expected,
                               int64_t cap, void **data)
{
    int64_t size = info->st_size;
    if (expected >= 0 && size != expected) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s has %lld bytes instead of %lld: it is %s", path,
                   (long long)size, (long long)expected,
                   size < expected ? "truncated" : "longer than what was written");
    }
    if (size > cap) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s has %lld bytes, more than the %lld allowed", path,
                   (long long)size, (long long)cap);
    }
    char *all = malloc((size_t)size + 1);
    if (!all)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for the %lld bytes of %s", (long long)size, path);
    canto_status status = read_all(fd, path, 0, all, (size_t)size);
    all[size] = '\0';
    if (status == CANTO_OK) {
        *data = all;
    } else {
        free(all);
    }
    return status;
}

canto_status canto_file_read(const char *path, int64_t expected, int64_t cap, void **data,
                             size_t *bytes)
{
    int fd;
    struct stat info;
    CANTO_TRY(open_regular(path, &fd, &info));
    canto_status status = read_whole(fd, path, &info, expected, cap, data);
    *bytes = status == CANTO_OK ? (size_t)info.st_size : 0;
    close(fd);
    return status;
}

// Copies what [at, at + n) of the run and the wanted part have in common.
static void keep_common(const canto_file_run *run, int64_t at, int64_t n, const char *from,
                        char *out)
{
    int64_t begin = run->keep > at ? run->keep : at;
    int64_t end = run->keep + run->keep_bytes;
    if (end > at + n) end = at + n;
    if (begin < end) memcpy(out + (begin - run->keep), from + (begin - at), (size_t)(end - begin));
}

canto_status canto_file_read_run(const char *path, const canto_file_run *run,
                                 char buffer[CANTO_FILE_CHUNK], void *out, canto_hash *hash)
{
    int fd;
    struct stat info;
    XXH3_state_t *state = XXH3_createState();
    if (!state) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to read %s", path);
    XXH3_128bits_reset(state);
    canto_status status = open_regular(path, &fd, &info);
    bool opened = status == CANTO_OK;
    for (int64_t at = 0; status == CANTO_OK && at < run->bytes;) {
        int64_t n = run->bytes - at < CANTO_FILE_CHUNK ? run->bytes - at : CANTO_FILE_CHUNK;
        status = read_all(fd, path, run->offset + at, buffer, (size_t)n);
        if (status != CANTO_OK) break;
        XXH3_128bits_update(state, buffer, (size_t)n);
        keep_common(run, at, n, buffer, out);
        at += n;
    }
    if (opened) close(fd);
    *hash = canonical(XXH3_128bits_digest(state));
    XXH3_freeState(state);
    return status;
}

void canto_file_discard(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        unlink(path);
        return;
    }
    DIR *entries = fdopendir(fd);
    if (!entries) {
        close(fd);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(entries));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            unlinkat(fd, entry->d_name, 0);
        }
    }
    closedir(entries);
    rmdir(path);
}
