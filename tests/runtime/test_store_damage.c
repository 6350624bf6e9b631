// Damaged, mixed and foreign checkpoints: always refused, with the file named; the older generation
// is found. A flipped byte is never read as data.
#define _GNU_SOURCE
#include "tests/runtime/store_case.h"

#include "runtime/store_manifest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARD "shard-0000-of-0001.h5"

typedef struct {
    canto_comm *comm;
    char dir[256];
} fixture;

// Two committed generations, 1 and 2.
static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    store_case_directory(f->dir);
    if (canto_comm_self_open(&f->comm) != CANTO_OK) return -1;
    *state = f;
    for (int step = 1; step <= 2; step++) {
        if (store_case_save(f->comm, f->dir, step, STORE_CASE_ODD, 0) != CANTO_OK) return -1;
    }
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

static void path_of(const fixture *f, int step, const char *file, char path[512])
{
    snprintf(path, 512, "%s/step-%08d/%s", f->dir, step, file);
}

// Generation 2 is refused with `file` in the sentence, by every way of looking at it.
static void expect_refused(fixture *f, const char *file)
{
    canto_store_reader *reader;
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, file,
                     canto_store_open(f->comm, f->dir, 2, NULL, NULL, &reader));
    assert_null(reader);
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, file, canto_store_verify(f->dir, 2));
}

static void keep_note(void *context, const char *sentence)
{
    snprintf(context, CANTO_MESSAGE_MAX + 128, "%s", sentence);
}

static void expect_fall_back(fixture *f, const char *file)
{
    char note[CANTO_MESSAGE_MAX + 128] = "";
    canto_store_reader *reader;
    CANTO_TEST_OK(canto_store_open(f->comm, f->dir, -1, keep_note, note, &reader));
    assert_int_equal(canto_store_step(reader), 1);
    store_case_expect(reader, 1, 2);
    canto_store_close(&reader);
    assert_non_null(strstr(note, "step 2 is not usable, trying the one before it"));
    assert_non_null(strstr(note, file));
}

// --- bytes ---

// In place: rewriting the whole file each time would wait for the disk.
static void put_byte(int fd, size_t at, char value)
{
    assert_int_equal(pwrite(fd, &value, 1, (off_t)at), 1);
}

static void flip_all(fixture *f, const char *file)
{
    char path[512];
    size_t bytes;
    path_of(f, 2, file, path);
    char *data = store_case_read_file(path, &bytes);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    for (size_t i = 0; i < bytes; i++) {
        canto_store_reader *reader;
        put_byte(fd, i, (char)(data[i] ^ (1 << (i % 8))));
        CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, file,
                         canto_store_open(f->comm, f->dir, 2, NULL, NULL, &reader));
        if (i == bytes / 2) expect_fall_back(f, file);
        put_byte(fd, i, data[i]);
    }
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 2);
    close(fd);
    free(data);
}

static void test_every_byte_of_the_manifest(void **state)
{
    flip_all(*state, "manifest.json");
}

static void test_every_byte_of_the_shard(void **state)
{
    flip_all(*state, SHARD);
}

static void truncate_all(fixture *f, const char *file)
{
    char path[512];
    size_t bytes;
    path_of(f, 2, file, path);
    char *data = store_case_read_file(path, &bytes);
    for (size_t n = bytes; n-- > 0; n -= n > 64 && n + 64 < bytes ? 63 : 0) {
        assert_int_equal(truncate(path, (off_t)n), 0);
        expect_refused(f, file);
    }
    expect_fall_back(f, file);
    store_case_write_file(path, data, bytes);
    for (size_t n = 1; n <= 4096; n *= 4) {
        assert_int_equal(truncate(path, (off_t)(bytes + n)), 0);
        expect_refused(f, file);
    }
    free(data);
}

static void test_truncated_and_extended_manifest(void **state)
{
    truncate_all(*state, "manifest.json");
}

static void test_truncated_and_extended_shard(void **state)
{
    truncate_all(*state, SHARD);
}

