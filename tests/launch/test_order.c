// Orders of documents: permutations are permutations, every token of an epoch is read and predicted
// once, any sample can be had at any time, and no step allocates.
#define _GNU_SOURCE
#include "launch/batch.h"
#include "runtime/rng.h"
#include "tests/allocations.h"
#include "tests/canto_test.h"
#include "tests/launch/corpora.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- permutations ---

static void check_permutation(int64_t n, int64_t number, int64_t *image)
{
    canto_permutation p;
    bool *seen = calloc((size_t)n, sizeof *seen);
    canto_permutation_init(3, CANTO_RNG_ORDER, number, n, &p);
    for (int64_t i = 0; i < n; i++) {
        image[i] = canto_permutation_at(&p, i);
        assert_in_range(image[i], 0, n - 1);
        assert_false(seen[image[i]]);
        seen[image[i]] = true;
    }
    free(seen);
}

static void permutations_are_permutations(void **state)
{
    (void)state;
    enum { MOST = 5000 };
    static int64_t one[MOST], two[MOST];
    for (int64_t n = 1; n <= MOST; n = n < 70 ? n + 1 : n * 3 / 2) {
        check_permutation(n, 0, one);
        check_permutation(n, 1, two);
        if (n > 20) assert_memory_not_equal(one, two, (size_t)n * sizeof *one);
    }
    canto_permutation huge;
    canto_permutation_init(3, CANTO_RNG_ORDER, 0, (int64_t)1 << 53, &huge);
    for (int64_t i = 0; i < 1000; i++) {
        const int64_t at = canto_permutation_at(&huge, ((int64_t)1 << 53) - 1 - i);
        assert_true(at >= 0 && at < (int64_t)1 << 53);
    }
}

// Where a thing goes is spread evenly over all places: chi-square with 9 degrees of freedom, of
// 1000 permutations, is above 33.7 once in 10^4.
static void permutations_are_even(void **state)
{
    (void)state;
    enum { N = 10, PERMUTATIONS = 1000 };
    double worst = 0;
    for (int64_t thing = 0; thing < N; thing++) {
        int counts[N] = {0};
        for (int64_t number = 0; number < PERMUTATIONS; number++) {
            canto_permutation p;
            canto_permutation_init(11, CANTO_RNG_ORDER, number, N, &p);
            counts[canto_permutation_at(&p, thing)]++;
        }
        double sum = 0, expected = (double)PERMUTATIONS / N;
        for (int i = 0; i < N; i++)
            sum += (counts[i] - expected) * (counts[i] - expected) / expected;
        if (sum > worst) worst = sum;
    }
    if (worst > 33.7) fail_msg("chi-square %.1f", worst);
}

// --- a corpus whose tokens are all different, in documents of very different lengths ---

enum { EOT = 0, VOCAB = 65536, TOKENS = 6000, BATCH = 3, DOCUMENTS_MAX = TOKENS };

typedef struct fixture {
    char root[64], path[80];
    int64_t starts[DOCUMENTS_MAX + 1]; // found the slow way
    int documents;
    canto_config config;
    canto_data data;
    canto_arena arena;
    canto_batch batch;
    canto_plan plan; // of one rank: tokens, shards, pieces
    canto_span span; // all of them
    int first[2];
} fixture;

static void write_corpus(fixture *f)
{
    static int32_t tokens[TOKENS];
    int64_t left = 0;
    f->documents = 0;
    for (int i = 0; i < TOKENS; i++) {
        const uint64_t seed = (uint64_t)i;
        // Two files, the second from token 4000 on.
        if (left == 0 || i == 4000) {
            const int64_t kind = canto_rng_below(1, CANTO_RNG_TEST, seed, 10);
            left = 1 + canto_rng_below(2, CANTO_RNG_TEST, seed,
                                       kind == 0  ? 400
                                       : kind < 4 ? 3
                                                  : 40);
            f->starts[f->documents++] = i;
        }
        tokens[i] = left == 1 ? EOT : 1 + i;
        left--;
    }
    f->starts[f->documents] = TOKENS;
    corpora_shard(f->root, "1.bin", 2, 4000, tokens);
    corpora_shard(f->root, "2.bin", 4, TOKENS - 4000, tokens + 4000);
}

