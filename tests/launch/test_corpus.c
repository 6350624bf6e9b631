// Files of a run: their order, their formats, every way in which one is not what it says, and that
// reading is by need.
#define _GNU_SOURCE
#include "runtime/rng.h"
#include "tests/allocations.h"
#include "tests/canto_test.h"
#include "tests/launch/corpora.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { VOCAB = 70000, READ_MAX = 4096 };

static void expect_text(const canto_corpus *corpus, const char *text)
{
    int32_t tokens[READ_MAX];
    const int64_t n = (int64_t)strlen(text);
    assert_true(corpus->text);
    assert_int_equal(corpus->tokens, n);
    CANTO_TEST_OK(canto_corpus_read(corpus, 0, n, tokens));
    for (int64_t i = 0; i < n; i++) assert_int_equal(tokens[i], (uint8_t)text[i]);
}

// --- directories ---

static void files_are_read_in_the_order_of_their_bytes(void **state)
{
    (void)state;
    char root[64];
    canto_corpus corpus;
    corpora_make(root);
    corpora_text(root, "b.txt", "B");
    corpora_text(root, "a/z", "az");
    corpora_text(root, "a.txt", "A");
    corpora_text(root, "a/b/c", "abc");
    corpora_text(root, "Z", "Z");
    corpora_text(root, "empty", "");
    corpora_text(root, ".hidden", "no");
    corpora_text(root, ".git/config", "no");
    corpora_text(root, "a/.b", "no");
    char link[80];
    snprintf(link, sizeof link, "%s/c", root);
    assert_int_equal(symlink("a", link), 0); // read again under its own name
    CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", -1, &corpus));
    expect_text(&corpus, "ZAabcazBabcaz");
    assert_int_equal(corpus.files_n, 7);
    assert_true(corpus.is_directory);
    for (int64_t i = 0; i <= corpus.tokens; i++)
        assert_int_equal(canto_corpus_starts_file(&corpus, i),
                         i == 0 || i == 1 || i == 2 || i == 5 || i == 7 || i == 8 || i == 11);
    canto_corpus_close(&corpus);
    canto_corpus_close(&corpus); // also of a closed one
    corpora_remove(root);
}

static void links_that_lead_astray_are_refused(void **state)
{
    (void)state;
    char root[64], link[80];
    canto_corpus corpus;
    corpora_make(root);
    corpora_text(root, "a/text", "text");
    snprintf(link, sizeof link, "%s/a/up", root);
    assert_int_equal(symlink("..", link), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "/a/up is a link that leads back",
                     corpora_open(root, "", VOCAB, "", -1, &corpus));
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("up", link), 0); // to itself
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "/a/up: Too many levels",
                     corpora_open(root, "", VOCAB, "", -1, &corpus));
    assert_int_equal(unlink(link), 0);
    assert_int_equal(symlink("nowhere", link), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "/a/up: No such file",
                     corpora_open(root, "", VOCAB, "", -1, &corpus));
    corpora_remove(root);
}

static void what_cannot_be_read_is_refused(void **state)
{
    (void)state;
    char root[64], path[80];
    canto_corpus corpus;
    corpora_make(root);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "data.path: there is nothing to read in",
                     corpora_open(root, "", VOCAB, "", -1, &corpus));
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "data.path: cannot open",
                     corpora_open(root, "nowhere", VOCAB, "", -1, &corpus));
    corpora_text(root, "empty", "");
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "nothing to read",
                     corpora_open(root, "empty", VOCAB, "", -1, &corpus));
    snprintf(path, sizeof path, "%s/pipe", root);
    assert_int_equal(mkfifo(path, 0600), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "/pipe is neither a file nor a directory",
                     corpora_open(root, "pipe", VOCAB, "", -1, &corpus));
    corpora_text(root, "text", "text");
    CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", -1, &corpus)); // the pipe is left out
    assert_int_equal(corpus.tokens, 4);
    canto_corpus_close(&corpus);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "model.vocab: 255",
                     corpora_open(root, "text", 255, "", -1, &corpus));
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "data.eot",
                     corpora_open(root, "text", VOCAB, "", 3, &corpus));
    snprintf(path, sizeof path, "%s/text", root);
    assert_int_equal(chmod(path, 0), 0);
    if (access(path, R_OK) != 0) { // root may read everything
        CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "/text: Permission denied",
                         corpora_open(root, "", VOCAB, "", -1, &corpus));
    }
    corpora_remove(root);
}

