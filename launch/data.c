// Text is mapped, not read: a window is a pointer. Nothing is sent; every rank derives the whole
// stream's documents itself.
#define _GNU_SOURCE
#include "launch/data.h"

#include "parallel/digest.h"
#include "runtime/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static canto_status map_text(const char *path, canto_data *data)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "data.path: cannot open %s: %s", path, strerror(errno));
    struct stat info;
    bool regular = fstat(file, &info) == 0 && S_ISREG(info.st_mode);
    void *text = MAP_FAILED;
    if (regular && info.st_size > 0)
        text = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    close(file);
    if (text == MAP_FAILED)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "data.path: %s is not a file with text in it", path);
    data->text = text;
    data->size = info.st_size;
    return CANTO_OK;
}

canto_status canto_data_anchor(canto_config *config)
{
    char *absolute = realpath(config->data.path, NULL);
    if (!absolute) return CANTO_OK;
    const size_t room = sizeof config->data.path;
    bool fits = (size_t)snprintf(config->data.path, room, "%s", absolute) < room;
    free(absolute);
    if (!fits)
        CANTO_FAIL(
            CANTO_ERROR_CONFIG,
            "data.path: longer than %zu bytes from the root; move the text to a shorter path",
            room - 1);
    return CANTO_OK;
}

canto_status canto_data_sizes(const canto_config *config, int dp, canto_data *out)
{
    *out = (canto_data){.seed = config->run.seed,
                        .seq_len = config->train.seq_len,
                        .sequences = (int)(config->train.batch / dp),
                        .max_documents = (int)config->data.max_documents,
                        .separator = config->data.separator};
    if (config->train.batch % dp != 0) {
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "train.batch: %lld sequences cannot be shared by %d replicas; choose a multiple "
                   "of parallel.dp",
                   (long long)config->train.batch, dp);
    }
    if (out->max_documents < out->sequences) {
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.max_documents: %d documents are fewer than the %d sequences of a replica; "
                   "raise it",
                   out->max_documents, out->sequences);
    }
    if (config->model.vocab < 256)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "model.vocab: %d is too small for bytes; use 256 or more",
                   config->model.vocab);
    return CANTO_OK;
}

canto_status canto_data_open(const canto_config *config, int dp, canto_data *out)
{
    CANTO_TRY(canto_data_sizes(config, dp, out));
    CANTO_TRY(map_text(config->data.path, out));
    out->train_size = out->size - (int64_t)((double)out->size * config->data.held_out);
    if (out->train_size < out->seq_len + 1) {
        canto_data_close(out);
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.path: %s leaves too little text to train on for train.seq_len %lld; use a "
                   "longer text or a shorter train.seq_len",
                   config->data.path, (long long)config->train.seq_len);
    }
    return CANTO_OK;
}

void canto_data_close(canto_data *data)
{
    if (data->text) munmap((void *)data->text, (size_t)data->size);
    *data = (canto_data){0};
}

uint64_t canto_data_digest(const canto_data *data)
{
    enum { PROBES = 4096 };
    canto_digest digest;
    canto_digest_init(&digest);
    canto_digest_add(&digest, 1, &data->size);
    for (int64_t i = 0; i < PROBES; i++) {
        const int64_t byte = data->text[data->size / PROBES * i + data->size % PROBES * i / PROBES];
        canto_digest_add(&digest, 1, &byte);
    }
    return canto_digest_value(&digest);
}

canto_status canto_batch_create(canto_arena *arena, const canto_data *data, int64_t tokens,
                                canto_batch *out)
{
    *out = (canto_batch){0};
    CANTO_TRY(canto_arena_array(arena, "windows", data->sequences, sizeof *out->begins,
                                (void **)&out->begins));
    CANTO_TRY(canto_arena_array(arena, "window ends", data->sequences, sizeof *out->ends,
                                (void **)&out->ends));
    CANTO_TRY(canto_arena_array(arena, "document starts", data->max_documents + 1,
                                sizeof *out->starts, (void **)&out->starts));
    CANTO_TRY(
        canto_arena_array(arena, "tokens", tokens, sizeof *out->tokens, (void **)&out->tokens));
    return canto_arena_array(arena, "targets", tokens, sizeof *out->targets,
                             (void **)&out->targets);
}

static int64_t sample_begin(const canto_data *data, int64_t sample)
{
    return canto_rng_below((uint64_t)data->seed, CANTO_RNG_DATA, (uint64_t)sample,
                           data->train_size - data->seq_len);
}

