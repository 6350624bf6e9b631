// The lists of tensors, pieces and shards that make up a checkpoint, and whether they fit together.
#define _GNU_SOURCE
#include "runtime/store_manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void canto_manifest_destroy(canto_manifest *manifest)
{
    for (int64_t i = 0; i < manifest->tensors_n; i++) free(manifest->tensors[i].name);
    for (int64_t i = 0; i < manifest->shards_n; i++) free(manifest->shards[i].file);
    for (int64_t i = 0; i < manifest->texts_n; i++) {
        free(manifest->texts[i].name);
        free(manifest->texts[i].text);
    }
    free(manifest->tensors);
    free(manifest->pieces);
    free(manifest->shards);
    free(manifest->texts);
    *manifest = (canto_manifest){0};
}

bool canto_manifest_name_ok(const char *name)
{
    size_t bytes = strlen(name);
    if (bytes == 0 || bytes > CANTO_STORE_NAME_MAX) return false;
    if (strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-") != bytes)
        return false;
    for (const char *part = name;; part++) {
        size_t length = strcspn(part, "/");
        if (length == 0) return false;
        if (part[0] == '.' && (length == 1 || (length == 2 && part[1] == '.'))) return false;
        part += length;
        if (*part == '\0') return true;
    }
}

bool canto_manifest_file_ok(const char *file)
{
    int index, count;
    char again[64];
    if (strlen(file) >= sizeof again) return false;
    if (sscanf(file, "shard-%9d-of-%9d.h5", &index, &count) != 2) return false;
    snprintf(again, sizeof again, "shard-%04d-of-%04d.h5", index, count);
    return index >= 0 && index < count && strcmp(file, again) == 0;
}

canto_status canto_manifest_shape_count(const char *name, canto_dtype dtype, int dims_n,
                                        const int64_t *dims, int64_t *count)
{
    CANTO_CHECK(dtype >= CANTO_F32 && dtype <= CANTO_U8, "tensor %s has no known dtype", name);
    CANTO_CHECK(dims_n >= 0 && dims_n <= CANTO_DIMS_MAX, "tensor %s has %d dimensions", name,
                dims_n);
    int64_t product = 1; // without the zeros, so that the order of dims cannot matter
    bool empty = false;
    for (int i = 0; i < dims_n; i++) {
        CANTO_CHECK(dims[i] >= 0, "tensor %s has a negative dimension", name);
        if (dims[i] == 0) empty = true;
        if (dims[i] == 0) continue;
        CANTO_CHECK(!__builtin_mul_overflow(product, dims[i], &product),
                    "tensor %s has more elements than can be counted", name);
    }
    int64_t bytes;
    CANTO_CHECK(!__builtin_mul_overflow(product, (int64_t)canto_dtype_bytes(dtype), &bytes),
                "tensor %s has more bytes than can be counted", name);
    *count = empty ? 0 : product;
    return CANTO_OK;
}

void canto_manifest_shape_text(canto_dtype dtype, int dims_n, const int64_t *dims, char text[128])
{
    int n = snprintf(text, 128, "%s[", canto_dtype_name(dtype));
    for (int i = 0; i < dims_n; i++) {
        n += snprintf(text + n, (size_t)(128 - n), "%s%lld", i > 0 ? ", " : "", (long long)dims[i]);
    }
    snprintf(text + n, (size_t)(128 - n), "]");
}

// --- adding ---

static canto_status make_room(void **array, int64_t used, int64_t *room, size_t element)
{
    if (used < *room) return CANTO_OK;
    int64_t wanted = *room < 16 ? 16 : 2 * *room;
    void *larger = realloc(*array, (size_t)wanted * element);
    if (!larger) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for the parts of a checkpoint");
    *array = larger;
    *room = wanted;
    return CANTO_OK;
}

static canto_status copy_string(const char *from, char **to)
{
    *to = strdup(from);
    if (!*to) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for the parts of a checkpoint");
    return CANTO_OK;
}

canto_status canto_manifest_add_tensor(canto_manifest *manifest, const char *name,
                                       canto_dtype dtype, int dims_n, const int64_t *dims)
{
    CANTO_CHECK(canto_manifest_name_ok(name),
                "'%.220s' cannot name a tensor: 1 to %d bytes of [A-Za-z0-9._/-]", name,
                CANTO_STORE_NAME_MAX);
    canto_manifest_tensor tensor = {.dtype = dtype, .dims_n = dims_n, .order = manifest->tensors_n};
    CANTO_TRY(canto_manifest_shape_count(name, dtype, dims_n, dims, &tensor.count));
    for (int i = 0; i < dims_n; i++) tensor.dims[i] = dims[i];
    CANTO_TRY(make_room((void **)&manifest->tensors, manifest->tensors_n, &manifest->tensors_room,
                        sizeof tensor));
    CANTO_TRY(copy_string(name, &tensor.name));
    manifest->tensors[manifest->tensors_n++] = tensor;
    return CANTO_OK;
}

canto_status canto_manifest_add_piece(canto_manifest *manifest, const canto_manifest_piece *piece)
{
    CANTO_CHECK(piece->tensor >= 0 && piece->tensor < manifest->tensors_n,
                "a piece belongs to no tensor");
    const canto_manifest_tensor *tensor = &manifest->tensors[piece->tensor];
    CANTO_CHECK(piece->begin >= 0 && piece->count > 0 && piece->begin < tensor->count &&
                    piece->count <= tensor->count - piece->begin,
                "tensor %s has %lld elements, so there is no run of %lld from %lld", tensor->name,
                (long long)tensor->count, (long long)piece->count, (long long)piece->begin);
    CANTO_TRY(make_room((void **)&manifest->pieces, manifest->pieces_n, &manifest->pieces_room,
                        sizeof *piece));
    manifest->pieces[manifest->pieces_n++] = *piece;
    return CANTO_OK;
}

canto_status canto_manifest_add_shard(canto_manifest *manifest, const char *file, int64_t bytes,
                                      const canto_hash *hash)
{
    canto_manifest_shard shard = {.bytes = bytes, .hash = *hash};
    CANTO_TRY(make_room((void **)&manifest->shards, manifest->shards_n, &manifest->shards_room,
                        sizeof shard));
    CANTO_TRY(copy_string(file, &shard.file));
    manifest->shards[manifest->shards_n++] = shard;
    return CANTO_OK;
}

canto_status canto_manifest_add_text(canto_manifest *manifest, const char *name, const char *text)
{
    CANTO_CHECK(canto_manifest_name_ok(name), "'%.220s' cannot name a text", name);
    CANTO_CHECK(strlen(text) <= CANTO_STORE_TEXT_MAX, "the text %s is longer than %d bytes", name,
                CANTO_STORE_TEXT_MAX);
    for (int64_t i = 0; i < manifest->texts_n; i++) {
        CANTO_CHECK(strcmp(manifest->texts[i].name, name) != 0, "the text %s is given twice", name);
    }
    CANTO_TRY(make_room((void **)&manifest->texts, manifest->texts_n, &manifest->texts_room,
                        sizeof *manifest->texts));
    canto_manifest_text entry = {0};
    CANTO_TRY(copy_string(name, &entry.name));
    canto_status status = copy_string(text, &entry.text);
    if (status != CANTO_OK) {
        free(entry.name);
        return status;
    }
    manifest->texts[manifest->texts_n++] = entry;
    return CANTO_OK;
}

canto_status canto_manifest_merge(canto_manifest *into, const canto_manifest *from)
{
    int64_t tensors = into->tensors_n;
    int64_t shards = into->shards_n;
    for (int64_t i = 0; i < from->tensors_n; i++) {
        const canto_manifest_tensor *t = &from->tensors[i];
        CANTO_TRY(canto_manifest_add_tensor(into, t->name, t->dtype, t->dims_n, t->dims));
    }
    for (int64_t i = 0; i < from->shards_n; i++) {
        const canto_manifest_shard *s = &from->shards[i];
        CANTO_TRY(canto_manifest_add_shard(into, s->file, s->bytes, &s->hash));
    }
    for (int64_t i = 0; i < from->pieces_n; i++) {
        canto_manifest_piece piece = from->pieces[i];
        piece.tensor += tensors;
        piece.shard += shards;
        CANTO_TRY(canto_manifest_add_piece(into, &piece));
    }
    for (int64_t i = 0; i < from->texts_n; i++) {
        CANTO_TRY(canto_manifest_add_text(into, from->texts[i].name, from->texts[i].text));
    }
    return CANTO_OK;
}

// --- order ---

static int by_name(const void *a, const void *b)
{
    const canto_manifest_tensor *x = a;
    const canto_manifest_tensor *y = b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->order > y->order) - (x->order < y->order);
}

