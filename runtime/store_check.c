// Looking at committed steps: their manifests, their shards, all of one step.
#define _GNU_SOURCE
#include "runtime/store_read.h"

#include "runtime/store.h"
#include "runtime/store_shard.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

canto_status canto_step_path(const char *dir, int64_t step, canto_path *out)
{
    char name[CANTO_STEP_NAME];
    canto_step_name(step, name);
    return canto_path_join(dir, name, out);
}

canto_status canto_step_read_manifest(const canto_path *path, char **text, size_t *bytes)
{
    canto_path file;
    struct stat info;
    if (lstat(path->text, &info) != 0 || !S_ISDIR(info.st_mode)) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT,
                   "there is no committed checkpoint %s; `canto ckpt ls` lists those that are",
                   path->text);
    }
    CANTO_TRY(canto_path_join(path->text, "manifest.json", &file));
    void *data;
    CANTO_TRY(canto_file_read(file.text, -1, CANTO_STORE_MANIFEST_MAX, &data, bytes));
    *text = data;
    return CANTO_OK;
}

canto_status canto_step_decode_manifest(const canto_path *path, int64_t step, const char *text,
                                        size_t bytes, canto_manifest *out)
{
    canto_path file;
    CANTO_TRY(canto_path_join(path->text, "manifest.json", &file));
    CANTO_TRY(canto_manifest_decode(file.text, text, bytes, out));
    canto_status status = canto_manifest_check_cover(out);
    if (status == CANTO_OK && out->step != step) {
        status =
            canto_error_raise(CANTO_ERROR_CHECKPOINT, __FILE__, __LINE__,
                              "%s is the manifest of step %lld", file.text, (long long)out->step);
    }
    if (status != CANTO_OK) canto_manifest_destroy(out);
    return status;
}

// --- shards ---

static canto_status check_data(canto_image *image, const char *file, const canto_image_piece *piece,
                               const canto_hash *expected)
{
    size_t bytes = (size_t)piece->count * canto_dtype_bytes(piece->dtype);
    void *data = malloc(bytes);
    if (!data) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to check tensor %s", piece->name);
    canto_status status = canto_image_read(image, piece, data);
    if (status == CANTO_OK) {
        canto_hash actual = canto_hash_of(data, bytes);
        if (!canto_hash_equal(&actual, expected)) {
            status = canto_error_raise(CANTO_ERROR_CHECKPOINT, __FILE__, __LINE__,
                                       "%s: the checksum of tensor %s does not match", file,
                                       piece->name);
        }
    }
    free(data);
    return status;
}

static canto_status check_objects(canto_image *image, const char *file,
                                  const canto_manifest *manifest, int64_t shard, bool data)
{
    int64_t found = 0;
    for (int64_t i = 0; i < manifest->pieces_n; i++) found += manifest->pieces[i].shard == shard;
    CANTO_TRY(canto_image_check(image, manifest->step, found));
    for (int64_t i = 0; i < manifest->pieces_n; i++) {
        const canto_manifest_piece *entry = &manifest->pieces[i];
        if (entry->shard != shard) continue;
        const canto_manifest_tensor *tensor = &manifest->tensors[entry->tensor];
        const canto_image_piece piece = {.name = tensor->name,
                                         .dtype = tensor->dtype,
                                         .begin = entry->begin,
                                         .count = entry->count};
        CANTO_TRY(canto_image_check_piece(image, &piece, entry->offset));
        if (data) CANTO_TRY(check_data(image, file, &piece, &entry->hash));
    }
    return CANTO_OK;
}

// The file's bytes, once their checksum has been found right. Caller frees.
static canto_status read_shard(const char *file, const canto_manifest_shard *shard, void **data,
                               size_t *bytes)
{
    CANTO_TRY(canto_file_read(file, shard->bytes, INT64_MAX - 1, data, bytes));
    canto_hash actual = canto_hash_of(*data, *bytes);
    if (canto_hash_equal(&actual, &shard->hash)) return CANTO_OK;
    free(*data);
    CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s is damaged: its checksum does not match", file);
}

