// The text of a run: windows are functions of (seed, sample), documents end at separators, every
// target is counted, and every held-out byte is predicted once, whatever the ranks.
#define _POSIX_C_SOURCE 200809L
#include "launch/batch.h"
#include "runtime/rng.h"
#include "tests/canto_test.h"
#include "tests/launch/corpora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STREAM_MAX = 4096, PIECES_MAX = 4096 };

// --- a text, a configuration, and the part of a plan that filling a batch reads ---

typedef struct text_file {
    char path[64];
    uint8_t bytes[8192];
    int64_t size;
} text_file;

// Letters a-e and spaces; a third of all characters are 'a', so that separators of several bytes
// occur.
static void make_text(text_file *text, int64_t size, uint64_t seed)
{
    static const char letters[] = "aabcde aa";
    *text = (text_file){.path = "/tmp/canto_data_XXXXXX", .size = size};
    for (int64_t i = 0; i < size; i++) {
        int64_t letter = canto_rng_below(seed, CANTO_RNG_TEST, (uint64_t)i, sizeof letters - 1);
        text->bytes[i] = (uint8_t)letters[letter];
    }
    int file = mkstemp(text->path);
    assert_true(file >= 0);
    assert_int_equal(write(file, text->bytes, (size_t)size), size);
    close(file);
}

static canto_config make_config(const text_file *text, int64_t seq_len, int64_t batch,
                                double held_out, const char *separator)
{
    canto_config config = {.run.seed = 7,
                           .model.vocab = 256,
                           .train.seq_len = seq_len,
                           .train.batch = batch,
                           .data.held_out = held_out,
                           .data.eot = -1,
                           .data.max_documents = STREAM_MAX};
    snprintf(config.data.path, sizeof config.data.path, "%s", text->path);
    snprintf(config.data.separator, sizeof config.data.separator, "%s", separator);
    return config;
}

typedef struct rank_tokens {
    canto_mesh mesh; // my rank only
    canto_plan plan; // tokens, shards and pieces only
    int64_t positions[STREAM_MAX];
    canto_piece pieces[PIECES_MAX];
} rank_tokens;

static void place_span(rank_tokens *out, const canto_documents *documents, const canto_span *span)
{
    for (int i = 0; i < documents->n; i++) {
        int64_t begin = documents->starts[i], end = documents->starts[i + 1];
        if (begin < span->begin) begin = span->begin;
        if (end > span->end) end = span->end;
        if (begin >= end) continue;
        int64_t local = span->local + begin - span->begin;
        out->pieces[out->plan.pieces_n++] = (canto_piece){.local = local, .tokens = end - begin};
        for (int64_t t = begin; t < end; t++) out->positions[local + t - begin] = t;
    }
}

static void place(rank_tokens *out, const canto_shards *shards, const canto_documents *documents,
                  int rank)
{
    out->mesh = (canto_mesh){.cp_rank = rank};
    out->plan = (canto_plan){.desc.mesh = &out->mesh,
                             .shards = *shards,
                             .tokens = canto_shards_tokens(shards, rank),
                             .segments = shards->first[rank + 1] - shards->first[rank],
                             .pieces = out->pieces};
    for (int s = shards->first[rank]; s < shards->first[rank + 1]; s++)
        place_span(out, documents, &shards->spans[s]);
}

static void make_shards(canto_arena *arena, canto_layout layout, int cp, const canto_data *data,
                        canto_shards *out)
{
    int64_t bounds[64];
    for (int i = 0; i <= data->sequences; i++) bounds[i] = i * data->seq_len;
    CANTO_TEST_OK(canto_shards_create(arena, layout, cp, data->sequences, bounds, NULL, out));
}

// --- the same things, found the slow way ---

// Whether a document starts at text[at], seen from a window or document that started at `from`.
static bool follows_separator(const text_file *text, int64_t from, int64_t at,
                              const char *separator)
{
    int64_t length = (int64_t)strlen(separator);
    return length > 0 && at - from >= length &&
           memcmp(text->bytes + at - length, separator, (size_t)length) == 0;
}