// The first place after a separator in text[from, end), or `end`.
static int64_t next_document(const canto_data *data, int64_t from, int64_t end)
{
    size_t length = strlen(data->separator);
    if (length == 0 || from >= end) return end;
    const uint8_t *found = memmem(data->text + from, (size_t)(end - from), data->separator, length);
    return found ? found - data->text + (int64_t)length : end;
}

// Documents and targets of the windows in begins/ends. Positions past a window's end belong to its
// last document, without targets.
static canto_status find_documents(const canto_data *data, canto_batch *batch)
{
    int n = 0;
    batch->targets_n = 0;
    for (int i = 0; i < data->sequences; i++) {
        int64_t begin = batch->begins[i];
        int64_t end = batch->ends[i];
        int64_t at = begin;
        do {
            if (n == data->max_documents) {
                CANTO_FAIL(CANTO_ERROR_CONFIG,
                           "data.max_documents: the windows of one step hold more than %d "
                           "documents; raise it or choose another data.separator",
                           data->max_documents);
            }
            batch->starts[n++] = i * data->seq_len + at - begin;
            at = next_document(data, at, end);
            if (at < end) batch->targets_n--; // the byte before a document has no target
        } while (at < end);
        batch->targets_n += end - begin;
    }
    batch->starts[n] = data->sequences * data->seq_len;
    batch->documents = (canto_documents){.n = n, .starts = batch->starts};
    return CANTO_OK;
}

canto_status canto_batch_train(const canto_data *data, int64_t first_sample, canto_batch *batch)
{
    for (int i = 0; i < data->sequences; i++) {
        batch->begins[i] = sample_begin(data, first_sample + i);
        batch->ends[i] = batch->begins[i] + data->seq_len;
    }
    return find_documents(data, batch);
}

// Held-out windows start one byte early, so that every held-out byte is predicted once.
canto_status canto_batch_held_out(const canto_data *data, int64_t first, int64_t bytes,
                                  canto_batch *batch)
{
    int64_t last = data->train_size - 1 + bytes;
    for (int i = 0; i < data->sequences; i++) {
        int64_t begin = data->train_size - 1 + (first + i) * data->seq_len;
        batch->begins[i] = begin < last ? begin : last;
        batch->ends[i] = begin + data->seq_len < last ? begin + data->seq_len : last;
    }
    return find_documents(data, batch);
}

int64_t canto_data_held_out_bytes(const canto_data *data, int64_t tokens)
{
    int64_t all = data->size - data->train_size;
    return tokens > 0 && tokens < all ? tokens : all;
}

int64_t canto_data_held_out_windows(const canto_data *data, int64_t tokens)
{
    return (canto_data_held_out_bytes(data, tokens) + data->seq_len - 1) / data->seq_len;
}

static bool starts_document(const canto_documents *documents, int64_t position)
{
    return documents->starts[canto_documents_find(documents, position)] == position;
}

void canto_batch_fill(const canto_data *data, const canto_plan *plan, canto_batch *batch)
{
    for (int64_t t = 0; t < plan->tokens; t++) {
        int64_t sequence = plan->positions[t] / data->seq_len;
        int64_t at = batch->begins[sequence] + plan->positions[t] % data->seq_len;
        bool inside = at < batch->ends[sequence];
        batch->tokens[t] = inside ? data->text[at] : 0;
        batch->targets[t] = inside ? data->text[at + 1] : -1;
    }
    // The last byte of a document that another follows in the same window predicts nothing.
    for (int64_t p = 0; p < plan->pieces_n; p++) {
        const canto_piece *piece = &plan->pieces[p];
        int64_t after = piece->local + piece->tokens - 1;
        int64_t next = plan->positions[after] + 1;
        bool window_ends = next % data->seq_len == 0;
        if (!window_ends && starts_document(&batch->documents, next)) batch->targets[after] = -1;
    }
}

int64_t canto_data_targets(const canto_data *data, int64_t first_sample, int64_t n)
{
    int64_t targets = n * data->seq_len;
    for (int64_t i = 0; data->separator[0] != '\0' && i < n; i++) {
        int64_t begin = sample_begin(data, first_sample + i);
        int64_t end = begin + data->seq_len;
        for (int64_t at = next_document(data, begin, end); at < end;
             at = next_document(data, at, end))
            targets--;
    }
    return targets;
}
