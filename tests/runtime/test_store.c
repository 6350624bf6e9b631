// Checkpoints on one rank: exact round trips, refusals by name, publishing and retention.
#define _GNU_SOURCE
#include "tests/runtime/store_case.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    canto_comm *comm;
    char dir[256];
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    store_case_directory(f->dir);
    if (canto_comm_self_open(&f->comm) != CANTO_OK) return -1;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    canto_comm_destroy(&f->comm);
    store_case_remove(f->dir);
    free(f);
    return 0;
}

static void path_of(const fixture *f, const char *name, char path[512])
{
    snprintf(path, 512, "%s/%s", f->dir, name);
}

static bool exists(const fixture *f, const char *name)
{
    char path[512];
    struct stat info;
    path_of(f, name, path);
    return lstat(path, &info) == 0;
}

static int entries_of(const char *path)
{
    int n = 0;
    DIR *entries = opendir(path);
    while (readdir(entries)) n++;
    closedir(entries);
    return n - 2;
}

static void expect_latest(const fixture *f, const char *expected)
{
    char path[512];
    size_t bytes;
    path_of(f, "latest", path);
    char *text = store_case_read_file(path, &bytes);
    assert_string_equal(text, expected);
    free(text);
}

static void begin(fixture *f, int64_t step, canto_store_writer **writer)
{
    CANTO_TEST_OK(canto_store_begin(f->comm, f->dir, step, writer));
}

// --- round trips ---

static void test_round_trip(void **state)
{
    fixture *f = *state;
    for (int cut = 0; cut < STORE_CASE_CUTS; cut++) {
        CANTO_TEST_OK(store_case_save(f->comm, f->dir, cut, (store_case_cut)cut, 0));
        CANTO_TEST_OK(canto_store_verify(f->dir, cut));
    }
    for (int cut = 0; cut < STORE_CASE_CUTS; cut++) {
        assert_int_equal(store_case_load(f->comm, f->dir, cut), cut);
    }
}

static void test_every_run(void **state)
{
    fixture *f = *state;
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 1, STORE_CASE_ODD, 0));
    canto_store_reader *reader;
    CANTO_TEST_OK(canto_store_open(f->comm, f->dir, -1, NULL, NULL, &reader));
    for (int i = 0; i < STORE_CASE_TENSORS; i++) {
        const store_case_tensor *t = &store_case_tensors[i];
        int64_t n = store_case_count(i);
        size_t width = canto_dtype_bytes(t->dtype);
        char expected[STORE_CASE_BYTES_MAX], data[STORE_CASE_BYTES_MAX];
        store_case_fill(i, 1, expected);
        for (int64_t at = 0; at <= n; at++) {
            for (int64_t count = 0; count <= n - at; count++) {
                CANTO_TEST_OK(canto_store_read(reader, t->name, t->dtype, t->dims_n, t->dims, at,
                                               count, data));
                assert_memory_equal(data, expected + (size_t)at * width, (size_t)count * width);
            }
        }
    }
    canto_store_close(&reader);
}

// Larger than the buffer that files are read and written through.
static void test_large_tensor(void **state)
{
    fixture *f = *state;
    const int64_t n = 3 * (1 << 20) + 17;
    const int64_t dims[1] = {n};
    unsigned char *data = malloc((size_t)n), *again = malloc((size_t)n);
    for (int64_t i = 0; i < n; i++) data[i] = (unsigned char)(i * 2654435761U >> 13);
    canto_store_writer *writer;
    begin(f, 5, &writer);
    CANTO_TEST_OK(canto_store_write(writer, "large", CANTO_U8, 1, dims, 100, n - 100, data + 100));
    CANTO_TEST_OK(canto_store_write(writer, "large", CANTO_U8, 1, dims, 0, 100, data));
    CANTO_TEST_OK(canto_store_commit(&writer, 1));
    assert_null(writer);
    canto_store_reader *reader;
    CANTO_TEST_OK(canto_store_open(f->comm, f->dir, 5, NULL, NULL, &reader));
    CANTO_TEST_OK(canto_store_read(reader, "large", CANTO_U8, 1, dims, 0, n, again));
    assert_memory_equal(again, data, n);
    const int64_t at = (1 << 20) - 3, count = (1 << 20) + 100;
    CANTO_TEST_OK(canto_store_read(reader, "large", CANTO_U8, 1, dims, at, count, again));
    assert_memory_equal(again, data + at, count);
    canto_store_close(&reader);
    free(data);
    free(again);
}