static void take_plan(fixture *f, int64_t tokens)
{
    static const canto_mesh alone = {.dp = 1, .cp = 1};
    f->span = (canto_span){.end = tokens};
    f->first[1] = 1;
    f->plan = (canto_plan){.desc.mesh = &alone,
                           .shards = {.spans = &f->span, .first = f->first},
                           .tokens = tokens,
                           .segments = 1,
                           .pieces = malloc(sizeof *f->plan.pieces * (size_t)tokens)};
}

static void set_up(fixture *f, canto_data_order order, int64_t seq_len)
{
    *f = (fixture){0};
    corpora_make(f->root);
    write_corpus(f);
    f->config = (canto_config){.run.seed = 7,
                               .model.vocab = VOCAB,
                               .train.seq_len = seq_len,
                               .train.batch = BATCH,
                               .data.order = order,
                               .data.eot = EOT};
    snprintf(f->config.data.path, sizeof f->config.data.path, "%s", f->root);
    CANTO_TEST_OK(canto_data_open(&f->config, 1, 0, &f->data));
    CANTO_TEST_OK(canto_arena_create(&f->arena, 1 << 22));
    CANTO_TEST_OK(canto_batch_create(&f->arena, &f->data, BATCH * seq_len, &f->batch));
    take_plan(f, BATCH * seq_len);
}

static void tear_down(fixture *f)
{
    free(f->plan.pieces);
    canto_arena_destroy(&f->arena);
    canto_data_close(&f->data);
    corpora_remove(f->root);
}

static void read_samples(fixture *f, int64_t first)
{
    CANTO_TEST_OK(canto_batch_train(&f->data, first, &f->batch));
    const canto_documents *documents = &f->batch.documents;
    for (int i = 0; i < documents->n; i++)
        f->plan.pieces[i] =
            (canto_piece){.local = documents->starts[i],
                          .tokens = documents->starts[i + 1] - documents->starts[i]};
    f->plan.pieces_n = documents->n;
    CANTO_TEST_OK(canto_batch_fill(&f->plan, &f->batch));
}

// The token of the corpus, which is known by its value, or by its place if it is an end.
static int64_t source_of(const fixture *f, int64_t local)
{
    const int document = canto_documents_find(&f->batch.documents, local);
    const int64_t source = f->batch.stretches[document].source + local - f->batch.starts[document];
    if (f->batch.tokens[local] != EOT) assert_int_equal(f->batch.tokens[local], source + 1);
    return source;
}

static bool ends_document(const fixture *f, int64_t source)
{
    for (int i = 1; i <= f->documents; i++) {
        if (f->starts[i] == source + 1) return true;
    }
    return false;
}

// Adds the reads and predictions of one batch; every target is the next token of the corpus.
static void count_batch(const fixture *f, int *read, int *predicted)
{
    int64_t targets = 0;
    for (int64_t t = 0; t < f->plan.tokens; t++) {
        const int64_t source = source_of(f, t);
        read[source]++;
        if (f->batch.targets[t] < 0) continue;
        assert_false(ends_document(f, source));
        if (f->batch.targets[t] == EOT)
            assert_true(ends_document(f, source + 1));
        else
            assert_int_equal(f->batch.targets[t], source + 2);
        predicted[source + 1]++;
        targets++;
    }
    assert_int_equal(targets, f->batch.targets_n);
}

// --- orders ---

static void the_index_has_every_document(void **state)
{
    (void)state;
    static fixture f;
    set_up(&f, CANTO_ORDER_PACKED, 50);
    assert_int_equal(f.data.order.documents, f.documents);
    assert_true(f.documents > 100);
    assert_memory_equal(f.data.order.starts, f.starts,
                        (size_t)(f.documents + 1) * sizeof *f.starts);
    tear_down(&f);
}