// --- shards ---

static void shards_of_both_widths_are_one_stream(void **state)
{
    (void)state;
    enum { N = 3000 };
    char root[64];
    canto_corpus corpus;
    int32_t tokens[2 * N], read[2 * N];
    for (int i = 0; i < 2 * N; i++)
        tokens[i] = (int32_t)canto_rng_below(3, CANTO_RNG_TEST, (uint64_t)i, i < N ? 65536 : VOCAB);
    tokens[0] = 65535;
    tokens[N] = VOCAB - 1;
    corpora_make(root);
    corpora_shard(root, "1.bin", 2, N, tokens);
    corpora_shard(root, "2", 4, N, tokens + N); // known by its magic
    corpora_shard(root, "3.bin", 4, 0, NULL);
    CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", -1, &corpus));
    assert_true(!corpus.text);
    assert_int_equal(corpus.tokens, 2 * N);
    for (int64_t begin = 0; begin < 2 * N; begin += 271) {
        for (int64_t n = 0; begin + n <= 2 * N; n += 1 + n * 3) {
            CANTO_TEST_OK(canto_corpus_read(&corpus, begin, n, read));
            assert_memory_equal(read, tokens + begin, (size_t)n * sizeof *read);
        }
    }
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "of 6000", canto_corpus_read(&corpus, 5999, 2, read));
    canto_corpus_close(&corpus);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG,
                     "data.separator: ", corpora_open(root, "", VOCAB, "x", -1, &corpus));
    corpora_text(root, "text", "text");
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "holds both text (text) and shards of tokens (1.bin)",
                     corpora_open(root, "", VOCAB, "", -1, &corpus));
    corpora_remove(root);
}

static const struct {
    int64_t fields[3];
    int64_t bytes; // of the file
    const char *words;
} malformed[] = {
    {{20240520, 1, 10}, 0, "does not begin as an llm.c shard"},
    {{20240520, 1, 10}, 3, "does not begin as an llm.c shard"},
    {{20240521, 1, 10}, 1044, "does not begin as an llm.c shard"},
    {{0x88D83401, 1, 10}, 1044, "does not begin as an llm.c shard"}, // another byte order
    {{20240520, 1, 10}, 12, "cut off within its header, after 12 bytes"},
    {{20240520, 1, 10}, 1023, "cut off within its header, after 1023 bytes"},
    {{20240520, 2, 10}, 1044, "version 2; with magic 20240520 only version 1"},
    {{20240520, 7, 10}, 1044, "version 7; with magic 20240520 only version 1"},
    {{20240801, 1, 10}, 1064, "version 1; with magic 20240801 only version 7"},
    {{20240520, -1, 10}, 1044, "version -1"},
    {{20240520, 1, 10}, 1043, "tells 10 tokens of 2 bytes, but 19 bytes"},
    {{20240520, 1, 10}, 1045, "tells 10 tokens of 2 bytes, but 21 bytes"},
    {{20240520, 1, 10}, 1064, "tells 10 tokens of 2 bytes, but 40 bytes"},
    {{20240801, 7, 10}, 1044, "tells 10 tokens of 4 bytes, but 20 bytes"},
    {{20240520, 1, 0}, 1044, "tells 0 tokens of 2 bytes, but 20 bytes"},
    {{20240520, 1, -10}, 1004, "cut off within its header"},
    {{20240520, 1, -1}, 1024, "tells -1 tokens"},
    {{20240520, 1, INT32_MAX}, 1044, "tells 2147483647 tokens"},
    {{20240520, 1, INT32_MIN}, 1044, "tells -2147483648 tokens"},
};

