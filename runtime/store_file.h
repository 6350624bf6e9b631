// Files and directories of a checkpoint: durable writing, bounded reading, checksums.
// Internal to the store. All functions are local.
#ifndef CANTO_RUNTIME_STORE_FILE_H
#define CANTO_RUNTIME_STORE_FILE_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// XXH3-128 in its canonical (big-endian) form.
typedef struct canto_hash {
    unsigned char bytes[16];
} canto_hash;

enum { CANTO_HASH_HEX = 33 }; // 32 lower-case digits and the end

canto_hash canto_hash_of(const void *data, size_t bytes);
bool canto_hash_equal(const canto_hash *a, const canto_hash *b);
void canto_hash_hex(const canto_hash *hash, char hex[CANTO_HASH_HEX]);
bool canto_hash_parse(const char *hex, canto_hash *out); // exactly 32 lower-case digits

typedef struct canto_path {
    char text[4096];
} canto_path;

// dir/name; CANTO_ERROR_ARGUMENT if that is too long.
canto_status canto_path_join(const char *dir, const char *name, canto_path *out);

// Creates `path`, which must not exist, with these bytes, and syncs it; *hash (NULL: not wanted) is
// taken of the bytes as they are handed to the system. Interrupted and short writes go on; any
// other failure leaves the file behind, to be removed with its directory.
canto_status canto_file_create(const char *path, const void *data, size_t bytes, canto_hash *hash);
canto_status canto_file_rename(const char *from, const char *to);
canto_status canto_directory_create(const char *path);
canto_status canto_directory_sync(const char *path);

// The whole of a regular file of at most `cap` bytes; not through a symbolic link. expected >= 0:
// the exact size, else CANTO_ERROR_CHECKPOINT. Caller frees *data, which has one more byte, 0.
canto_status canto_file_read(const char *path, int64_t expected, int64_t cap, void **data,
                             size_t *bytes);

// A run of bytes [offset, offset + bytes) of a file, read once in pieces of a fixed buffer: its
// hash, and a copy of the part [keep, keep + keep_bytes) of the run in `out`.
typedef struct canto_file_run {
    int64_t offset, bytes;
    int64_t keep, keep_bytes;
} canto_file_run;

enum { CANTO_FILE_CHUNK = 1 << 20 };
canto_status canto_file_read_run(const char *path, const canto_file_run *run,
                                 char buffer[CANTO_FILE_CHUNK], void *out, canto_hash *hash);

// Best effort: removes a directory of plain files, or a plain file. Never follows a symbolic link
// and never descends.
void canto_file_discard(const char *path);

#endif