// Sequence and batch divide an epoch, so that epochs can be told apart.
static void packed_reads_every_token_once_an_epoch(void **state)
{
    (void)state;
    static fixture f;
    static const int64_t lengths[] = {1, 4, 50, 400, 2000};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        set_up(&f, CANTO_ORDER_PACKED, lengths[l]);
        const int64_t samples = TOKENS / lengths[l];
        for (int epoch = 0; epoch < 3; epoch++) {
            static int read[TOKENS + 1], predicted[TOKENS + 1];
            memset(read, 0, sizeof read);
            memset(predicted, 0, sizeof predicted);
            for (int64_t i = 0; i < samples; i += BATCH) {
                read_samples(&f, epoch * samples + i);
                count_batch(&f, read, predicted);
            }
            for (int64_t t = 0; t < TOKENS; t++) {
                assert_int_equal(read[t], 1);
                assert_int_equal(predicted[t], t > 0 && !ends_document(&f, t - 1));
            }
        }
        tear_down(&f);
    }
}

// The stream of an epoch, made in one go from the permutation, and any sequence of it, asked for in
// any order, are the same.
static void packed_is_the_epochs_one_after_the_other(void **state)
{
    (void)state;
    enum { EPOCHS = 4, LENGTH = 70 };
    static fixture f;
    static int64_t stream[EPOCHS * TOKENS];
    set_up(&f, CANTO_ORDER_PACKED, LENGTH);
    int64_t n = 0;
    for (int64_t epoch = 0; epoch < EPOCHS; epoch++) {
        canto_permutation p;
        canto_permutation_init(7, CANTO_RNG_ORDER, epoch, f.documents, &p);
        for (int64_t i = 0; i < f.documents; i++) {
            const int64_t document = canto_permutation_at(&p, i);
            for (int64_t t = f.starts[document]; t < f.starts[document + 1]; t++) stream[n++] = t;
        }
    }
    assert_int_equal(n, EPOCHS * TOKENS);
    for (uint64_t i = 0; i < 500; i++) {
        const int64_t first = canto_rng_below(8, CANTO_RNG_TEST, i, n / LENGTH - BATCH);
        read_samples(&f, first);
        for (int64_t t = 0; t < f.plan.tokens; t++)
            assert_int_equal(source_of(&f, t), stream[first * LENGTH + t]);
        // Inside a sequence a document starts where the stream jumps, and nowhere else.
        for (int d = 0; d < f.batch.documents.n; d++) {
            const int64_t at = f.batch.starts[d], place = first * LENGTH + at;
            if (at % LENGTH == 0) continue;
            assert_true(ends_document(&f, stream[place - 1]));
        }
    }
    tear_down(&f);
}

static void cut_predicts_every_token_of_long_documents_once(void **state)
{
    (void)state;
    static fixture f;
    static const int64_t lengths[] = {1, 2, 7, 50, 300};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        static int read[TOKENS + 1], predicted[TOKENS + 1];
        set_up(&f, CANTO_ORDER_CUT, lengths[l]);
        const int64_t pieces = f.data.order.pieces;
        for (int64_t epoch = 0; epoch < 2; epoch++) {
            memset(predicted, 0, sizeof predicted);
            // Batches need not divide an epoch: one sample is read as the first of a batch.
            for (int64_t i = 0; i < pieces; i++) {
                read_samples(&f, epoch * pieces + i);
                for (int s = 0; s < BATCH; s++)
                    assert_int_equal(f.batch.starts[s], s * lengths[l]); // one document each
                assert_int_equal(f.batch.documents.n, BATCH);
                f.plan.tokens = lengths[l];
                f.batch.targets_n =
                    f.batch.stretches[0].targets_end - f.batch.stretches[0].targets_begin;
                count_batch(&f, read, predicted);
                f.plan.tokens = BATCH * lengths[l];
            }
            int64_t left_out = 0;
            for (int d = 0; d < f.documents; d++) {
                const int64_t length = f.starts[d + 1] - f.starts[d];
                const bool in = length >= lengths[l] && length > 1;
                left_out += in ? 0 : length;
                for (int64_t t = f.starts[d]; t < f.starts[d + 1]; t++)
                    assert_int_equal(predicted[t], in && t > f.starts[d]);
            }
            assert_int_equal(left_out, f.data.order.left_out_tokens);
        }
        tear_down(&f);
    }
}

static void documents_that_are_all_short_cannot_be_cut(void **state)
{
    (void)state;
    static fixture f;
    set_up(&f, CANTO_ORDER_CUT, 300);
    canto_data data;
    f.config.train.seq_len = 500;
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "data.order cut: none of the",
                     canto_data_open(&f.config, 1, 0, &data));
    tear_down(&f);
}