canto_status canto_step_check_shard(const canto_path *path, const canto_manifest *manifest,
                                    int64_t shard, bool data)
{
    canto_path file;
    void *content;
    size_t bytes;
    canto_image *image;
    CANTO_TRY(canto_path_join(path->text, manifest->shards[shard].file, &file));
    CANTO_TRY(read_shard(file.text, &manifest->shards[shard], &content, &bytes));
    canto_status status = canto_image_open(file.text, content, bytes, &image);
    free(content);
    CANTO_TRY(status);
    status = check_objects(image, file.text, manifest, shard, data);
    canto_image_close(&image);
    return status;
}

// --- a whole step ---

static bool belongs(const canto_manifest *manifest, const char *file)
{
    if (strcmp(file, "manifest.json") == 0) return true;
    for (int64_t i = 0; i < manifest->shards_n; i++) {
        if (strcmp(manifest->shards[i].file, file) == 0) return true;
    }
    return false;
}

static canto_status check_no_strangers(const canto_path *path, const canto_manifest *manifest)
{
    DIR *entries = opendir(path->text);
    if (!entries) CANTO_FAIL(CANTO_ERROR_IO, "cannot list %s", path->text);
    canto_status status = CANTO_OK;
    for (const struct dirent *entry; status == CANTO_OK && (entry = readdir(entries));) {
        const char *file = entry->d_name;
        if (strcmp(file, ".") == 0 || strcmp(file, "..") == 0 || belongs(manifest, file)) continue;
        status = canto_error_raise(CANTO_ERROR_CHECKPOINT, __FILE__, __LINE__,
                                   "%s/%.100s is not in the manifest", path->text, file);
    }
    closedir(entries);
    return status;
}

static canto_status load_manifest(const canto_path *path, int64_t step, canto_manifest *out,
                                  size_t *bytes)
{
    char *text;
    CANTO_TRY(canto_step_read_manifest(path, &text, bytes));
    canto_status status = canto_step_decode_manifest(path, step, text, *bytes, out);
    free(text);
    return status;
}

canto_status canto_store_verify(const char *dir, int64_t step)
{
    canto_path path;
    canto_manifest manifest;
    size_t bytes;
    CANTO_TRY(canto_step_path(dir, step, &path));
    CANTO_TRY(load_manifest(&path, step, &manifest, &bytes));
    canto_status status = check_no_strangers(&path, &manifest);
    for (int64_t i = 0; status == CANTO_OK && i < manifest.shards_n; i++) {
        status = canto_step_check_shard(&path, &manifest, i, true);
    }
    canto_manifest_destroy(&manifest);
    return status;
}

// --- a list of steps ---

// A manifest that cannot be read makes an entry without shards and time: `verify` tells why.
static void describe_step(const char *dir, int64_t step, canto_store_entry *out)
{
    canto_path path;
    canto_manifest manifest;
    size_t bytes;
    *out = (canto_store_entry){.step = step};
    if (canto_step_path(dir, step, &path) != CANTO_OK ||
        load_manifest(&path, step, &manifest, &bytes) != CANTO_OK) {
        canto_error_clear();
        return;
    }
    out->shards = (int)manifest.shards_n;
    out->tensors = (int)manifest.tensors_n;
    out->bytes = (int64_t)bytes;
    for (int64_t i = 0; i < manifest.shards_n; i++) out->bytes += manifest.shards[i].bytes;
    memcpy(out->time, manifest.time, sizeof out->time);
    canto_manifest_destroy(&manifest);
}

canto_status canto_store_list(const char *dir, int capacity, canto_store_entry *entries, int *count)
{
    int64_t *steps;
    CANTO_TRY(canto_steps_list(dir, &steps, count));
    for (int i = 0; i < *count && i < capacity; i++) describe_step(dir, steps[i], &entries[i]);
    free(steps);
    return CANTO_OK;
}