static void test_nothing_there(void **state)
{
    fixture *f = *state;
    canto_store_reader *reader = (canto_store_reader *)f;
    CANTO_TEST_OK(canto_store_open(f->comm, f->dir, -1, NULL, NULL, &reader));
    assert_null(reader);
    CANTO_TEST_OK(canto_store_open(f->comm, "/nowhere/at/all", -1, NULL, NULL, &reader));
    assert_null(reader);
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "step-00000007",
                     canto_store_open(f->comm, f->dir, 7, NULL, NULL, &reader));
    int count = -1;
    CANTO_TEST_OK(canto_store_list("/nowhere/at/all", 0, NULL, &count));
    assert_int_equal(count, 0);
}

static void test_texts_and_empty_checkpoint(void **state)
{
    fixture *f = *state;
    canto_store_writer *writer;
    begin(f, 0, &writer);
    CANTO_TEST_OK(canto_store_write_text(writer, "state", "{\"x\": 1}"));
    CANTO_TEST_OK(canto_store_commit(&writer, 0));
    canto_store_reader *reader;
    CANTO_TEST_OK(canto_store_open(f->comm, f->dir, -1, NULL, NULL, &reader));
    assert_string_equal(canto_store_text(reader, "state"), "{\"x\": 1}");
    assert_null(canto_store_text(reader, "other"));
    canto_store_close(&reader);
    CANTO_TEST_OK(canto_store_verify(f->dir, 0));
    char path[512];
    path_of(f, "step-00000000", path);
    assert_int_equal(entries_of(path), 1); // no data, no shard
}

static void test_equal_tensors_make_equal_files(void **state)
{
    fixture *f = *state;
    char path[512];
    size_t bytes[2];
    char *data[2];
    char other[300];
    snprintf(other, sizeof other, "%s/b", f->dir);
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 3, STORE_CASE_EVEN, 0));
    CANTO_TEST_OK(store_case_save(f->comm, other, 3, STORE_CASE_EVEN, 0));
    path_of(f, "step-00000003/shard-0000-of-0001.h5", path);
    data[0] = store_case_read_file(path, &bytes[0]);
    path_of(f, "b/step-00000003/shard-0000-of-0001.h5", path);
    data[1] = store_case_read_file(path, &bytes[1]);
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(data[0], data[1], bytes[0]);
    free(data[0]);
    free(data[1]);
}

// --- refusals ---

static void expect_refused(fixture *f, canto_store_writer **writer, canto_status code,
                           const char *words)
{
    CANTO_TEST_FAILS(code, words, canto_store_commit(writer, 1));
    assert_null(*writer);
    assert_int_equal(entries_of(f->dir), 0);
}

static void test_holes_and_overlaps(void **state)
{
    fixture *f = *state;
    canto_store_writer *writer;
    begin(f, 1, &writer);
    CANTO_TEST_OK(store_case_write(writer, 0, 1, 0, 4));
    CANTO_TEST_OK(store_case_write(writer, 0, 1, 5, 10));
    expect_refused(f, &writer, CANTO_ERROR_CHECKPOINT,
                   "tensor blocks.0.mixer.wq: no piece holds element 4");
    begin(f, 1, &writer);
    CANTO_TEST_OK(store_case_write(writer, 1, 1, 0, 6));
    expect_refused(f, &writer, CANTO_ERROR_CHECKPOINT,
                   "optimizer/first-moment: no piece holds element 6 of its 7");
    begin(f, 1, &writer);
    CANTO_TEST_OK(store_case_write(writer, 1, 1, 3, 0)); // declared, never written
    expect_refused(f, &writer, CANTO_ERROR_CHECKPOINT, "no piece holds element 0");
    begin(f, 1, &writer);
    CANTO_TEST_OK(store_case_write(writer, 0, 1, 0, 10));
    CANTO_TEST_OK(store_case_write(writer, 0, 1, 9, 6));
    expect_refused(f, &writer, CANTO_ERROR_CHECKPOINT,
                   "tensor blocks.0.mixer.wq: element 9 is written twice");
    begin(f, 1, &writer);
    CANTO_TEST_OK(store_case_write(writer, 0, 1, 0, 15));
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "blocks.0.mixer.wq: element 0 is written twice",
                     store_case_write(writer, 0, 1, 0, 15));
    expect_refused(f, &writer, CANTO_ERROR_CHECKPOINT, "element 0 is written twice");
}

static void test_two_shapes(void **state)
{
    fixture *f = *state;
    canto_store_writer *writer;
    begin(f, 1, &writer);
    const float data[6] = {0};
    CANTO_TEST_OK(canto_store_write(writer, "w", CANTO_F32, 1, (int64_t[]){6}, 0, 3, data));
    CANTO_TEST_OK(canto_store_write(writer, "w", CANTO_F32, 2, (int64_t[]){2, 3}, 3, 3, data));
    expect_refused(f, &writer, CANTO_ERROR_CHECKPOINT, "tensor w is written both as f32[6] and");
}

