// Writing a checkpoint in two phases.
//
// Keeps: one HDF5 image in memory per rank that has data, twice its size while the file is written.
// Sends: at the beginning one broadcast and two agreements; at the commit two small gathers, six
// agreements, and from each other rank to rank 0 one message with the description of its part
// (about 200 bytes a piece).
//
// Every stage ends in canto_comm_agree, so that all ranks go on or all give up:
//     shards written and synced | described to rank 0 | manifest, rename, `latest` | retention
#include "runtime/store.h"

#include "runtime/store_dir.h"
#include "runtime/store_manifest.h"
#include "runtime/store_shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// What rank 0 tells the others at the start.
typedef struct {
    int64_t step;
    char id[CANTO_STORE_ID];
} attempt;

struct canto_store_writer {
    canto_comm *comm; // borrowed
    canto_path dir;
    attempt attempt;
    bool prepared;       // rank 0: the temporary directory may exist
    canto_manifest part; // what this rank writes
    canto_image *image;  // owned; NULL without data
    canto_status failed; // first failure since the beginning
    char reason[CANTO_MESSAGE_MAX];
};

static canto_status writer_create(canto_comm *comm, const char *dir, int64_t step,
                                  canto_store_writer **out)
{
    CANTO_CHECK(step >= 0 && step < (int64_t)1000000000000000, "step %lld cannot name a checkpoint",
                (long long)step);
    CANTO_CHECK(strlen(dir) > 0 && strlen(dir) < sizeof out[0]->dir.text - 2 * CANTO_STEP_NAME,
                "the path %.200s cannot hold checkpoints: it is empty or too long", dir);
    canto_store_writer *writer = calloc(1, sizeof *writer);
    if (!writer)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for a checkpoint of step %lld", (long long)step);
    writer->comm = comm;
    writer->attempt.step = step;
    strcpy(writer->dir.text, dir);
    *out = writer;
    return CANTO_OK;
}

static void writer_destroy(canto_store_writer **writer)
{
    if (!*writer) return;
    if ((*writer)->prepared) {
        canto_step_abandon((*writer)->dir.text, (*writer)->attempt.step, (*writer)->attempt.id);
    }
    canto_image_close(&(*writer)->image);
    canto_manifest_destroy(&(*writer)->part);
    free(*writer);
    *writer = NULL;
}

static canto_status prepare(canto_store_writer *writer)
{
    if (writer->comm->rank != 0) return CANTO_OK;
    CANTO_TRY(canto_store_make_id(writer->attempt.id));
    CANTO_TRY(canto_step_prepare(writer->dir.text, writer->attempt.step, writer->attempt.id));
    writer->prepared = true;
    return CANTO_OK;
}

// Collective.
static canto_status share_attempt(canto_store_writer *writer)
{
    attempt first = writer->attempt;
    CANTO_TRY(canto_comm_bcast(writer->comm, 0,
                               canto_tensor_vector(CANTO_U8, &first, (int64_t)sizeof first)));
    canto_status status = CANTO_OK;
    if (first.step != writer->attempt.step) {
        status = canto_error_raise(CANTO_ERROR_MISMATCH, __FILE__, __LINE__,
                                   "checkpoint of step %lld here and of step %lld on rank 0",
                                   (long long)writer->attempt.step, (long long)first.step);
    }
    writer->attempt = first;
    return canto_comm_agree(writer->comm, status);
}

canto_status canto_store_begin(canto_comm *comm, const char *dir, int64_t step,
                               canto_store_writer **out)
{
    canto_store_writer *writer = NULL;
    canto_status status = writer_create(comm, dir, step, &writer);
    if (status == CANTO_OK) status = prepare(writer);
    status = canto_comm_agree(comm, status);
    if (status == CANTO_OK) status = share_attempt(writer);
    if (status != CANTO_OK) writer_destroy(&writer);
    *out = writer;
    return status;
}

// --- local: into the image ---

static canto_status add_tensor_once(canto_manifest *part, const char *name, canto_dtype dtype,
                                    int dims_n, const int64_t *dims)
{
    const canto_manifest_tensor *last =
        part->tensors_n > 0 ? &part->tensors[part->tensors_n - 1] : NULL;
    // Pieces of a tensor usually follow each other; the rest is joined when the part is sorted.
    bool again = last && strcmp(last->name, name) == 0 && last->dtype == dtype &&
                 last->dims_n == dims_n &&
                 (dims_n == 0 || memcmp(last->dims, dims, (size_t)dims_n * sizeof *dims) == 0);
    return again ? CANTO_OK : canto_manifest_add_tensor(part, name, dtype, dims_n, dims);
}

static canto_status add_piece(canto_store_writer *writer, const canto_image_piece *piece,
                              const void *data)
{
    canto_manifest *part = &writer->part;
    canto_manifest_piece entry = {
        .tensor = part->tensors_n - 1, .begin = piece->begin, .count = piece->count};
    CANTO_CHECK(data, "tensor %s: no data", piece->name);
    CANTO_TRY(canto_manifest_add_piece(part, &entry)); // checks the range before data is touched
    canto_manifest_piece *added = &part->pieces[part->pieces_n - 1];
    if (!writer->image) CANTO_TRY(canto_image_create(writer->attempt.step, &writer->image));
    CANTO_TRY(canto_image_add(writer->image, piece, data, &added->offset));
    added->hash = canto_hash_of(data, (size_t)piece->count * canto_dtype_bytes(piece->dtype));
    return CANTO_OK;
}