// targets[j] of the window [begin, end), -1 where none is due; returns how many there are.
static int64_t slow_targets(const text_file *text, int64_t begin, int64_t end,
                            const char *separator, int32_t *targets)
{
    int64_t from = begin, n = 0;
    for (int64_t at = begin; at < end; at++) {
        bool ends = at + 1 < end && follows_separator(text, from, at + 1, separator);
        targets[at - begin] = ends ? -1 : text->bytes[at + 1];
        n += !ends;
        if (ends) from = at + 1;
    }
    return n;
}

// --- training ---

typedef struct division {
    int dp, cp;
    canto_layout layout;
} division;

static const division divisions[] = {
    {1, 1, CANTO_LAYOUT_CONTIGUOUS}, {1, 3, CANTO_LAYOUT_CONTIGUOUS},
    {2, 1, CANTO_LAYOUT_ZIGZAG},     {2, 2, CANTO_LAYOUT_ZIGZAG},
    {3, 4, CANTO_LAYOUT_ZIGZAG},     {6, 2, CANTO_LAYOUT_CONTIGUOUS},
    {4, 1, CANTO_LAYOUT_CONTIGUOUS}, {5, 2, CANTO_LAYOUT_ZIGZAG},
};
enum { DIVISIONS = sizeof divisions / sizeof *divisions, BATCH = 6 };

// What a step reads, by sample and place: the same for every division.
typedef struct step_read {
    int64_t begins[BATCH];
    int32_t tokens[STREAM_MAX], targets[STREAM_MAX]; // [BATCH * seq_len]
    int filled[STREAM_MAX];
    int64_t targets_n;
} step_read;

static void scatter(const rank_tokens *mine, const canto_batch *batch, int64_t offset,
                    step_read *out)
{
    for (int64_t t = 0; t < mine->plan.tokens; t++) {
        int64_t at = offset + mine->positions[t];
        out->tokens[at] = batch->tokens[t];
        out->targets[at] = batch->targets[t];
        out->filled[at]++;
    }
}

static void keep_begins(const canto_data *data, const canto_batch *batch, int64_t *begins)
{
    for (int i = 0; i < data->sequences; i++) {
        int document = canto_documents_find(&batch->documents, i * data->seq_len);
        assert_int_equal(batch->starts[document], i * data->seq_len);
        begins[i] = batch->stretches[document].source;
    }
}

static void read_group(const canto_config *config, const division *d, int group, int64_t first,
                       step_read *out)
{
    static rank_tokens mine;
    canto_data data;
    canto_arena arena;
    canto_batch batch;
    canto_shards shards;
    CANTO_TEST_OK(canto_data_open(config, d->dp, group, &data));
    CANTO_TEST_OK(canto_arena_create(&arena, 1 << 20));
    CANTO_TEST_OK(canto_batch_create(&arena, &data, data.sequences * data.seq_len, &batch));
    make_shards(&arena, d->layout, d->cp, &data, &shards);
    CANTO_TEST_OK(canto_batch_train(&data, first + data.first, &batch));
    keep_begins(&data, &batch, out->begins + data.first);
    out->targets_n += batch.targets_n;
    for (int rank = 0; rank < d->cp; rank++) {
        place(&mine, &shards, &batch.documents, rank);
        CANTO_TEST_OK(canto_batch_fill(&mine.plan, &batch));
        scatter(&mine, &batch, data.first * data.seq_len, out);
    }
    canto_arena_destroy(&arena);
    canto_data_close(&data);
}

static void read_step(const canto_config *config, const division *d, int64_t first, step_read *out)
{
    canto_data data;
    int64_t targets;
    *out = (step_read){0};
    for (int group = 0; group < d->dp; group++) read_group(config, d, group, first, out);
    CANTO_TEST_OK(canto_data_open(config, 1, 0, &data));
    CANTO_TEST_OK(canto_data_targets(&data, first, BATCH, &targets));
    assert_int_equal(out->targets_n, targets);
    canto_data_close(&data);
}

