// The checked communicator: mistakes planted on one rank must reach all ranks, within seconds, with
// one status and one sentence that names both ranks; and nothing may be sent that was not promised.
#include "tests/canto_test.h"

#include "runtime/comm_checked.h"
#include "runtime/clock.h"

#include <stdio.h>
#include <string.h>

enum { LENGTH = 10 };
static const double soon_s = 5;

static canto_comm *open_checked(bool headers, double timeout_s)
{
    canto_comm *plain, *comm;
    canto_comm_checks checks = {.headers = headers, .timeout_s = timeout_s};
    CANTO_TEST_OK(canto_comm_mpi_open(&plain));
    CANTO_TEST_OK(canto_comm_checked_open(plain, checks, &comm));
    return comm;
}

// Returns when all ranks have come.
static void meet(void)
{
    double all = 1;
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 1, &all));
}

static int right_of(const canto_comm *comm)
{
    return (comm->rank + 1) % comm->size;
}

static int left_of(const canto_comm *comm)
{
    return (comm->rank + comm->size - 1) % comm->size;
}

// All ranks must bring the same outcome here; the sentence holds these words.
static void expect_everywhere(canto_status expected, canto_status mine, const char *some,
                              const char *more)
{
    struct {
        int status;
        char sentence[300];
    } record = {.status = (int)mine}, all[16];
    strncpy(record.sentence, canto_error_message(), sizeof record.sentence - 1);
    canto_error_clear();
    CANTO_TEST_OK(canto_comm_gather_small(canto_test_world, sizeof record, &record, all));
    if (mine != expected) {
        fail_msg("got '%s' (%s)", canto_status_name(mine), record.sentence);
    }
    if (!strstr(record.sentence, some) || !strstr(record.sentence, more)) {
        fail_msg("no \"%s\" and \"%s\" in \"%s\"", some, more, record.sentence);
    }
    for (int r = 0; r < canto_test_world->size; r++) {
        assert_int_equal(all[r].status, expected);
        assert_string_equal(all[r].sentence, record.sentence);
    }
}

static bool names_rank(const char *sentence, int rank)
{
    char name[24];
    snprintf(name, sizeof name, "rank %d ", rank);
    return strstr(sentence, name) != NULL;
}

// Behind "rank R of S: ", which says who found it, stand the culprit and one more rank.
static void expect_both_named(int culprit, int size)
{
    const char *sentence = strstr(canto_error_message(), "lane ");
    assert_non_null(sentence);
    int others = 0;
    for (int r = 0; r < size; r++) others += r != culprit && names_rank(sentence, r);
    if (!names_rank(sentence, culprit) || others == 0) {
        fail_msg("rank %d and another: \"%s\"", culprit, sentence);
    }
}

// --- mistakes ---

typedef struct exchange {
    canto_tensor out, in;
    bool sends_twice; // a send where a receive belongs
} exchange;

// One step of a ring, then a collective that nobody may leave.
static canto_status step(canto_comm *comm, exchange what)
{
    canto_request in, out;
    if (what.sends_twice) {
        CANTO_TRY(canto_comm_send(comm, left_of(comm), what.in, &in));
    } else {
        CANTO_TRY(canto_comm_recv(comm, left_of(comm), what.in, &in));
    }
    CANTO_TRY(canto_comm_send(comm, right_of(comm), what.out, &out));
    CANTO_TRY(canto_comm_wait(comm, &in));
    CANTO_TRY(canto_comm_wait(comm, &out));
    double sum = 1;
    return canto_comm_sum_small(comm, 1, &sum);
}

static canto_status good_step(canto_comm *comm)
{
    float out[LENGTH] = {0}, in[LENGTH];
    return step(comm, (exchange){.out = canto_tensor_vector(CANTO_F32, out, LENGTH),
                                 .in = canto_tensor_vector(CANTO_F32, in, LENGTH)});
}

static canto_status wrong_size(canto_comm *comm)
{
    float out[LENGTH + 1] = {0}, in[LENGTH];
    return step(comm, (exchange){.out = canto_tensor_vector(CANTO_F32, out, LENGTH + 1),
                                 .in = canto_tensor_vector(CANTO_F32, in, LENGTH)});
}

static canto_status wrong_dtype(canto_comm *comm)
{
    int32_t out[LENGTH] = {0};
    float in[LENGTH];
    return step(comm, (exchange){.out = canto_tensor_vector(CANTO_I32, out, LENGTH),
                                 .in = canto_tensor_vector(CANTO_F32, in, LENGTH)});
}

