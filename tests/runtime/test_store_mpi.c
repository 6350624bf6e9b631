// Checkpoints on several ranks: written by P, read by Q, for all P and Q; all ranks commit or none.
#define _GNU_SOURCE
#include "tests/runtime/store_case.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static canto_comm *world(void)
{
    return canto_test_world;
}

static void meet(void)
{
    CANTO_TEST_OK(canto_comm_agree(world(), CANTO_OK));
}

static int setup(void **state)
{
    char *dir = calloc(1, 256);
    if (world()->rank == 0) store_case_directory(dir);
    *state = dir;
    return canto_comm_bcast(world(), 0, canto_tensor_vector(CANTO_U8, dir, 256)) == CANTO_OK ? 0
                                                                                             : -1;
}

static int teardown(void **state)
{
    meet();
    if (world()->rank == 0) store_case_remove(*state);
    free(*state);
    return 0;
}

// Every rank got this status, and the same sentence, which contains `words`; clears it.
static void expect_same(canto_status expected, const char *words, canto_status status)
{
    typedef struct {
        int32_t status;
        char message[CANTO_MESSAGE_MAX];
    } outcome;
    outcome mine = {.status = (int32_t)status};
    outcome *all = calloc((size_t)world()->size, sizeof *all);
    snprintf(mine.message, sizeof mine.message, "%s", canto_error_message());
    canto_error_clear();
    CANTO_TEST_OK(canto_comm_gather_small(world(), sizeof mine, &mine, all));
    for (int r = 0; r < world()->size; r++) {
        if (all[r].status != (int32_t)expected || !strstr(all[r].message, words)) {
            fail_msg("rank %d: '%s' (%s), expected '%s' with \"%s\"", r,
                     canto_status_name((canto_status)all[r].status), all[r].message,
                     canto_status_name(expected), words);
        }
        assert_string_equal(all[r].message, all[0].message);
    }
    free(all);
}

// --- any number of ranks writes, any number reads ---

static void save_and_load(canto_comm *const subs[], const char *dir, int writers, int cut)
{
    const int rank = world()->rank;
    int64_t step = 10 * writers + cut;
    canto_status status = CANTO_OK;
    if (rank < writers) {
        status = store_case_save(subs[writers], dir, step, (store_case_cut)cut, 0);
    }
    expect_same(CANTO_OK, "", status);
    for (int readers = 1; readers <= world()->size; readers++) {
        if (rank < readers) assert_int_equal(store_case_load(subs[readers], dir, step), step);
        meet();
    }
    if (rank == 0) CANTO_TEST_OK(canto_store_verify(dir, step));
}

static void test_any_ranks_to_any_ranks(void **state)
{
    canto_comm *subs[5] = {NULL};
    for (int n = 1; n <= world()->size && n < 5; n++) {
        CANTO_TEST_OK(canto_comm_split(world(), "store", world()->rank < n ? 0 : 1, &subs[n]));
    }
    for (int writers = 1; writers <= world()->size && writers < 5; writers++) {
        for (int cut = 0; cut < STORE_CASE_CUTS; cut++) save_and_load(subs, *state, writers, cut);
    }
    for (int n = 1; n < 5; n++) canto_comm_destroy(&subs[n]);
}

static void test_one_shard_per_rank_with_data(void **state)
{
    canto_store_entry entries[2];
    int count;
    CANTO_TEST_OK(store_case_save(world(), *state, 1, STORE_CASE_EVEN, 0));
    CANTO_TEST_OK(store_case_save(world(), *state, 2, STORE_CASE_LAST, 0));
    CANTO_TEST_OK(canto_store_list(*state, 2, entries, &count));
    assert_int_equal(count, 2);
    assert_int_equal(entries[0].shards, world()->size);
    assert_int_equal(entries[1].shards, 1);
}

// The description of its part is the one message of a rank that is not rank 0.
static void test_messages(void **state)
{
    canto_store_writer *writer;
    int64_t before = world()->counts.messages_sent;
    CANTO_TEST_OK(canto_store_begin(world(), *state, 1, &writer));
    assert_int_equal(world()->counts.messages_sent, before);
    if (world()->rank == 0) CANTO_TEST_OK(store_case_write(writer, 0, 1, 0, 15));
    CANTO_TEST_OK(canto_store_commit(&writer, 0));
    assert_int_equal(world()->counts.messages_sent, before + (world()->rank != 0));
}

