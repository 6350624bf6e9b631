// Opening and reading a checkpoint on any number of ranks.
//
// Keeps: the manifest, and one shard at a time in memory while it is verified; data are read piece
// by piece through a buffer of 1 MiB.
// Sends: the manifest from rank 0 to all, and one agreement for each stage.
//
// At opening the ranks divide the shards: for each one the size and checksum of the file, then, in
// HDF5, every dataset against the manifest, its place in the file included. Reading then takes the
// bytes from that place and compares their own checksum with the manifest's: HDF5 parses no file on
// the way, and a file that changes after opening is still noticed.
#include "runtime/store.h"

#include "runtime/store_read.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct canto_store_reader {
    canto_path path; // DIR/step-N
    canto_manifest manifest;
    char *buffer; // owned, [CANTO_FILE_CHUNK]
};

void canto_store_close(canto_store_reader **reader)
{
    if (!*reader) return;
    canto_manifest_destroy(&(*reader)->manifest);
    free((*reader)->buffer);
    free(*reader);
    *reader = NULL;
}

static canto_status reader_create(const char *dir, int64_t step, canto_store_reader **out)
{
    canto_store_reader *reader = calloc(1, sizeof *reader);
    char *buffer = malloc(CANTO_FILE_CHUNK);
    if (!reader || !buffer) {
        free(reader);
        free(buffer);
        CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to read a checkpoint");
    }
    reader->buffer = buffer;
    *out = reader;
    return canto_step_path(dir, step, &reader->path);
}

// --- opening: stages, each collective and agreed ---

// Rank 0 reads the manifest, all get its bytes; caller frees *text.
static canto_status share_manifest(canto_comm *comm, const canto_path *path, char **text,
                                   int64_t *bytes)
{
    size_t size = 0;
    canto_status status = CANTO_OK;
    if (comm->rank == 0) status = canto_step_read_manifest(path, text, &size);
    CANTO_TRY(canto_comm_agree(comm, status));
    *bytes = (int64_t)size;
    CANTO_TRY(canto_comm_bcast(comm, 0, canto_tensor_vector(CANTO_I64, bytes, 1)));
    if (comm->rank != 0 && !(*text = malloc((size_t)*bytes + 1))) {
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "no memory for a manifest of %lld bytes", (long long)*bytes);
    }
    CANTO_TRY(canto_comm_agree(comm, status));
    if (*bytes == 0) return CANTO_OK; // decoding refuses it
    return canto_comm_bcast(comm, 0, canto_tensor_vector(CANTO_U8, *text, *bytes));
}

static canto_status load_manifest(canto_comm *comm, int64_t step, canto_store_reader *reader)
{
    char *text = NULL;
    int64_t bytes = 0;
    canto_status status = share_manifest(comm, &reader->path, &text, &bytes);
    if (status == CANTO_OK) {
        status =
            canto_comm_agree(comm, canto_step_decode_manifest(&reader->path, step, text,
                                                              (size_t)bytes, &reader->manifest));
    }
    free(text);
    return status;
}

static canto_status verify_my_shards(canto_comm *comm, const canto_store_reader *reader)
{
    for (int64_t i = comm->rank; i < reader->manifest.shards_n; i += comm->size) {
        CANTO_TRY(canto_step_check_shard(&reader->path, &reader->manifest, i, false));
    }
    return CANTO_OK;
}

static canto_status open_step(canto_comm *comm, const char *dir, int64_t step,
                              canto_store_reader **out)
{
    canto_store_reader *reader = NULL;
    canto_status status = canto_comm_agree(comm, reader_create(dir, step, &reader));
    if (status == CANTO_OK) status = load_manifest(comm, step, reader);
    if (status == CANTO_OK) status = canto_comm_agree(comm, verify_my_shards(comm, reader));
    if (status != CANTO_OK) canto_store_close(&reader);
    *out = reader;
    return status;
}

// --- the newest step that verifies ---

// Rank 0's list of steps, newest first, one at a time and how many are older: -1 after the last.
// Collective.
static canto_status share_step(canto_comm *comm, const int64_t *steps, int left, int64_t out[2])
{
    out[0] = comm->rank == 0 && left > 0 ? steps[left - 1] : -1;
    out[1] = left - 1;
    return canto_comm_bcast(comm, 0, canto_tensor_vector(CANTO_I64, out, 2));
}

static bool may_fall_back(canto_status status)
{
    return status == CANTO_ERROR_CHECKPOINT || status == CANTO_ERROR_IO;
}

static void tell(canto_store_note note, void *context, int64_t step, int64_t older)
{
    char sentence[CANTO_MESSAGE_MAX + 128];
    snprintf(
        sentence, sizeof sentence, "checkpoint of step %lld is not usable, %s: %s", (long long)step,
        older > 0 ? "trying the one before it"
                  : "and there is none before it; bring one back, or begin in another directory",
        canto_error_message());
    if (note) note(context, sentence);
}

// The newest one's sentence tells most; all others went through `note`.
static canto_status none_is_good(const char *dir, const char *newest)
{
    char sentence[CANTO_MESSAGE_MAX];
    snprintf(sentence, sizeof sentence,
             "no checkpoint in %.150s is usable; put a good one back, or train in another "
             "directory: %.250s",
             dir, newest);
    canto_error_adopt(sentence);
    return CANTO_ERROR_CHECKPOINT;
}