static void check_step(const text_file *text, const canto_config *config, const step_read *read)
{
    int32_t targets[STREAM_MAX];
    int64_t seq_len = config->train.seq_len, targets_n = 0;
    for (int i = 0; i < BATCH; i++) {
        int64_t begin = read->begins[i];
        int64_t due = slow_targets(text, begin, begin + seq_len, config->data.separator, targets);
        targets_n += due;
        for (int64_t j = 0; j < seq_len; j++) {
            int64_t at = i * seq_len + j;
            assert_int_equal(read->filled[at], 1);
            assert_int_equal(read->tokens[at], text->bytes[begin + j]);
            assert_int_equal(read->targets[at], targets[j]);
        }
    }
    assert_int_equal(read->targets_n, targets_n);
}

static void every_division_reads_the_same_step(void **state)
{
    (void)state;
    static const char *const separators[] = {"", "a", "aa", " ", "ab", "zz"};
    static const int64_t lengths[] = {1, 2, 17, 64, 129};
    static step_read first, other;
    text_file text;
    make_text(&text, 3000, 1);
    for (size_t s = 0; s < sizeof separators / sizeof *separators; s++) {
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
            canto_config config = make_config(&text, lengths[l], BATCH, 0.05, separators[s]);
            read_step(&config, &divisions[0], 40, &first);
            check_step(&text, &config, &first);
            for (int d = 1; d < DIVISIONS; d++) {
                read_step(&config, &divisions[d], 40, &other);
                assert_memory_equal(&first, &other, sizeof first);
            }
        }
    }
    unlink(text.path);
}

static void every_division_reads_the_same_documents(void **state)
{
    (void)state;
    static const canto_data_order orders[] = {CANTO_ORDER_PACKED, CANTO_ORDER_CUT};
    static step_read first, other;
    text_file text;
    make_text(&text, 3000, 1);
    for (int i = 0; i < 4; i++) {
        canto_config config = make_config(&text, i < 2 ? 17 : 29, BATCH, 0.05, "ab");
        config.data.order = orders[i % 2];
        read_step(&config, &divisions[0], 40, &first);
        for (int d = 1; d < DIVISIONS; d++) {
            read_step(&config, &divisions[d], 40, &other);
            assert_memory_equal(&first, &other, sizeof first);
        }
    }
    unlink(text.path);
}

static void a_sample_depends_on_seed_and_number_only(void **state)
{
    (void)state;
    static step_read early, late, other;
    text_file text;
    make_text(&text, 3000, 1);
    canto_config config = make_config(&text, 50, BATCH, 0.1, "");
    read_step(&config, &divisions[0], 100, &early);
    read_step(&config, &divisions[0], 102, &late);
    assert_memory_equal(early.begins + 2, late.begins, 4 * sizeof *early.begins);
    config.run.seed = 8;
    read_step(&config, &divisions[0], 100, &other);
    assert_memory_not_equal(early.begins, other.begins, sizeof early.begins);
    unlink(text.path);
}

// Every window lies in the training text, its last target too, and both ends are reached.
static void windows_cover_the_training_text_and_no_more(void **state)
{
    (void)state;
    static step_read read;
    text_file text;
    make_text(&text, 64, 1);
    canto_config config = make_config(&text, 10, BATCH, 0.25, "");
    int64_t low = INT64_MAX, high = 0;
    for (int64_t step = 0; step < 200; step++) {
        read_step(&config, &divisions[0], step * BATCH, &read);
        for (int i = 0; i < BATCH; i++) {
            if (read.begins[i] < low) low = read.begins[i];
            if (read.begins[i] > high) high = read.begins[i];
        }
    }
    assert_int_equal(low, 0);
    assert_int_equal(high + 10 + 1, 48); // one more byte is the last target
    unlink(text.path);
}

// --- the held-out text ---

typedef struct held_out_reader {
    canto_data data;
    canto_arena arena;
    canto_batch batch;
    canto_shards shards;
    int cp;
} held_out_reader;