static void malformed_headers_are_told(void **state)
{
    (void)state;
    char root[64], words[256];
    canto_corpus corpus;
    uint8_t bytes[2048];
    corpora_make(root);
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        memset(bytes, 0, sizeof bytes);
        corpora_header(malformed[i].fields, bytes);
        corpora_write(root, "x.bin", bytes, malformed[i].bytes);
        snprintf(words, sizeof words, "%s", malformed[i].words);
        CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, words,
                         corpora_open(root, "x.bin", VOCAB, "", -1, &corpus));
        CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "/x.bin",
                         corpora_open(root, "", VOCAB, "", -1, &corpus));
    }
    corpora_remove(root);
}

// Whatever is in a file: a corpus that reads, or a sentence.
static void random_changes_of_a_shard_never_crash(void **state)
{
    (void)state;
    enum { ROUNDS = 2000, N = 50 };
    char root[64];
    uint8_t good[1024 + 2 * N], bytes[1024 + 2 * N];
    int opened = 0, unreadable = 0;
    corpora_make(root);
    corpora_header((int64_t[]){20240520, 1, N}, good);
    for (int i = 0; i < 2 * N; i++) good[1024 + i] = (uint8_t)(i % 2 ? 0 : i);
    for (uint64_t r = 0; r < ROUNDS; r++) {
        uint64_t seed = r * 16;
        int64_t size = sizeof good;
        memcpy(bytes, good, sizeof good);
        for (int64_t k = canto_rng_below(4, CANTO_RNG_TEST, seed++, 4); k >= 0; k--) {
            int64_t kind = canto_rng_below(4, CANTO_RNG_TEST, seed++, 4);
            int64_t range = kind == 0 ? (int64_t)sizeof good : kind == 1 ? 1036 : 12;
            int64_t at = canto_rng_below(4, CANTO_RNG_TEST, seed++, range);
            if (kind == 3) size = canto_rng_below(4, CANTO_RNG_TEST, seed++, sizeof good + 1);
            bytes[at] ^= (uint8_t)(1 << canto_rng_below(4, CANTO_RNG_TEST, seed++, 8));
        }
        canto_corpus corpus;
        int32_t tokens[N];
        corpora_write(root, "x.bin", bytes, size);
        canto_status status = corpora_open(root, "x.bin", 256, "", 7, &corpus);
        assert_true(status == CANTO_OK || status == CANTO_ERROR_CONFIG);
        if (status == CANTO_OK) {
            opened++;
            int64_t next;
            CANTO_TEST_OK(canto_corpus_next(&corpus, 0, corpus.tokens, &next));
            status = canto_corpus_read(&corpus, 0, corpus.tokens, tokens);
            unreadable += status != CANTO_OK;
            for (int64_t i = 0; i < corpus.tokens; i++) assert_in_range(tokens[i], 0, 255);
            canto_corpus_close(&corpus);
        }
        assert_true(status == CANTO_OK || strlen(canto_error_message()) > 20);
        canto_error_clear();
    }
    assert_in_range(opened, ROUNDS / 10, ROUNDS * 9 / 10); // both happened
    assert_in_range(unreadable, 1, opened);
    corpora_remove(root);
}

static void a_token_outside_of_the_vocabulary_is_told(void **state)
{
    (void)state;
    enum { N = 40000 };
    static int32_t tokens[N], read[N];
    char root[64];
    canto_corpus corpus;
    for (int i = 0; i < N; i++) tokens[i] = i % 1000;
    corpora_make(root);
    corpora_shard(root, "1.bin", 2, N, tokens);
    tokens[39123] = 50257;
    corpora_shard(root, "2.bin", 2, N, tokens);
    tokens[5] = (int32_t)0xFFFFFFFF;
    corpora_shard(root, "3.bin", 4, N, tokens);
    CANTO_TEST_OK(corpora_open(root, "", 50257, "", -1, &corpus));
    CANTO_TEST_OK(canto_corpus_read(&corpus, 0, N, read));
    CANTO_TEST_OK(canto_corpus_read(&corpus, N, 39123, read));
    memset(read, 0x55, sizeof read);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "2.bin is 50257, outside of model.vocab 50257",
                     canto_corpus_read(&corpus, N + 39000, 1000, read));
    for (int i = 0; i < 1000; i++) assert_in_range(read[i], 0, 50256);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "token 39123 of ",
                     canto_corpus_read(&corpus, N + 39000, 1000, read));
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "token 5 of ", canto_corpus_read(&corpus, 2 * N, 6, read));
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "3.bin is 4294967295",
                     canto_corpus_read(&corpus, 2 * N, 6, read));
    canto_corpus_close(&corpus);
    corpora_remove(root);
}