static canto_status open_newest(canto_comm *comm, const char *dir, const int64_t *steps, int count,
                                canto_store_note note, void *context, canto_store_reader **out)
{
    char newest[CANTO_MESSAGE_MAX] = "";
    for (int left = count;; left--) {
        int64_t at[2];
        CANTO_TRY(share_step(comm, steps, left, at));
        if (at[0] < 0) break;
        canto_status status = open_step(comm, dir, at[0], out);
        if (!may_fall_back(status)) return status;
        // Of a sole one the failure itself tells.
        if (newest[0] || at[1] > 0) tell(note, context, at[0], at[1]);
        if (!newest[0]) snprintf(newest, sizeof newest, "%s", canto_error_message());
        canto_error_clear();
    }
    return newest[0] ? none_is_good(dir, newest) : CANTO_OK;
}

canto_status canto_store_open(canto_comm *comm, const char *dir, int64_t step,
                              canto_store_note note, void *context, canto_store_reader **out)
{
    *out = NULL;
    if (step >= 0) return open_step(comm, dir, step, out);
    int64_t *steps = NULL;
    int count = 0;
    canto_status status = CANTO_OK;
    if (comm->rank == 0) status = canto_steps_list(dir, &steps, &count);
    status = canto_comm_agree(comm, status);
    if (status == CANTO_OK) status = open_newest(comm, dir, steps, count, note, context, out);
    free(steps);
    return status;
}

// --- what is in it ---

int64_t canto_store_step(const canto_store_reader *reader)
{
    return reader->manifest.step;
}

const char *canto_store_text(const canto_store_reader *reader, const char *name)
{
    for (int64_t i = 0; i < reader->manifest.texts_n; i++) {
        if (strcmp(reader->manifest.texts[i].name, name) == 0)
            return reader->manifest.texts[i].text;
    }
    return NULL;
}

int64_t canto_store_tensors(const canto_store_reader *reader)
{
    return reader->manifest.tensors_n;
}

canto_store_tensor canto_store_tensor_at(const canto_store_reader *reader, int64_t index)
{
    const canto_manifest_tensor *tensor = &reader->manifest.tensors[index];
    canto_store_tensor out = {.name = tensor->name,
                              .dtype = tensor->dtype,
                              .dims_n = tensor->dims_n,
                              .count = tensor->count};
    for (int i = 0; i < tensor->dims_n; i++) out.dims[i] = tensor->dims[i];
    return out;
}

void canto_store_tensor_text(const canto_store_tensor *tensor, char text[128])
{
    canto_manifest_shape_text(tensor->dtype, tensor->dims_n, tensor->dims, text);
}

static canto_status check_same_shape(const canto_store_reader *reader,
                                     const canto_manifest_tensor *tensor, canto_dtype dtype,
                                     int dims_n, const int64_t *dims)
{
    bool same = tensor->dtype == dtype && tensor->dims_n == dims_n;
    for (int i = 0; same && i < dims_n; i++) same = tensor->dims[i] == dims[i];
    if (same) return CANTO_OK;
    char stored[128], wanted[128];
    canto_manifest_shape_text(tensor->dtype, tensor->dims_n, tensor->dims, stored);
    canto_manifest_shape_text(dtype, dims_n, dims, wanted);
    CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "tensor %s is %s in %s and %s here", tensor->name, stored,
               reader->path.text, wanted);
}

// The elements that [begin, begin + count) has in common with one piece, into their place in
// `data`.
static canto_status read_piece(canto_store_reader *reader, const canto_manifest_tensor *tensor,
                               const canto_manifest_piece *piece, int64_t begin, int64_t count,
                               char *data)
{
    const int64_t width = (int64_t)canto_dtype_bytes(tensor->dtype);
    int64_t first = begin > piece->begin ? begin : piece->begin;
    int64_t end =
        begin + count < piece->begin + piece->count ? begin + count : piece->begin + piece->count;
    if (first >= end) return CANTO_OK;
    const canto_file_run run = {.offset = piece->offset,
                                .bytes = piece->count * width,
                                .keep = (first - piece->begin) * width,
                                .keep_bytes = (end - first) * width};
    canto_path file;
    canto_hash hash;
    const char *name = reader->manifest.shards[piece->shard].file;
    CANTO_TRY(canto_path_join(reader->path.text, name, &file));
    CANTO_TRY(canto_file_read_run(file.text, &run, reader->buffer, data + (first - begin) * width,
                                  &hash));
    if (!canto_hash_equal(&hash, &piece->hash)) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s: the checksum of tensor %s does not match",
                   file.text, tensor->name);
    }
    return CANTO_OK;
}

canto_status canto_store_read(canto_store_reader *reader, const char *name, canto_dtype dtype,
                              int dims_n, const int64_t *dims, int64_t begin, int64_t count,
                              void *data)
{
    CANTO_CHECK(dims_n >= 0 && dims_n <= CANTO_DIMS_MAX, "tensor %s has %d dimensions", name,
                dims_n);
    const canto_manifest_tensor *tensor = canto_manifest_find(&reader->manifest, name);
    if (!tensor) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "tensor %s is not in %s", name, reader->path.text);
    }
    CANTO_TRY(check_same_shape(reader, tensor, dtype, dims_n, dims));
    CANTO_CHECK(begin >= 0 && count >= 0 && begin <= tensor->count &&
                    count <= tensor->count - begin,
                "tensor %s has %lld elements, so there is no run of %lld from %lld", name,
                (long long)tensor->count, (long long)count, (long long)begin);
    for (int64_t i = 0; i < tensor->pieces_n; i++) {
        const canto_manifest_piece *piece = &reader->manifest.pieces[tensor->first_piece + i];
        CANTO_TRY(read_piece(reader, tensor, piece, begin, count, data));
    }
    return CANTO_OK;
}