// predicted[i]: how often text[i] was a target.
static void read_held_out_stream(held_out_reader *r, int64_t first, int64_t tokens,
                                 const text_file *text, int *predicted)
{
    static rank_tokens mine;
    const canto_data *data = &r->data;
    int64_t counted = 0;
    CANTO_TEST_OK(canto_batch_held_out(data, first + data->first, tokens, &r->batch));
    for (int rank = 0; rank < r->cp; rank++) {
        place(&mine, &r->shards, &r->batch.documents, rank);
        CANTO_TEST_OK(canto_batch_fill(&mine.plan, &r->batch));
        for (int64_t t = 0; t < mine.plan.tokens; t++) {
            if (r->batch.targets[t] < 0) continue;
            int64_t window = first + data->first + mine.positions[t] / data->seq_len;
            int64_t at =
                data->train_size - 1 + window * data->seq_len + mine.positions[t] % data->seq_len;
            assert_int_equal(r->batch.tokens[t], text->bytes[at]);
            assert_int_equal(r->batch.targets[t], text->bytes[at + 1]);
            predicted[at + 1]++;
            counted++;
        }
    }
    assert_int_equal(counted, r->batch.targets_n);
}

static void read_held_out(const canto_config *config, const division *d, int64_t limit,
                          const text_file *text, int *predicted)
{
    for (int group = 0; group < d->dp; group++) {
        held_out_reader r = {.cp = d->cp};
        CANTO_TEST_OK(canto_data_open(config, d->dp, group, &r.data));
        CANTO_TEST_OK(canto_arena_create(&r.arena, 1 << 20));
        CANTO_TEST_OK(
            canto_batch_create(&r.arena, &r.data, r.data.sequences * r.data.seq_len, &r.batch));
        make_shards(&r.arena, d->layout, d->cp, &r.data, &r.shards);
        int64_t tokens = canto_data_held_out_tokens(&r.data, limit);
        for (int64_t first = 0; first * r.data.seq_len < tokens; first += r.data.batch)
            read_held_out_stream(&r, first, tokens, text, predicted);
        canto_arena_destroy(&r.arena);
        canto_data_close(&r.data);
    }
}

static void check_held_out(const text_file *text, const canto_config *config, int64_t tokens,
                           const int *predicted)
{
    int64_t held_out = (int64_t)((double)text->size * config->data.held_out);
    int64_t begin = text->size - held_out;
    int64_t end = begin + (tokens > 0 && tokens < held_out ? tokens : held_out);
    int32_t targets[STREAM_MAX];
    int *due = calloc((size_t)text->size, sizeof *due);
    for (int64_t at = begin - 1; at < end - 1; at += config->train.seq_len) {
        int64_t last = at + config->train.seq_len < end - 1 ? at + config->train.seq_len : end - 1;
        slow_targets(text, at, last, config->data.separator, targets);
        for (int64_t j = at; j < last; j++) due[j + 1] = targets[j - at] >= 0;
    }
    if (config->data.separator[0] == '\0') {
        for (int64_t i = 0; i < text->size; i++) assert_int_equal(due[i], i >= begin && i < end);
    }
    assert_memory_equal(predicted, due, (size_t)text->size * sizeof *due);
    free(due);
}

static void every_held_out_byte_is_predicted_once(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 7, 64, 90};
    static const int64_t limits[] = {0, 1, 89, 100000};
    static const char *const separators[] = {"", "a"};
    text_file text;
    make_text(&text, 1801, 1);
    for (int i = 0; i < 4 * 4 * 2 * DIVISIONS; i++) {
        const division *d = &divisions[i % DIVISIONS];
        int64_t tokens = limits[i / DIVISIONS % 4];
        canto_config config = make_config(&text, lengths[i / DIVISIONS / 4 % 4], BATCH, 0.1,
                                          separators[i / DIVISIONS / 16]);
        int *predicted = calloc((size_t)text.size, sizeof *predicted);
        read_held_out(&config, d, tokens, &text, predicted);
        check_held_out(&text, &config, tokens, predicted);
        free(predicted);
    }
    unlink(text.path);
}