static canto_status send_for_receive(canto_comm *comm)
{
    float out[LENGTH] = {0}, in[LENGTH] = {0};
    return step(comm, (exchange){.out = canto_tensor_vector(CANTO_F32, out, LENGTH),
                                 .in = canto_tensor_vector(CANTO_F32, in, LENGTH),
                                 .sends_twice = true});
}

static canto_status bcast(canto_comm *comm, int root, int n)
{
    float data[LENGTH] = {0};
    return canto_comm_bcast(comm, root, canto_tensor_vector(CANTO_F32, data, n));
}

static canto_status good_bcast(canto_comm *comm)
{
    return bcast(comm, 0, LENGTH);
}

static canto_status wrong_root(canto_comm *comm)
{
    return bcast(comm, 1, LENGTH);
}

static canto_status wrong_length(canto_comm *comm)
{
    return bcast(comm, 0, LENGTH - 1);
}

static canto_status wrong_collective(canto_comm *comm)
{
    double sum = 0;
    return canto_comm_sum_small(comm, 1, &sum);
}

static canto_status wrong_split(canto_comm *comm)
{
    canto_comm *lane;
    return canto_comm_split(comm, "planted", 0, &lane);
}

static void test_planted_mismatch(void **state)
{
    (void)state;
    static const struct {
        canto_status (*good)(canto_comm *);
        canto_status (*planted)(canto_comm *);
    } cases[] = {
        {good_step, wrong_size},   {good_step, wrong_dtype},   {good_step, send_for_receive},
        {good_bcast, wrong_root},  {good_bcast, wrong_length}, {good_bcast, wrong_collective},
        {good_bcast, wrong_split},
    };
    const int size = canto_test_world->size;
    if (size == 1) return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int culprit = 0; culprit < size; culprit += size - 1) {
            canto_comm *comm = open_checked(true, 20);
            CANTO_TEST_OK(good_step(comm));
            meet(); // or a slow rank would hear of the mistake in the good step
            const double start_s = canto_clock_s();
            const bool me = comm->rank == culprit;
            const canto_status status = me ? cases[i].planted(comm) : cases[i].good(comm);
            assert_true(canto_clock_s() - start_s < soon_s);
            expect_both_named(culprit, size);
            expect_everywhere(CANTO_ERROR_MISMATCH, status, "lane world", "");
            CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, "", good_step(comm));
            canto_comm_destroy(&comm);
        }
    }
}

static canto_status skip_step(canto_comm *comm)
{
    double sum = 1;
    return canto_comm_sum_small(comm, 1, &sum);
}

// One rank does something else, and nobody ever gets two things to compare: all ranks wait, in a
// circle that leads through the culprit. It is found long before the time limit.
static void test_planted_circle(void **state)
{
    (void)state;
    static canto_status (*const cases[][2])(canto_comm *) = {
        {good_step, good_bcast}, {good_bcast, good_step}, {good_step, skip_step}};
    const int size = canto_test_world->size;
    if (size == 1) return;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int culprit = 0; culprit < size; culprit++) {
            canto_comm *comm = open_checked(true, 20);
            meet();
            const double start_s = canto_clock_s();
            const canto_status status = cases[i][comm->rank == culprit](comm);
            assert_true(canto_clock_s() - start_s < soon_s);
            expect_everywhere(CANTO_ERROR_MISMATCH, status, "waits for rank", "lane world");
            canto_comm_destroy(&comm);
        }
    }
}

// An error of one lane ends the waits on every lane of the same origin, a group's too.
static void test_alarm_reaches_every_lane(void **state)
{
    (void)state;
    const int size = canto_test_world->size;
    if (size == 1) return;
    canto_comm *comm = open_checked(true, 20), *lane, *alone;
    CANTO_TEST_OK(canto_comm_split(comm, "gradients", 0, &lane));
    CANTO_TEST_OK(canto_comm_split(comm, "alone", comm->rank == 0, &alone));
    meet();
    canto_status status;
    if (comm->rank == 0) {
        canto_request never = 3;
        status = canto_comm_wait(alone, &never);
    } else {
        status = good_step(comm->rank % 2 ? lane : comm);
    }
    expect_everywhere(CANTO_ERROR_ARGUMENT, status, "lane alone", "request 3 is not open");
    canto_comm_destroy(&alone);
    canto_comm_destroy(&lane);
    canto_comm_destroy(&comm);
}