// A file that changes after it was verified.
static void test_changed_after_opening(void **state)
{
    fixture *f = *state;
    char path[512], data[STORE_CASE_BYTES_MAX];
    size_t bytes;
    canto_store_reader *reader;
    path_of(f, 2, SHARD, path);
    char *file = store_case_read_file(path, &bytes);
    CANTO_TEST_OK(canto_store_open(f->comm, f->dir, 2, NULL, NULL, &reader));
    for (size_t i = 0; i < bytes; i++) file[i] = (char)(file[i] ^ 4);
    store_case_write_file(path, file, bytes);
    for (int i = 0; i < STORE_CASE_TENSORS; i++) {
        const store_case_tensor *t = &store_case_tensors[i];
        if (store_case_count(i) == 0) continue;
        CANTO_TEST_FAILS(
            CANTO_ERROR_CHECKPOINT, t->name,
            canto_store_read(reader, t->name, t->dtype, t->dims_n, t->dims, 0, 1, data));
    }
    assert_int_equal(truncate(path, 100), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "it is truncated",
                     canto_store_read(reader, "position", CANTO_I64, 0, NULL, 0, 1, data));
    canto_store_close(&reader);
    free(file);
}

// --- files ---

static void test_missing_files(void **state)
{
    fixture *f = *state;
    const char *const files[] = {SHARD, "manifest.json"};
    for (int i = 0; i < 2; i++) {
        char path[512];
        path_of(f, 2, files[i], path);
        assert_int_equal(unlink(path), 0);
        expect_refused(f, files[i]);
        expect_fall_back(f, files[i]);
    }
}

static void copy_file(const fixture *f, int from_step, const char *from, int to_step,
                      const char *to)
{
    char path[512];
    size_t bytes;
    path_of(f, from_step, from, path);
    char *data = store_case_read_file(path, &bytes);
    path_of(f, to_step, to, path);
    store_case_write_file(path, data, bytes);
    free(data);
}

static void test_mixed_generations(void **state)
{
    fixture *f = *state;
    copy_file(f, 1, SHARD, 2, SHARD);
    expect_refused(f, SHARD);
    expect_fall_back(f, SHARD);
    copy_file(f, 1, "manifest.json", 2, "manifest.json"); // both: a copy of generation 1
    expect_refused(f, "manifest.json is the manifest of step 1");
    expect_fall_back(f, "manifest.json");
}

static void test_strangers(void **state)
{
    fixture *f = *state;
    char path[512], target[512];
    copy_file(f, 2, SHARD, 2, "shard-0001-of-0002.h5");
    CANTO_TEST_FAILS(CANTO_ERROR_CHECKPOINT, "shard-0001-of-0002.h5 is not in the manifest",
                     canto_store_verify(f->dir, 2));
    assert_int_equal(store_case_load(f->comm, f->dir, 2), 2); // reading does not look at it
    path_of(f, 2, "shard-0001-of-0002.h5", path);
    assert_int_equal(unlink(path), 0);
    const char *const files[] = {SHARD, "manifest.json"};
    for (int i = 0; i < 2; i++) {
        path_of(f, 2, files[i], path);
        snprintf(target, sizeof target, "%s/moved-%d", f->dir, i);
        assert_int_equal(rename(path, target), 0);
        assert_int_equal(symlink(target, path), 0);
        expect_refused(f, "is a symbolic link");
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkfifo(path, 0666), 0);
        expect_refused(f, files[i]);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mkdir(path, 0777), 0);
        expect_refused(f, "is not a plain file");
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rename(target, path), 0);
    }
    assert_int_equal(store_case_load(f->comm, f->dir, 2), 2);
}

static void test_listed_with_damage(void **state)
{
    fixture *f = *state;
    canto_store_entry entries[2];
    int count;
    char path[512];
    path_of(f, 2, "manifest.json", path);
    assert_int_equal(truncate(path, 40), 0);
    CANTO_TEST_OK(canto_store_list(f->dir, 2, entries, &count));
    assert_int_equal(count, 2);
    assert_int_equal(entries[0].shards, 1);
    assert_true(entries[0].bytes > 1000);
    assert_int_equal(entries[1].step, 2);
    assert_int_equal(entries[1].shards, 0);
    assert_string_equal(entries[1].time, "");
}