// Held out are the tokens of another path, but the first one, and all of data.path is for training.
static void another_path_can_be_held_out(void **state)
{
    (void)state;
    char root[64];
    canto_data data;
    canto_arena arena;
    canto_batch batch;
    text_file text;
    make_text(&text, 100, 1);
    corpora_make(root);
    corpora_text(root, "held/1", "0123456");
    corpora_text(root, "held/2", "789");
    canto_config config = make_config(&text, 4, 2, 0.5, "");
    snprintf(config.data.held_out_path, sizeof config.data.held_out_path, "%s/held", root);
    CANTO_TEST_OK(canto_data_open(&config, 1, 0, &data));
    assert_int_equal(data.train_size, 100);
    assert_int_equal(canto_data_held_out_tokens(&data, 0), 9);
    assert_int_equal(canto_data_held_out_tokens(&data, 5), 5);
    CANTO_TEST_OK(canto_arena_create(&arena, 1 << 20));
    CANTO_TEST_OK(canto_batch_create(&arena, &data, 8, &batch));
    CANTO_TEST_OK(canto_batch_held_out(&data, 0, 9, &batch));
    static rank_tokens mine;
    canto_shards shards;
    make_shards(&arena, CANTO_LAYOUT_CONTIGUOUS, 1, &data, &shards);
    place(&mine, &shards, &batch.documents, 0);
    CANTO_TEST_OK(canto_batch_fill(&mine.plan, &batch));
    static const int32_t targets[] = {'1', '2', '3', '4', '5', '6', -1, '8'};
    for (int i = 0; i < 8; i++) {
        assert_int_equal(batch.tokens[i], '0' + i);
        assert_int_equal(batch.targets[i], targets[i]);
    }
    assert_int_equal(batch.targets_n, 7);
    canto_arena_destroy(&arena);
    canto_data_close(&data);
    corpora_shard(root, "held.bin", 2, 3, (int32_t[]){1, 2, 3});
    snprintf(config.data.held_out_path, sizeof config.data.held_out_path, "%s/held.bin", root);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "holds shards of tokens, and data.path text",
                     canto_data_open(&config, 1, 0, &data));
    corpora_remove(root);
    unlink(text.path);
}

// --- refusals ---

static void unfit_texts_are_refused(void **state)
{
    (void)state;
    text_file text;
    make_text(&text, 100, 1);
    canto_data data;
    canto_config config = make_config(&text, 16, 6, 0.1, "");
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "train.batch: 6 sequences are too few for 7 replicas",
                     canto_data_open(&config, 7, 0, &data));
    config.data.max_documents = 2;
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "data.max_documents: 2 documents",
                     canto_data_open(&config, 2, 1, &data));
    config.model.vocab = 255;
    config.data.max_documents = 6;
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "model.vocab: 255", canto_data_open(&config, 1, 0, &data));
    config = make_config(&text, 90, 1, 0.1, "");
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "train.seq_len 90", canto_data_open(&config, 1, 0, &data));
    config.train.seq_len = 89;
    CANTO_TEST_OK(canto_data_open(&config, 1, 0, &data));
    canto_data_close(&data);
    canto_data_close(&data); // also of a closed one
    unlink(text.path);
}

static void too_many_documents_are_refused(void **state)
{
    (void)state;
    text_file text;
    make_text(&text, 1000, 1);
    canto_config config = make_config(&text, 200, 2, 0.1, "aa");
    canto_data data;
    canto_arena arena;
    canto_batch batch;
    CANTO_TEST_OK(canto_arena_create(&arena, 1 << 20));
    CANTO_TEST_OK(canto_data_open(&config, 1, 0, &data));
    CANTO_TEST_OK(canto_batch_create(&arena, &data, 400, &batch));
    CANTO_TEST_OK(canto_batch_train(&data, 0, &batch));
    int documents = batch.documents.n;
    assert_true(documents > 2);
    data.max_documents = documents;
    CANTO_TEST_OK(canto_batch_train(&data, 0, &batch));
    assert_int_equal(batch.starts[documents], 400);
    data.max_documents = documents - 1;
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "data.max_documents", canto_batch_train(&data, 0, &batch));
    canto_arena_destroy(&arena);
    canto_data_close(&data);
    unlink(text.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_division_reads_the_same_step),
        cmocka_unit_test(every_division_reads_the_same_documents),
        cmocka_unit_test(a_sample_depends_on_seed_and_number_only),
        cmocka_unit_test(windows_cover_the_training_text_and_no_more),
        cmocka_unit_test(every_held_out_byte_is_predicted_once),
        cmocka_unit_test(another_path_can_be_held_out),
        cmocka_unit_test(unfit_texts_are_refused),
        cmocka_unit_test(too_many_documents_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