static int by_place(const void *a, const void *b)
{
    const canto_manifest_piece *x = a;
    const canto_manifest_piece *y = b;
    if (x->tensor != y->tensor) return x->tensor < y->tensor ? -1 : 1;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

static canto_status same_shape(const canto_manifest_tensor *a, const canto_manifest_tensor *b)
{
    bool same = a->dtype == b->dtype && a->dims_n == b->dims_n;
    for (int i = 0; same && i < a->dims_n; i++) same = a->dims[i] == b->dims[i];
    if (same) return CANTO_OK;
    char one[128], other[128];
    canto_manifest_shape_text(a->dtype, a->dims_n, a->dims, one);
    canto_manifest_shape_text(b->dtype, b->dims_n, b->dims, other);
    CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "tensor %s is written both as %s and as %s", a->name, one,
               other);
}

// Keeps one of each run of equal names; moved[order of adding] = index from now on.
static canto_status join_equal(canto_manifest *manifest, int64_t *moved)
{
    for (int64_t i = 1; i < manifest->tensors_n; i++) {
        const canto_manifest_tensor *before = &manifest->tensors[i - 1];
        if (strcmp(before->name, manifest->tensors[i].name) == 0) {
            CANTO_TRY(same_shape(before, &manifest->tensors[i]));
        }
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < manifest->tensors_n; i++) {
        canto_manifest_tensor tensor = manifest->tensors[i];
        bool again = kept > 0 && strcmp(manifest->tensors[kept - 1].name, tensor.name) == 0;
        if (again) {
            free(tensor.name);
        } else {
            manifest->tensors[kept++] = tensor;
        }
        moved[tensor.order] = kept - 1;
    }
    manifest->tensors_n = kept;
    for (int64_t i = 0; i < kept; i++) manifest->tensors[i].order = i;
    return CANTO_OK;
}