// A failure here is kept, so that a caller who cannot leave alone learns of it at the commit.
static canto_status remember(canto_store_writer *writer, canto_status status)
{
    if (status != CANTO_OK && writer->failed == CANTO_OK) {
        writer->failed = status;
        snprintf(writer->reason, sizeof writer->reason, "%s", canto_error_message());
    }
    return status;
}

static canto_status write_tensor(canto_store_writer *writer, const char *name, canto_dtype dtype,
                                 int dims_n, const int64_t *dims, int64_t begin, int64_t count,
                                 const void *data)
{
    CANTO_TRY(add_tensor_once(&writer->part, name, dtype, dims_n, dims));
    if (count == 0) return CANTO_OK;
    const canto_image_piece piece = {.name = name, .dtype = dtype, .begin = begin, .count = count};
    return add_piece(writer, &piece, data);
}

canto_status canto_store_write(canto_store_writer *writer, const char *name, canto_dtype dtype,
                               int dims_n, const int64_t *dims, int64_t begin, int64_t count,
                               const void *data)
{
    return remember(writer, write_tensor(writer, name, dtype, dims_n, dims, begin, count, data));
}

canto_status canto_store_write_text(canto_store_writer *writer, const char *name, const char *text)
{
    canto_status status = canto_manifest_add_text(&writer->part, name, text);
    return remember(writer, status);
}

// --- collective: stages of the commit ---

// The shards are numbered over the ranks that have data. Collective.
static canto_status number_shards(canto_store_writer *writer, int *index, int *count)
{
    canto_comm *comm = writer->comm;
    int32_t *has_data = calloc((size_t)comm->size, sizeof *has_data);
    canto_status status = CANTO_OK;
    if (!has_data) {
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "no memory to number the shards of %d ranks", comm->size);
    }
    status = canto_comm_agree(comm, status);
    const int32_t mine = writer->image != NULL;
    if (status == CANTO_OK) status = canto_comm_gather_small(comm, sizeof mine, &mine, has_data);
    *index = 0;
    *count = 0;
    for (int r = 0; status == CANTO_OK && r < comm->size; r++) {
        if (r == comm->rank) *index = *count;
        *count += has_data[r];
    }
    free(has_data);
    return status;
}

static canto_status write_shard(canto_store_writer *writer, int index, int count)
{
    if (!writer->image) return CANTO_OK;
    char directory[CANTO_STEP_NAME], file[64];
    canto_path path;
    canto_hash hash;
    void *data;
    size_t bytes;
    canto_step_temporary_name(writer->attempt.step, writer->attempt.id, directory);
    snprintf(file, sizeof file, "shard-%04d-of-%04d.h5", index, count);
    CANTO_TRY(canto_path_join(writer->dir.text, directory, &path));
    const canto_path parent = path;
    CANTO_TRY(canto_path_join(parent.text, file, &path));
    CANTO_TRY(canto_image_bytes(writer->image, &data, &bytes));
    canto_status status = canto_file_create(path.text, data, bytes, &hash);
    free(data);
    CANTO_TRY(status);
    return canto_manifest_add_shard(&writer->part, file, (int64_t)bytes, &hash);
}

// The description of this rank's part. Only rank 0's texts are kept.
static canto_status describe(canto_store_writer *writer, char **text, size_t *bytes)
{
    CANTO_TRY(canto_manifest_sort(&writer->part));
    canto_manifest part = writer->part;
    if (writer->comm->rank != 0) part.texts_n = 0;
    part.step = writer->attempt.step;
    return canto_manifest_encode(&part, text, bytes);
}

// all[sum of bytes of lower ranks ...] = description of each rank, on rank 0. Collective.
static canto_status receive_parts(canto_comm *comm, const int64_t *bytes, char *all)
{
    int64_t at = bytes[0];
    for (int r = 1; r < comm->size; r++) {
        canto_request request;
        CANTO_TRY(
            canto_comm_recv(comm, r, canto_tensor_vector(CANTO_U8, all + at, bytes[r]), &request));
        CANTO_TRY(canto_comm_wait(comm, &request));
        at += bytes[r];
    }
    return CANTO_OK;
}

static canto_status send_part(canto_comm *comm, char *text, int64_t bytes)
{
    canto_request request;
    CANTO_TRY(canto_comm_send(comm, 0, canto_tensor_vector(CANTO_U8, text, bytes), &request));
    return canto_comm_wait(comm, &request);
}

static canto_status parts_room(canto_comm *comm, const int64_t *bytes, char **all)
{
    if (comm->rank != 0) return CANTO_OK;
    int64_t sum = 0;
    for (int r = 0; r < comm->size; r++) sum += bytes[r];
    *all = malloc((size_t)sum);
    if (!*all)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for the descriptions of %d shards", comm->size);
    return CANTO_OK;
}