// --- ranks that do not come ---

static canto_status wait_for_last(canto_comm *comm)
{
    float data[LENGTH];
    canto_request in;
    CANTO_TRY(
        canto_comm_recv(comm, comm->size - 1, canto_tensor_vector(CANTO_F32, data, LENGTH), &in));
    return canto_comm_wait(comm, &in);
}

static void expect_timeout(bool headers, canto_status (*call)(canto_comm *), const char *awaited)
{
    const double limit_s = 1;
    meet();
    canto_comm *comm = open_checked(headers, limit_s), *lane;
    CANTO_TEST_OK(canto_comm_split(comm, "kv", 0, &lane));
    meet();
    const int missing = comm->size - 1;
    const double start_s = canto_clock_s();
    canto_status status = CANTO_OK;
    if (comm->rank != missing) {
        status = call(lane);
        const double waited_s = canto_clock_s() - start_s;
        assert_true(waited_s >= 0.5 * limit_s && waited_s < soon_s);
    } else {
        // Comes only when the others have given up, and hears of it.
        while (status == CANTO_OK) status = canto_comm_poll(lane, NULL, NULL);
    }
    char words[96];
    snprintf(words, sizeof words, "for rank %d %s", missing, awaited);
    expect_everywhere(CANTO_ERROR_TIMEOUT, status, "lane kv", words);
    canto_comm_destroy(&lane);
    canto_comm_destroy(&comm);
}

static void test_missing_rank(void **state)
{
    (void)state;
    if (canto_test_world->size == 1) return;
    expect_timeout(true, wait_for_last, "to send message 0 (f32, 40 bytes)");
    expect_timeout(false, wait_for_last, "to send message 0 (f32, 40 bytes)");
    if (canto_test_world->size > 2) return; // with more, who waits for whom depends on the round
    expect_timeout(true, good_bcast, "to enter collective 0 (broadcast, 40 bytes)");
    expect_timeout(false, wrong_collective, "to enter collective 0 (gather, 8 bytes)");
}

// A lane that what stands on it has marked is taken apart by each rank alone; its family goes on.
static void test_marked_lane_is_destroyed_locally(void **state)
{
    (void)state;
    canto_comm *comm = open_checked(true, 1), *lane;
    CANTO_TEST_OK(canto_comm_split(comm, "kv", 0, &lane));
    if (comm->size > 1) CANTO_TEST_OK(good_step(lane));
    lane->failed = CANTO_ERROR_TIMEOUT;
    if (comm->rank == 0) canto_comm_destroy(&lane);
    meet();
    canto_comm_destroy(&lane);
    if (comm->size > 1) CANTO_TEST_OK(good_step(comm));
    canto_comm_destroy(&comm);
}

// --- what is sent ---

static int64_t sent(const canto_comm *comm)
{
    return comm ? comm->counts.messages_sent : 0;
}

static void test_promised_messages(void **state)
{
    (void)state;
    for (int headers = 0; headers <= 1; headers++) {
        canto_comm *comm = open_checked(headers, 20);
        const canto_checked *inside = (const canto_checked *)comm;
        const int size = comm->size;
        if (size > 1) {
            CANTO_TEST_OK(good_step(comm));
        }
        int rounds = 0;
        for (int far = 1; far < size; far *= 2) rounds++;
        assert_int_equal(comm->counts.messages_sent, size > 1);
        assert_int_equal(comm->counts.bytes_sent, size > 1 ? 4 * LENGTH : 0);
        assert_int_equal(sent(inside->inner), size > 1);
        assert_int_equal(sent(inside->small), rounds); // the sum
        // Both ends of one message each way, and the rounds of the sum.
        assert_int_equal(sent(inside->headers), headers && size > 1 ? 2 + rounds : 0);
        canto_comm_destroy(&comm);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_planted_mismatch),
    cmocka_unit_test(test_planted_circle),
    cmocka_unit_test(test_alarm_reaches_every_lane),
    cmocka_unit_test(test_missing_rank),
    cmocka_unit_test(test_marked_lane_is_destroyed_locally),
    cmocka_unit_test(test_promised_messages),
};

const canto_test_module test_comm_checked = {"comm_checked", tests, sizeof tests / sizeof *tests};