// A run that went back to step 1 comes to step 2 again.
static void test_set_aside(void **state)
{
    fixture *f = *state;
    char path[512], note[CANTO_MESSAGE_MAX + 128] = "";
    path_of(f, 2, SHARD, path);
    assert_int_equal(truncate(path, 10), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no committed step 3",
                     canto_store_set_aside(f->dir, 3, keep_note, note));
    CANTO_TEST_OK(canto_store_set_aside(f->dir, 2, keep_note, note));
    assert_string_equal(note, ""); // nothing is newer
    CANTO_TEST_OK(canto_store_set_aside(f->dir, 1, keep_note, note));
    assert_non_null(strstr(note, "step-00000002 is set aside as step-00000002.aside."));
    snprintf(path, sizeof path, "%s/latest", f->dir);
    size_t bytes;
    char *latest = store_case_read_file(path, &bytes);
    assert_string_equal(latest, "step-00000001\n");
    free(latest);
    CANTO_TEST_OK(store_case_save(f->comm, f->dir, 2, STORE_CASE_EVEN, 1));
    assert_int_equal(store_case_load(f->comm, f->dir, -1), 2);
    char *name = strstr(note, " as ") + 4; // still there after the next save's cleaning
    name[strcspn(name, " ")] = '\0';
    snprintf(path, sizeof path, "%s/%s/" SHARD, f->dir, name);
    assert_int_equal(access(path, F_OK), 0);
}

// --- manifests with a right checksum and a wrong content ---

static void enclose(const fixture *f, const char *body, size_t bytes)
{
    char path[512], hex[CANTO_HASH_HEX];
    canto_hash hash = canto_hash_of(body, bytes);
    canto_hash_hex(&hash, hex);
    path_of(f, 2, "manifest.json", path);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "{\"xxh128\": \"%s\",\n\"body\": ", hex);
    assert_int_equal(fwrite(body, 1, bytes, file), bytes);
    fputs("}\n", file);
    fclose(file);
}

// Replaces the first `from` in the genuine body by `to`.
static void forge(fixture *f, const char *from, const char *to)
{
    char path[512];
    size_t bytes;
    path_of(f, 2, "manifest.json", path);
    char *text = store_case_read_file(path, &bytes);
    char *body = strstr(text, "\"body\": ") + 8;
    text[bytes - 2] = '\0'; // the end of the envelope
    char *at = strstr(body, from);
    assert_non_null(at);
    char *forged = malloc(bytes + strlen(to) + 1);
    int n = sprintf(forged, "%.*s%s%s", (int)(at - body), body, to, at + strlen(from));
    enclose(f, forged, (size_t)n);
    free(forged);
    free(text);
}