// bytes [size]: of each rank's description. Collective; *all on rank 0, caller frees.
static canto_status gather_parts(canto_store_writer *writer, int64_t *bytes, char **all)
{
    canto_comm *comm = writer->comm;
    char *text = NULL;
    size_t text_bytes = 0;
    canto_status status = canto_comm_agree(comm, describe(writer, &text, &text_bytes));
    const int64_t mine = (int64_t)text_bytes;
    if (status == CANTO_OK) status = canto_comm_gather_small(comm, sizeof mine, &mine, bytes);
    if (status == CANTO_OK) status = canto_comm_agree(comm, parts_room(comm, bytes, all));
    if (status == CANTO_OK && comm->rank == 0) {
        memcpy(*all, text, text_bytes);
        status = receive_parts(comm, bytes, *all);
    } else if (status == CANTO_OK) {
        status = send_part(comm, text, mine);
    }
    free(text);
    return status;
}

// Rank 0: one manifest of all parts, complete or refused.
static canto_status join_parts(canto_store_writer *writer, const int64_t *bytes, const char *all,
                               canto_manifest *whole)
{
    for (int r = 0; r < writer->comm->size; r++) {
        canto_manifest part;
        CANTO_TRY(canto_manifest_decode("the description of a rank's shard", all, (size_t)bytes[r],
                                        &part));
        canto_status status = canto_manifest_merge(whole, &part);
        canto_manifest_destroy(&part);
        CANTO_TRY(status);
        all += bytes[r];
    }
    CANTO_TRY(canto_manifest_sort(whole));
    whole->step = writer->attempt.step;
    const time_t now = time(NULL);
    struct tm utc;
    strftime(whole->time, sizeof whole->time, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    return canto_manifest_check_cover(whole);
}

static canto_status write_manifest(canto_store_writer *writer, const canto_manifest *whole)
{
    char name[CANTO_STEP_NAME];
    char *text;
    size_t bytes;
    canto_path directory, temporary, final;
    canto_step_temporary_name(writer->attempt.step, writer->attempt.id, name);
    CANTO_TRY(canto_path_join(writer->dir.text, name, &directory));
    CANTO_TRY(canto_path_join(directory.text, "manifest.json.tmp", &temporary));
    CANTO_TRY(canto_path_join(directory.text, "manifest.json", &final));
    CANTO_TRY(canto_manifest_encode(whole, &text, &bytes));
    canto_status status = canto_file_create(temporary.text, text, bytes, NULL);
    free(text);
    CANTO_TRY(status);
    return canto_file_rename(temporary.text, final.text);
}

static canto_status publish(canto_store_writer *writer, const int64_t *bytes, const char *all)
{
    if (writer->comm->rank != 0) return CANTO_OK;
    canto_manifest whole = {0};
    canto_status status = join_parts(writer, bytes, all, &whole);
    if (status == CANTO_OK) status = write_manifest(writer, &whole);
    canto_manifest_destroy(&whole);
    CANTO_TRY(status);
    CANTO_TRY(canto_step_publish(writer->dir.text, writer->attempt.step, writer->attempt.id));
    writer->prepared = false;
    return CANTO_OK;
}

static canto_status earlier_failure(const canto_store_writer *writer)
{
    if (writer->failed == CANTO_OK) return CANTO_OK;
    canto_error_clear();
    canto_error_adopt(writer->reason);
    return writer->failed;
}

static canto_status commit(canto_store_writer *writer, int64_t *bytes)
{
    canto_comm *comm = writer->comm;
    int index, count;
    char *all = NULL;
    CANTO_TRY(number_shards(writer, &index, &count));
    CANTO_TRY(canto_comm_agree(comm, write_shard(writer, index, count)));
    canto_status status = gather_parts(writer, bytes, &all);
    if (status == CANTO_OK) status = canto_comm_agree(comm, publish(writer, bytes, all));
    free(all);
    return status;
}

void canto_store_abandon(canto_store_writer **writer)
{
    writer_destroy(writer);
}

canto_status canto_store_commit(canto_store_writer **writer, int keep_last)
{
    canto_store_writer *w = *writer;
    canto_comm *comm = w->comm;
    int64_t *bytes = calloc((size_t)comm->size, sizeof *bytes);
    canto_status status = earlier_failure(w);
    if (status == CANTO_OK && keep_last < 0) {
        status = canto_error_raise(CANTO_ERROR_ARGUMENT, __FILE__, __LINE__,
                                   "cannot keep %d checkpoints", keep_last);
    }
    if (status == CANTO_OK && !bytes) {
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "no memory to commit a checkpoint of %d ranks", comm->size);
    }
    status = canto_comm_agree(comm, status);
    if (status == CANTO_OK) status = commit(w, bytes);
    if (status == CANTO_OK && comm->rank == 0) {
        canto_steps_retain(w->dir.text, w->attempt.step, keep_last, w->attempt.id);
    }
    free(bytes);
    writer_destroy(writer);
    return status;
}