// Texts of other ranks are not stored, and need not be equal.
static void test_texts_of_rank_0(void **state)
{
    canto_store_writer *writer;
    canto_store_reader *reader;
    char text[32];
    snprintf(text, sizeof text, "rank %d", world()->rank);
    CANTO_TEST_OK(canto_store_begin(world(), *state, 1, &writer));
    CANTO_TEST_OK(canto_store_write_text(writer, "who", text));
    CANTO_TEST_OK(canto_store_commit(&writer, 0));
    CANTO_TEST_OK(canto_store_open(world(), *state, -1, NULL, NULL, &reader));
    assert_string_equal(canto_store_text(reader, "who"), "rank 0");
    canto_store_close(&reader);
}

// --- all or none ---

static void begin(const char *dir, int64_t step, canto_store_writer **writer)
{
    CANTO_TEST_OK(canto_store_begin(world(), dir, step, writer));
}

static void test_pieces_that_do_not_fit(void **state)
{
    const int last = world()->size - 1;
    const int rank = world()->rank;
    canto_store_writer *writer;
    if (last == 0) return; // one rank alone: the unit test
    begin(*state, 1, &writer);
    CANTO_TEST_OK(store_case_write(writer, 0, 1, 0, rank == 0 ? 15 : 0));
    CANTO_TEST_OK(store_case_write(writer, 1, 1, 0, rank == 0 ? 4 : 0));
    CANTO_TEST_OK(store_case_write(writer, 1, 1, 4, rank == last ? 2 : 0));
    expect_same(CANTO_ERROR_CHECKPOINT, "tensor optimizer/first-moment: no piece holds element 6",
                canto_store_commit(&writer, 0));
    begin(*state, 1, &writer);
    CANTO_TEST_OK(store_case_write(writer, 0, 1, 0, rank == 0 ? 15 : 0));
    CANTO_TEST_OK(store_case_write(writer, 0, 1, 14, rank == last ? 1 : 0));
    expect_same(CANTO_ERROR_CHECKPOINT, "tensor blocks.0.mixer.wq: element 14 is written twice",
                canto_store_commit(&writer, 0));
    begin(*state, 1, &writer);
    const int32_t data[4] = {0};
    CANTO_TEST_OK(canto_store_write(writer, "w", rank == last ? CANTO_I32 : CANTO_F32, 1,
                                    (int64_t[]){4}, rank == last ? 2 : 0,
                                    rank == last || rank == 0 ? 2 : 0, data));
    expect_same(CANTO_ERROR_CHECKPOINT, "tensor w is written both as",
                canto_store_commit(&writer, 0));
    begin(*state, 1, &writer);
    if (rank == last) {
        CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "'no name' cannot name",
                         canto_store_write(writer, "no name", CANTO_F32, 0, NULL, 0, 1, data));
    }
    expect_same(CANTO_ERROR_ARGUMENT, "'no name' cannot name", canto_store_commit(&writer, 0));
}

static void test_different_steps(void **state)
{
    canto_store_writer *writer;
    if (world()->size == 1) return;
    canto_status status = canto_store_begin(world(), *state, world()->rank == 1 ? 7 : 8, &writer);
    expect_same(CANTO_ERROR_MISMATCH, "step 7 here and of step 8 on rank 0", status);
    assert_null(writer);
}

typedef struct {
    int resource; // RLIMIT_*
    rlim_t limit;
    const char *words;
} shortage;

static canto_status save_short(const char *dir, int64_t step, int victim, const shortage *what)
{
    struct rlimit before, lowered;
    getrlimit((__rlimit_resource_t)what->resource, &before);
    lowered = (struct rlimit){.rlim_cur = what->limit, .rlim_max = before.rlim_max};
    canto_store_writer *writer;
    CANTO_TRY(canto_store_begin(world(), dir, step, &writer));
    for (int i = 0; i < STORE_CASE_TENSORS; i++) {
        int64_t n = store_case_count(i);
        int64_t first = n * world()->rank / world()->size;
        int64_t end = n * (world()->rank + 1) / world()->size;
        CANTO_TRY(store_case_write(writer, i, (int)step, first, end - first));
    }
    CANTO_TRY(canto_store_write_text(writer, "config", "a: \"b\"\n\xc3\xa9"));
    if (world()->rank == victim) setrlimit((__rlimit_resource_t)what->resource, &lowered);
    canto_status status = canto_store_commit(&writer, 1);
    if (world()->rank == victim) setrlimit((__rlimit_resource_t)what->resource, &before);
    assert_null(writer);
    return status;
}

