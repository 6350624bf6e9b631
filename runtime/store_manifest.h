// What a checkpoint, or one rank's part of it, consists of. Internal to the store; local.
#ifndef CANTO_RUNTIME_STORE_MANIFEST_H
#define CANTO_RUNTIME_STORE_MANIFEST_H

#include "runtime/store_file.h"
#include "runtime/tensor.h"

enum {
    CANTO_STORE_VERSION = 1,
    CANTO_STORE_NAME_MAX = 200,          // bytes of a tensor's or text's name
    CANTO_STORE_TEXT_MAX = 1 << 20,      // bytes of a text
    CANTO_STORE_MANIFEST_MAX = 64 << 20, // bytes of a manifest
    CANTO_STORE_SHARDS_MAX = 1000000,
};

typedef struct canto_manifest_tensor {
    char *name; // owned
    canto_dtype dtype;
    int dims_n;
    int64_t dims[CANTO_DIMS_MAX];
    int64_t count;                 // elements
    int64_t first_piece, pieces_n; // in pieces, once sorted
    int64_t order;                 // index at which it was added
} canto_manifest_tensor;

// Elements [begin, begin + count) of a flattened tensor: one dataset of a shard.
typedef struct canto_manifest_piece {
    int64_t tensor; // index
    int64_t shard;  // index
    int64_t begin, count;
    int64_t offset; // of its first byte in the shard's file
    canto_hash hash;
} canto_manifest_piece;

typedef struct canto_manifest_shard {
    char *file; // owned: a name, never a path
    int64_t bytes;
    canto_hash hash;
} canto_manifest_shard;

typedef struct canto_manifest_text {
    char *name; // owned
    char *text; // owned
} canto_manifest_text;

typedef struct canto_manifest {
    int64_t step;
    char time[32]; // ISO 8601, UTC
    int64_t tensors_n, tensors_room;
    canto_manifest_tensor *tensors;
    int64_t pieces_n, pieces_room;
    canto_manifest_piece *pieces;
    int64_t shards_n, shards_room;
    canto_manifest_shard *shards;
    int64_t texts_n, texts_room;
    canto_manifest_text *texts;
} canto_manifest;

void canto_manifest_destroy(canto_manifest *manifest); // leaves it zeroed

// 1 to 200 bytes of [A-Za-z0-9._/-], no empty, "." or ".." part between slashes.
bool canto_manifest_name_ok(const char *name);
// "shard-0003-of-0016.h5"
bool canto_manifest_file_ok(const char *file);
// Number of elements; CANTO_ERROR_ARGUMENT with the name if the shape is impossible or too large.
canto_status canto_manifest_shape_count(const char *name, canto_dtype dtype, int dims_n,
                                        const int64_t *dims, int64_t *count);
// "f32[3, 4]"
void canto_manifest_shape_text(canto_dtype dtype, int dims_n, const int64_t *dims, char text[128]);

// Each appends a copy. The names, shapes and ranges of tensors and pieces are checked.
canto_status canto_manifest_add_tensor(canto_manifest *manifest, const char *name,
                                       canto_dtype dtype, int dims_n, const int64_t *dims);
canto_status canto_manifest_add_piece(canto_manifest *manifest, const canto_manifest_piece *piece);
canto_status canto_manifest_add_shard(canto_manifest *manifest, const char *file, int64_t bytes,
                                      const canto_hash *hash);
canto_status canto_manifest_add_text(canto_manifest *manifest, const char *name, const char *text);
// Appends all of `from`; indices move along.
canto_status canto_manifest_merge(canto_manifest *into, const canto_manifest *from);

// Tensors in order of name, equal ones joined; pieces in order of tensor and begin. A tensor with
// two dtypes or shapes is CANTO_ERROR_CHECKPOINT and named.
canto_status canto_manifest_sort(canto_manifest *manifest);
// Of a sorted manifest: every tensor is covered once and without holes, or it is named.
canto_status canto_manifest_check_cover(const canto_manifest *manifest);
// Of a sorted manifest; NULL if there is none.
const canto_manifest_tensor *canto_manifest_find(const canto_manifest *manifest, const char *name);

// JSON with sorted keys inside an envelope that holds the checksum of every byte of it. The caller
// frees *text. Sorted manifests only.
canto_status canto_manifest_encode(const canto_manifest *manifest, char **text, size_t *bytes);
// `name` stands in messages. The result is sorted. CANTO_ERROR_CHECKPOINT for anything that
// canto_manifest_encode would not have written, and for a version this program does not know.
canto_status canto_manifest_decode(const char *name, const char *text, size_t bytes,
                                   canto_manifest *out);

#endif