static void test_forged_manifests(void **state)
{
    fixture *f = *state;
    const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"\"version\": 1", "\"version\": 2", "manifest.json has format version 2"},
        {"\"version\": 1", "\"version\": \"1\"", "has format version 0"},
        {"canto-checkpoint", "other-checkpoint", "not a manifest of this program"},
        {"\"step\": 2", "\"step\": 3", "is the manifest of step 3"},
        {"\"step\": 2", "\"step\": 2, \"step\": 2", "not a manifest of this program"},
        {"\"step\": 2", "\"step\": 99999999999999999999", "not a manifest of this program"},
        {"\"step\": 2", "\"stop\": 2", "not a manifest of this program"},
        {"\"step\": 2", "\"step\": 2, \"more\": 1", "not a manifest of this program"},
        {"\"file\": \"shard-", "\"file\": \"../shard-", "file name is not allowed"},
        {SHARD, "/etc/passwd", "file name is not allowed"},
        {SHARD, "shard-0001-of-0001.h5", "file name is not allowed"},
        {SHARD, "shard-00-of-01.h5", "file name is not allowed"},
        {"\"dtype\": \"f32\"", "\"dtype\": \"f33\"", "dtype is not known"},
        {"\"dtype\": \"f32\"", "\"dtype\": \"f64\"", "blocks.0.mixer.wq"},
        {"\"count\": 1", "\"count\": 0", "no run of 0"},
        {"\"count\": 1", "\"count\": 9223372036854775807", "no run of 9223372036854775807"},
        {"\"count\": 1", "\"count\": 1.5", "not a manifest of this program"},
        {"\"begin\": 0", "\"begin\": -1", "no run of 1 from -1"},
        {"\"offset\": ", "\"offset\": 9", "lies outside its file"},
        {"\"offset\": ", "\"offset\": -", "lies outside its file"},
        {"\"offset\": ", "\"offset\": 1", SHARD},
        {"\"tensor\": \"bytes\"", "\"tensor\": \"bites\"", "names a tensor that is not there"},
        {"\"tensor\": \"optimizer\"", "\"tensor\": \"token_ids\"", "tensor optimizer: no piece"},
        {"{", "", "not a manifest of this program"},
    };
    char path[512];
    size_t bytes;
    path_of(f, 2, "manifest.json", path);
    char *genuine = store_case_read_file(path, &bytes);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        forge(f, cases[i].from, cases[i].to);
        expect_refused(f, cases[i].words);
        store_case_write_file(path, genuine, bytes);
    }
    forge(f, "\"version\": 1", "\"version\": 1"); // the forger's own work is sound
    assert_int_equal(store_case_load(f->comm, f->dir, 2), 2);
    free(genuine);
}

static void expect_shape_refused(fixture *f, const char *shape)
{
    char body[1024];
    int n = snprintf(body, sizeof body,
                     "{\"format\": \"canto-checkpoint\", \"version\": 1, \"step\": 2, "
                     "\"time\": \"now\", \"texts\": {}, \"shards\": [], "
                     "\"tensors\": {\"t\": {\"dtype\": \"f64\", \"shape\": %s}}}",
                     shape);
    enclose(f, body, (size_t)n);
    canto_store_reader *reader;
    canto_status status = canto_store_open(f->comm, f->dir, 2, NULL, NULL, &reader);
    if (status != CANTO_ERROR_CHECKPOINT) fail_msg("%s: %s", shape, canto_status_name(status));
    canto_error_clear();
}

static void test_forged_shapes(void **state)
{
    const char *const shapes[] = {"[-1]",
                                  "[1, 1, 1, 1, 1]",
                                  "[4294967296, 4294967296]",
                                  "[1152921504606846976]",
                                  "[9223372036854775807, 9223372036854775807, 0]",
                                  "[1.0]",
                                  "{}",
                                  "3",
                                  "null",
                                  "[1]"}; // the last: no piece holds its element
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        expect_shape_refused(*state, shapes[i]);
    }
}

static void test_deep_and_huge_manifests(void **state)
{
    fixture *f = *state;
    size_t bytes = 1 << 20;
    char *deep = malloc(bytes);
    memset(deep, '[', bytes);
    enclose(f, deep, bytes);
    expect_refused(f, "not a manifest of this program");
    free(deep);
    char path[512];
    path_of(f, 2, "manifest.json", path);
    assert_int_equal(truncate(path, CANTO_STORE_MANIFEST_MAX + 1), 0);
    expect_refused(f, "more than the 67108864 allowed");
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORE_TEST(test_every_byte_of_the_manifest),
        STORE_TEST(test_every_byte_of_the_shard),
        STORE_TEST(test_truncated_and_extended_manifest),
        STORE_TEST(test_truncated_and_extended_shard),
        STORE_TEST(test_changed_after_opening),
        STORE_TEST(test_missing_files),
        STORE_TEST(test_mixed_generations),
        STORE_TEST(test_strangers),
        STORE_TEST(test_listed_with_damage),
        STORE_TEST(test_set_aside),
        STORE_TEST(test_forged_manifests),
        STORE_TEST(test_forged_shapes),
        STORE_TEST(test_deep_and_huge_manifests),
    };
    return cmocka_run_group_tests_name("runtime.store_damage", tests, NULL, NULL);
}