// --- reading by need ---

// Other bytes than the first can also be asked for, and separators be searched, across the ends of
// the buffer.
static void separators_are_found_wherever_they_lie(void **state)
{
    (void)state;
    enum { N = 200000 };
    static char text[N + 1];
    static const char *const separators[] = {"\n", "--", "aba", "<|endoftext|>"};
    char root[64];
    corpora_make(root);
    for (size_t s = 0; s < sizeof separators / sizeof *separators; s++) {
        const int64_t length = (int64_t)strlen(separators[s]);
        memset(text, 'a', N);
        // One across each end of the first buffer, the others at random.
        memcpy(text + 65536 - length / 2, separators[s], (size_t)length);
        for (uint64_t i = 0; i < 300; i++)
            memcpy(text + canto_rng_below(9 + s, CANTO_RNG_TEST, i, N - 13), separators[s],
                   (size_t)length);
        corpora_write(root, "text", text, N);
        canto_corpus corpus;
        CANTO_TEST_OK(corpora_open(root, "text", VOCAB, separators[s], -1, &corpus));
        for (int64_t from = 0, found; from < N; from = found) {
            const char *at = strstr(text + from, separators[s]);
            int64_t expected = at ? at - text + length : N;
            CANTO_TEST_OK(canto_corpus_next(&corpus, from, N, &found));
            assert_int_equal(found, expected);
            if (!at) break;
            CANTO_TEST_OK(canto_corpus_next(&corpus, from, expected - 1, &found));
            assert_int_equal(found, expected - 1);
            CANTO_TEST_OK(canto_corpus_next(&corpus, from, expected, &found));
        }
        canto_corpus_close(&corpus);
    }
    corpora_remove(root);
}

static void eot_ends_a_document_at_whole_tokens_only(void **state)
{
    (void)state;
    const int32_t tokens[] = {0x0102, 0x0203, 0x0301, 7, 0x0200, 0x0007, 7 << 8, 9};
    char root[64];
    canto_corpus corpus;
    corpora_make(root);
    corpora_shard(root, "1.bin", 2, 8, tokens);
    corpora_shard(root, "2.bin", 4, 8, tokens);
    CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", 7, &corpus));
    static const int64_t starts[] = {4, 6, 8, 12, 14, 16};
    int64_t at = 0;
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        CANTO_TEST_OK(canto_corpus_next(&corpus, at, 16, &at));
        assert_int_equal(at, starts[i]);
    }
    canto_corpus_close(&corpus);
    corpora_remove(root);
}

static int64_t resident_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void a_huge_corpus_is_read_by_need(void **state)
{
    (void)state;
    const int64_t size = (int64_t)100 << 30;
    static int32_t tokens[READ_MAX];
    char root[64], path[80];
    canto_corpus corpus;
    corpora_make(root);
    snprintf(path, sizeof path, "%s/huge", root);
    int file = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, size), 0);
    assert_int_equal(pwrite(file, "end", 3, size - 3), 3);
    close(file);
    const int64_t before = resident_kib();
    CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", -1, &corpus));
    const int64_t allocations = canto_test_allocations();
    for (uint64_t i = 0; i < 2000; i++) {
        int64_t at = canto_rng_below(5, CANTO_RNG_TEST, i, size - READ_MAX);
        CANTO_TEST_OK(canto_corpus_read(&corpus, at, READ_MAX, tokens));
        assert_int_equal(tokens[i], 0);
    }
    CANTO_TEST_OK(canto_corpus_read(&corpus, size - 3, 3, tokens));
    assert_int_equal(tokens[2], 'd');
    assert_int_equal(canto_test_allocations(), allocations);
    uint64_t digest;
    CANTO_TEST_OK(canto_corpus_digest(&corpus, &digest));
    if (resident_kib() - before > 1024)
        fail_msg("grew by %lld KiB", (long long)(resident_kib() - before));
    canto_corpus_close(&corpus);
    corpora_remove(root);
}