static void test_bad_arguments(void **state)
{
    fixture *f = *state;
    const float data[6] = {0};
    const struct {
        const char *name;
        int64_t dims[2], begin, count;
        const char *words;
    } cases[] = {
        {"", {2, 3}, 0, 6, "cannot name a tensor"},
        {"a b", {2, 3}, 0, 6, "'a b' cannot name a tensor"},
        {"../a", {2, 3}, 0, 6, "cannot name a tensor"},
        {"a/./b", {2, 3}, 0, 6, "cannot name a tensor"},
        {"/a", {2, 3}, 0, 6, "cannot name a tensor"},
        {"a/", {2, 3}, 0, 6, "cannot name a tensor"},
        {"a", {2, -3}, 0, 6, "tensor a has a negative dimension"},
        {"a", {INT64_MAX, 2}, 0, 6, "tensor a has more elements than can be counted"},
        {"a", {INT64_MAX / 2, 1}, 0, 6, "tensor a has more bytes than can be counted"},
        {"a", {2, 3}, 0, 7, "tensor a has 6 elements, so there is no run of 7 from 0"},
        {"a", {2, 3}, -1, 1, "no run of 1 from -1"},
        {"a", {2, 3}, 0, -1, "no run of -1 from 0"},
        {"a", {2, 3}, INT64_MAX, INT64_MAX, "tensor a has 6 elements"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        canto_store_writer *writer;
        begin(f, 1, &writer);
        CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, cases[i].words,
                         canto_store_write(writer, cases[i].name, CANTO_F32, 2, cases[i].dims,
                                           cases[i].begin, cases[i].count, data));
        // The commit tells the same, although the sentence was cleared in between.
        expect_refused(f, &writer, CANTO_ERROR_ARGUMENT, cases[i].words);
    }
    canto_store_writer *writer;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "step -1",
                     canto_store_begin(f->comm, f->dir, -1, &writer));
    assert_null(writer);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "empty", canto_store_begin(f->comm, "", 1, &writer));
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "cannot make the directory",
                     canto_store_begin(f->comm, "/nowhere/at/all", 1, &writer));
    begin(f, 1, &writer);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "cannot keep -1", canto_store_commit(&writer, -1));
}

static void test_texts_refused(void **state)
{
    fixture *f = *state;
    canto_store_writer *writer;
    char *long_text = malloc((1 << 20) + 2);
    memset(long_text, 'x', (1 << 20) + 1);
    long_text[(1 << 20) + 1] = '\0';
    begin(f, 1, &writer);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "text t is longer than",
                     canto_store_write_text(writer, "t", long_text));
    expect_refused(f, &writer, CANTO_ERROR_ARGUMENT, "text t is longer");
    begin(f, 1, &writer);
    CANTO_TEST_OK(canto_store_write_text(writer, "t", "a"));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "text t is given twice",
                     canto_store_write_text(writer, "t", "a"));
    expect_refused(f, &writer, CANTO_ERROR_ARGUMENT, "given twice");
    begin(f, 1, &writer);
    CANTO_TEST_OK(canto_store_write_text(writer, "t", "\xff\xfe"));
    expect_refused(f, &writer, CANTO_ERROR_ARGUMENT, "text t is not valid UTF-8");
    free(long_text);
}

static void test_other_shape_wanted(void **state)
{
    fixture *f = *state;
    char data[STORE_CASE_BYTES_MAX];
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 1, STORE_CASE_EVEN, 0));
    canto_store_reader *reader;
    CANTO_TEST_OK(canto_store_open(f->comm, f->dir, 1, NULL, NULL, &reader));
    const char *name = "blocks.0.mixer.wq";
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "tensor blocks.0.mixer.wq is f32[3, 5] in ",
                     canto_store_read(reader, name, CANTO_F32, 2, (int64_t[]){5, 3}, 0, 1, data));
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "and i32[3, 5] here",
                     canto_store_read(reader, name, CANTO_I32, 2, (int64_t[]){3, 5}, 0, 1, data));
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "tensor blocks.9 is not in ",
                     canto_store_read(reader, "blocks.9", CANTO_I32, 0, NULL, 0, 1, data));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no run of 2 from 14",
                     canto_store_read(reader, name, CANTO_F32, 2, (int64_t[]){3, 5}, 14, 2, data));
    canto_store_close(&reader);
}

// --- publishing and retention ---

static void test_existing_step(void **state)
{
    fixture *f = *state;
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_EVEN, 0));
    canto_store_writer *writer;
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "step-00000002 exists already",
                     canto_store_begin(f->comm, f->dir, 2, &writer));
    // Nor one that appears while it is written.
    begin(f, 3, &writer);
    char path[512];
    path_of(f, "step-00000003", path);
    assert_int_equal(mkdir(path, 0777), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "step-00000003 exists already",
                     canto_store_commit(&writer, 1));
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 2);
    expect_latest(f, "step-00000002\n");
}