static void place_pieces(canto_manifest *manifest)
{
    if (manifest->pieces_n > 0) {
        qsort(manifest->pieces, (size_t)manifest->pieces_n, sizeof *manifest->pieces, by_place);
    }
    for (int64_t i = 0; i < manifest->tensors_n; i++) {
        manifest->tensors[i].first_piece = 0;
        manifest->tensors[i].pieces_n = 0;
    }
    for (int64_t i = 0; i < manifest->pieces_n; i++) {
        canto_manifest_tensor *tensor = &manifest->tensors[manifest->pieces[i].tensor];
        if (tensor->pieces_n++ == 0) tensor->first_piece = i;
    }
}

canto_status canto_manifest_sort(canto_manifest *manifest)
{
    if (manifest->tensors_n == 0) return CANTO_OK;
    int64_t *moved = malloc((size_t)manifest->tensors_n * sizeof *moved);
    if (!moved) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to sort the parts of a checkpoint");
    qsort(manifest->tensors, (size_t)manifest->tensors_n, sizeof *manifest->tensors, by_name);
    canto_status status = join_equal(manifest, moved);
    if (status == CANTO_OK) {
        for (int64_t i = 0; i < manifest->pieces_n; i++) {
            manifest->pieces[i].tensor = moved[manifest->pieces[i].tensor];
        }
        place_pieces(manifest);
    }
    free(moved);
    return status;
}

static canto_status check_tensor_cover(const canto_manifest *manifest,
                                       const canto_manifest_tensor *tensor)
{
    int64_t covered = 0;
    for (int64_t i = 0; i < tensor->pieces_n; i++) {
        const canto_manifest_piece *piece = &manifest->pieces[tensor->first_piece + i];
        if (piece->begin < covered) {
            CANTO_FAIL(CANTO_ERROR_CHECKPOINT,
                       "tensor %s: element %lld is written twice (the piece from %lld overlaps)",
                       tensor->name, (long long)piece->begin, (long long)piece->begin);
        }
        if (piece->begin > covered) break;
        covered += piece->count;
    }
    if (covered < tensor->count) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "tensor %s: no piece holds element %lld of its %lld",
                   tensor->name, (long long)covered, (long long)tensor->count);
    }
    return CANTO_OK;
}

canto_status canto_manifest_check_cover(const canto_manifest *manifest)
{
    for (int64_t i = 0; i < manifest->tensors_n; i++) {
        CANTO_TRY(check_tensor_cover(manifest, &manifest->tensors[i]));
    }
    return CANTO_OK;
}

static int name_of(const void *key, const void *tensor)
{
    return strcmp(key, ((const canto_manifest_tensor *)tensor)->name);
}

const canto_manifest_tensor *canto_manifest_find(const canto_manifest *manifest, const char *name)
{
    if (manifest->tensors_n == 0) return NULL;
    return bsearch(name, manifest->tensors, (size_t)manifest->tensors_n, sizeof *manifest->tensors,
                   name_of);
}