// More files than are kept open at a time.
static void many_files_are_read_in_any_order(void **state)
{
    (void)state;
    enum { FILES = 100, EACH = 50 };
    char root[64], name[16];
    canto_corpus corpus;
    int32_t tokens[EACH * 3];
    corpora_make(root);
    for (int f = 0; f < FILES; f++) {
        int32_t own[EACH];
        for (int i = 0; i < EACH; i++) own[i] = f * EACH + i;
        snprintf(name, sizeof name, "%03d.bin", f);
        corpora_shard(root, name, f % 2 ? 2 : 4, EACH, own);
    }
    CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", -1, &corpus));
    for (uint64_t i = 0; i < 1000; i++) {
        int64_t at = canto_rng_below(6, CANTO_RNG_TEST, i, FILES * EACH - EACH * 3);
        CANTO_TEST_OK(canto_corpus_read(&corpus, at, EACH * 3, tokens));
        for (int k = 0; k < EACH * 3; k++) assert_int_equal(tokens[k], at + k);
    }
    canto_corpus_close(&corpus);
    corpora_remove(root);
}

static void a_file_that_changes_is_told(void **state)
{
    (void)state;
    char root[64], path[80];
    canto_corpus corpus;
    int32_t token;
    corpora_make(root);
    corpora_text(root, "a", "first");
    corpora_text(root, "b", "second");
    CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", -1, &corpus));
    corpora_text(root, "b", "longer than before");
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "/b: its size has changed",
                     canto_corpus_read(&corpus, 5, 1, &token));
    snprintf(path, sizeof path, "%s/b", root);
    assert_int_equal(unlink(path), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "/b: No such file", canto_corpus_read(&corpus, 5, 1, &token));
    CANTO_TEST_OK(canto_corpus_read(&corpus, 0, 1, &token));
    snprintf(path, sizeof path, "%s/a", root);
    assert_int_equal(truncate(path, 2), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "/a: it has become shorter",
                     canto_corpus_read(&corpus, 4, 1, &token));
    canto_corpus_close(&corpus);
    corpora_remove(root);
}

static void another_corpus_has_another_digest(void **state)
{
    (void)state;
    char root[64];
    uint64_t digests[6];
    canto_corpus corpus;
    int n = 0;
    corpora_make(root);
    static const char *const files[][2] = {{"a", "xyz"}, {"b", "xyz"}, {"c", "x"}, {"b", "xyu"}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++, n++) {
        corpora_text(root, files[i][0], files[i][1]);
        CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", -1, &corpus));
        CANTO_TEST_OK(canto_corpus_digest(&corpus, &digests[n]));
        canto_corpus_close(&corpus);
    }
    char from[80], to[80];
    snprintf(from, sizeof from, "%s/c", root);
    snprintf(to, sizeof to, "%s/d", root);
    assert_int_equal(rename(from, to), 0); // the same bytes under another name
    CANTO_TEST_OK(corpora_open(root, "", VOCAB, "", -1, &corpus));
    CANTO_TEST_OK(canto_corpus_digest(&corpus, &digests[n++]));
    canto_corpus_close(&corpus);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < i; k++) assert_true(digests[i] != digests[k]);
    }
    corpora_remove(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_in_the_order_of_their_bytes),
        cmocka_unit_test(links_that_lead_astray_are_refused),
        cmocka_unit_test(what_cannot_be_read_is_refused),
        cmocka_unit_test(shards_of_both_widths_are_one_stream),
        cmocka_unit_test(malformed_headers_are_told),
        cmocka_unit_test(random_changes_of_a_shard_never_crash),
        cmocka_unit_test(a_token_outside_of_the_vocabulary_is_told),
        cmocka_unit_test(separators_are_found_wherever_they_lie),
        cmocka_unit_test(eot_ends_a_document_at_whole_tokens_only),
        cmocka_unit_test(a_huge_corpus_is_read_by_need),
        cmocka_unit_test(many_files_are_read_in_any_order),
        cmocka_unit_test(a_file_that_changes_is_told),
        cmocka_unit_test(another_corpus_has_another_digest),
    };
    return cmocka_run_group_tests_name("launch.corpus", tests, NULL, NULL);
}