// As a limit: nothing more can be opened, and everything that is open goes on.
static rlim_t next_descriptor(void)
{
    int fd = dup(STDOUT_FILENO);
    assert_true(fd >= 0);
    close(fd);
    return (rlim_t)fd;
}

// One rank, first or last, cannot open or cannot write its file; nobody commits, nobody hangs.
static void test_one_rank_fails(void **state)
{
    const shortage shortages[] = {
        {RLIMIT_NOFILE, next_descriptor(), "cannot create "},
        {RLIMIT_FSIZE, 100, "cannot write "},
    };
    void (*was)(int) = signal(SIGXFSZ, SIG_IGN);
    int64_t step = 1;
    CANTO_TEST_OK(store_case_save(world(), *state, step, STORE_CASE_EVEN, 1));
    for (int victim = 0; victim<world()->size; victim += world()->size> 1 ? world()->size - 1 : 1) {
        for (size_t i = 0; i < sizeof shortages / sizeof *shortages; i++) {
            canto_status status = save_short(*state, step + 1, victim, &shortages[i]);
            char words[300];
            snprintf(words, sizeof words, "%s%s/step-%08lld.tmp.", shortages[i].words,
                     (const char *)*state, (long long)step + 1);
            expect_same(CANTO_ERROR_IO, words, status);
            assert_int_equal(store_case_load(world(), *state, -1), step);
            meet();
            step++;
            CANTO_TEST_OK(store_case_save(world(), *state, step, STORE_CASE_ODD, 1));
            assert_int_equal(store_case_load(world(), *state, -1), step);
            meet();
        }
    }
    signal(SIGXFSZ, was);
}

// --- reading damaged checkpoints ---

static void count_note(void *context, const char *sentence)
{
    char(*notes)[CANTO_MESSAGE_MAX + 128] = context;
    snprintf(notes[0], sizeof notes[0], "%s", sentence);
}

static void test_damage_is_told_on_all_ranks(void **state)
{
    canto_store_reader *reader;
    char note[1][CANTO_MESSAGE_MAX + 128] = {""};
    char path[512];
    CANTO_TEST_OK(store_case_save(world(), *state, 1, STORE_CASE_EVEN, 0));
    CANTO_TEST_OK(store_case_save(world(), *state, 2, STORE_CASE_EVEN, 0));
    snprintf(path, sizeof path, "%s/step-00000002/shard-%04d-of-%04d.h5", (const char *)*state,
             world()->size - 1, world()->size);
    if (world()->rank == 0) assert_int_equal(truncate(path, 1000), 0);
    meet();
    expect_same(CANTO_ERROR_CHECKPOINT, path,
                canto_store_open(world(), *state, 2, NULL, NULL, &reader));
    assert_null(reader);
    CANTO_TEST_OK(canto_store_open(world(), *state, -1, count_note, note, &reader));
    assert_int_equal(canto_store_step(reader), 1);
    assert_non_null(strstr(note[0], "step 2 is not usable"));
    assert_non_null(strstr(note[0], path));
    store_case_expect(reader, 1, world()->size);
    canto_store_close(&reader);
    meet();
    // The last one left is damaged too.
    snprintf(path, sizeof path, "%s/step-00000001/manifest.json", (const char *)*state);
    if (world()->rank == 0) assert_int_equal(unlink(path), 0);
    meet();
    expect_same(CANTO_ERROR_CHECKPOINT, "step-00000002",
                canto_store_open(world(), *state, -1, count_note, note, &reader));
    assert_non_null(strstr(note[0], "manifest.json is missing"));
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

static const struct CMUnitTest tests[] = {
    STORE_TEST(test_any_ranks_to_any_ranks),
    STORE_TEST(test_one_shard_per_rank_with_data),
    STORE_TEST(test_messages),
    STORE_TEST(test_texts_of_rank_0),
    STORE_TEST(test_pieces_that_do_not_fit),
    STORE_TEST(test_different_steps),
    STORE_TEST(test_one_rank_fails),
    STORE_TEST(test_damage_is_told_on_all_ranks),
};

const canto_test_module test_store_mpi = {"store", tests, sizeof tests / sizeof *tests};