static void an_order_depends_on_seed_and_number_alone(void **state)
{
    (void)state;
    static fixture f;
    static int32_t tokens[BATCH * 50];
    static const canto_data_order orders[] = {CANTO_ORDER_PACKED, CANTO_ORDER_CUT};
    for (int k = 0; k < 2; k++) {
        set_up(&f, orders[k], 50);
        read_samples(&f, 12345);
        memcpy(tokens, f.batch.tokens, sizeof tokens);
        read_samples(&f, 1);
        read_samples(&f, 12345);
        assert_memory_equal(tokens, f.batch.tokens, sizeof tokens);
        read_samples(&f, 12346);
        assert_memory_equal(tokens + 50, f.batch.tokens, 2 * 50 * sizeof *tokens);
        canto_data_close(&f.data);
        f.config.run.seed = 8;
        CANTO_TEST_OK(canto_data_open(&f.config, 1, 0, &f.data));
        read_samples(&f, 12345);
        assert_memory_not_equal(tokens, f.batch.tokens, sizeof tokens);
        tear_down(&f);
    }
}

// Epochs come and go; 0 stands for as many documents as can occur, and is enough.
static void reading_allocates_nothing_and_documents_fit(void **state)
{
    (void)state;
    static fixture f;
    static const canto_data_order orders[] = {CANTO_ORDER_PACKED, CANTO_ORDER_CUT};
    for (int k = 0; k < 2; k++) {
        set_up(&f, orders[k], 45);
        int most = 0;
        const int64_t before = canto_test_allocations();
        for (int64_t i = 0; i < 2000; i++) {
            int64_t targets;
            CANTO_TEST_OK(canto_data_targets(&f.data, i * BATCH, BATCH, &targets));
            read_samples(&f, i * BATCH);
            assert_int_equal(targets, f.batch.targets_n);
            if (f.batch.documents.n > most) most = f.batch.documents.n;
        }
        assert_int_equal(canto_test_allocations(), before);
        assert_true(most <= f.data.max_documents);
        assert_true(k == 1 ? most == BATCH : most > 3 * BATCH);
        tear_down(&f);
    }
}

// Without separators the files alone are documents, and how many a window can touch is known.
static void windows_over_many_files_fit(void **state)
{
    (void)state;
    static fixture f;
    char name[16];
    set_up(&f, CANTO_ORDER_WINDOWS, 45);
    assert_int_equal(f.data.max_documents, BATCH); // separators: train.batch
    canto_data_close(&f.data);
    f.config.data.eot = -1;
    CANTO_TEST_OK(canto_data_open(&f.config, 1, 0, &f.data));
    assert_int_equal(f.data.max_documents, 2 * BATCH); // of two long files
    for (int i = 0; i < 200; i++) {
        const int32_t tokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
        snprintf(name, sizeof name, "0%03d.bin", i);
        corpora_shard(f.root, name, 2, 1 + i % 9, tokens);
    }
    canto_data_close(&f.data);
    CANTO_TEST_OK(canto_data_open(&f.config, 1, 0, &f.data));
    CANTO_TEST_OK(canto_batch_create(&f.arena, &f.data, BATCH * 45, &f.batch));
    int most = 0;
    for (int64_t i = 0; i < 3000; i++) {
        CANTO_TEST_OK(canto_batch_train(&f.data, i * BATCH, &f.batch));
        if (f.batch.documents.n > most) most = f.batch.documents.n;
    }
    assert_true(most > 3 * BATCH && most <= f.data.max_documents);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(permutations_are_permutations),
        cmocka_unit_test(permutations_are_even),
        cmocka_unit_test(the_index_has_every_document),
        cmocka_unit_test(packed_reads_every_token_once_an_epoch),
        cmocka_unit_test(packed_is_the_epochs_one_after_the_other),
        cmocka_unit_test(cut_predicts_every_token_of_long_documents_once),
        cmocka_unit_test(documents_that_are_all_short_cannot_be_cut),
        cmocka_unit_test(an_order_depends_on_seed_and_number_alone),
        cmocka_unit_test(windows_over_many_files_fit),
        cmocka_unit_test(reading_allocates_nothing_and_documents_fit),
    };
    return cmocka_run_group_tests_name("launch.order", tests, NULL, NULL);
}