static void test_given_up(void **state)
{
    fixture *f = *state;
    canto_store_writer *writer;
    begin(f, 2, &writer);
    CANTO_TEST_OK(store_case_write(writer, 0, 2, 0, 15));
    canto_store_abandon(&writer);
    assert_null(writer);
    canto_store_abandon(&writer);
    assert_int_equal(entries_of(f->dir), 0);
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_EVEN, 1));
}

static void test_retention(void **state)
{
    fixture *f = *state;
    for (int step = 1; step <= 5; step++) {
        CANTO_TEST_OK(store_case_save(f->comm, f->dir, step, STORE_CASE_ODD, step < 3 ? 0 : 2));
    }
    canto_store_entry entries[1];
    int count;
    CANTO_TEST_OK(canto_store_list(f->dir, 1, entries, &count));
    assert_int_equal(count, 2);
    assert_int_equal(entries[0].step, 4);
    assert_int_equal(entries[0].shards, 1);
    assert_int_equal(entries[0].tensors, STORE_CASE_TENSORS);
    assert_int_equal(strlen(entries[0].time), strlen("2000-01-01T00:00:00Z"));
    assert_int_equal(entries_of(f->dir), 3); // 4, 5 and latest
    expect_latest(f, "step-00000005\n");
    // A step older than others: those belong to another course of the run and stay.
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 3, STORE_CASE_ODD, 1));
    CANTO_TEST_OK(canto_store_list(f->dir, 0, NULL, &count));
    assert_int_equal(count, 3);
    expect_latest(f, "step-00000003\n");
}

static void make_left_over(const fixture *f, const char *name)
{
    char path[512];
    path_of(f, name, path);
    assert_int_equal(mkdir(path, 0777), 0);
    strcat(path, "/shard-0000-of-0001.h5");
    store_case_write_file(path, "x", 1);
}

static void test_left_overs(void **state)
{
    fixture *f = *state;
    char path[512];
    const char *const removed[] = {"step-00000001.tmp.0123456789abcdef",
                                   "step-123456789.tmp.0123456789abcdef",
                                   ".trash-step-00000001.0123456789abcdef"};
    const char *const kept[] = {
        "step-00000001.tmp.0123456789abcde",  "step-00000001.tmp.0123456789abcdeg",
        "step-1.tmp.0123456789abcdef",        "step-000000001.tmp.0123456789abcdef",
        "step-00000001.bak.0123456789abcdef", ".trash-step-00000001",
        ".trash-notes.0123456789abcdef",      "notes.tmp.0123456789abcdef"};
    for (size_t i = 0; i < 3; i++) make_left_over(f, removed[i]);
    for (size_t i = 0; i < 8; i++) make_left_over(f, kept[i]);
    path_of(f, "latest.tmp.0123456789abcdef", path);
    store_case_write_file(path, "x", 1);
    // A link that looks like one of ours is removed, what it leads to is not.
    char target[512];
    path_of(f, "step-00000009.tmp.0123456789abcdef", path);
    path_of(f, kept[0], target);
    assert_int_equal(symlink(target, path), 0);
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_EVEN, 1));
    for (size_t i = 0; i < 3; i++) assert_false(exists(f, removed[i]));
    assert_false(exists(f, "latest.tmp.0123456789abcdef"));
    assert_false(exists(f, "step-00000009.tmp.0123456789abcdef"));
    for (size_t i = 0; i < 8; i++) {
        path_of(f, kept[i], path);
        assert_int_equal(entries_of(path), 1);
    }
}

static int descriptors(void)
{
    return entries_of("/proc/self/fd");
}

static void test_no_descriptor_stays_open(void **state)
{
    fixture *f = *state;
    int before = descriptors();
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_ODD, 1));
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 2);
    CANTO_TEST_OK(canto_store_verify(f->dir, 2));
    assert_int_equal(descriptors(), before);
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_round_trip),
        STORE_TEST(test_every_run),
        STORE_TEST(test_large_tensor),
        STORE_TEST(test_nothing_there),
        STORE_TEST(test_texts_and_empty_checkpoint),
        STORE_TEST(test_equal_tensors_make_equal_files),
        STORE_TEST(test_holes_and_overlaps),
        STORE_TEST(test_two_shapes),
        STORE_TEST(test_bad_arguments),
        STORE_TEST(test_texts_refused),
        STORE_TEST(test_other_shape_wanted),
        STORE_TEST(test_existing_step),
        STORE_TEST(test_given_up),
        STORE_TEST(test_retention),
        STORE_TEST(test_left_overs),
        STORE_TEST(test_no_descriptor_stays_open),
    };
    return cmocka_run_group_tests_name("runtime.store", tests, NULL, NULL);
}
