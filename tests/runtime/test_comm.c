// What every communicator must do, asked of self, mpi, checked and traced alike.
#include "tests/allocations.h"
#include "tests/canto_test.h"

#include "runtime/trace.h"

#include <stdio.h>

enum { LENGTH = 1000 };

typedef struct kind {
    const char *name;
    canto_status (*open)(canto_comm **out);
} kind;

static canto_status open_mpi(canto_comm **out)
{
    return canto_comm_mpi_open(out);
}

static canto_status open_split(canto_comm **out)
{
    CANTO_TRY(canto_comm_mpi_open(out));
    canto_comm_mpi_limit(*out, 100); // every longer message travels in pieces
    return CANTO_OK;
}

static canto_status open_checked(bool headers, canto_comm **out)
{
    canto_comm *plain;
    CANTO_TRY(canto_comm_mpi_open(&plain));
    canto_comm_checks checks = {.headers = headers, .timeout_s = 20};
    return canto_comm_checked_open(plain, checks, out);
}

static canto_status open_headers(canto_comm **out)
{
    return open_checked(true, out);
}

static canto_status open_watched(canto_comm **out)
{
    return open_checked(false, out);
}

static canto_status open_traced(canto_comm **out)
{
    static canto_trace trace; // without memory: nothing is recorded
    canto_comm *checked;
    CANTO_TRY(open_checked(true, &checked));
    return canto_comm_traced_open(checked, &trace, out);
}

static const kind kinds[] = {
    {"self", canto_comm_self_open},
    {"mpi", open_mpi},
    {"mpi in pieces", open_split},
    {"checked", open_headers},
    {"checked without headers", open_watched},
    {"traced", open_traced},
};

static canto_tensor floats(float *data, int64_t n)
{
    return canto_tensor_vector(CANTO_F32, data, n);
}

static void fill(float *x, int n, int rank)
{
    for (int i = 0; i < n; i++) x[i] = (float)(rank * 10000 + i);
}

static void expect(const float *x, int n, int rank)
{
    for (int i = 0; i < n; i++) assert_true(x[i] == (float)(rank * 10000 + i));
}

static void check_ring(canto_comm *comm)
{
    if (comm->size == 1) return;
    static float mine[LENGTH], theirs[LENGTH];
    const int right = (comm->rank + 1) % comm->size;
    const int left = (comm->rank + comm->size - 1) % comm->size;
    const canto_comm_counts before = comm->counts;
    for (int n = 1; n <= LENGTH; n = 3 * n + 1) {
        canto_request in, out;
        fill(mine, n, comm->rank);
        CANTO_TEST_OK(canto_comm_group_begin(comm));
        CANTO_TEST_OK(canto_comm_recv(comm, left, floats(theirs, n), &in));
        CANTO_TEST_OK(canto_comm_send(comm, right, floats(mine, n), &out));
        CANTO_TEST_OK(canto_comm_group_end(comm));
        CANTO_TEST_OK(canto_comm_wait(comm, &in));
        CANTO_TEST_OK(canto_comm_wait(comm, &out));
        assert_int_equal(in, CANTO_REQUEST_NONE);
        expect(theirs, n, left);
    }
    // n = 1, 4, 13, 40, 121, 364
    assert_int_equal(comm->counts.messages_sent - before.messages_sent, 6);
    assert_int_equal(comm->counts.messages_received - before.messages_received, 6);
    assert_int_equal(comm->counts.bytes_sent - before.bytes_sent, 4 * 543);
    assert_int_equal(comm->counts.bytes_received - before.bytes_received, 4 * 543);
    assert_true(comm->counts.wait_s > before.wait_s);
}

// Many messages of one pair, finished by polls in another order than they were started.
static void check_poll(canto_comm *comm)
{
    enum { MESSAGES = 40 };
    static float mine[MESSAGES][3], theirs[MESSAGES][3];
    canto_request in[MESSAGES] = {0}, out[MESSAGES] = {0};
    const int right = (comm->rank + 1) % comm->size;
    const int left = (comm->rank + comm->size - 1) % comm->size;
    for (int i = 0; i < MESSAGES && comm->size > 1; i++) {
        fill(mine[i], 3, comm->rank + 7 * i);
        CANTO_TEST_OK(canto_comm_send(comm, right, floats(mine[i], 3), &out[i]));
        CANTO_TEST_OK(canto_comm_recv(comm, left, floats(theirs[i], 3), &in[i]));
    }
    for (int open = MESSAGES; open > 0;) {
        open = 0;
        for (int i = MESSAGES - 1; i >= 0; i--) {
            bool received, sent;
            CANTO_TEST_OK(canto_comm_poll(comm, &in[i], &received));
            CANTO_TEST_OK(canto_comm_poll(comm, &out[i], &sent));
            open += !received + !sent;
        }
        CANTO_TEST_OK(canto_comm_poll(comm, NULL, NULL));
    }
    for (int i = 0; i < MESSAGES && comm->size > 1; i++) expect(theirs[i], 3, left + 7 * i);
}

static void check_collectives(canto_comm *comm)
{
    static float data[LENGTH];
    for (int root = 0; root < comm->size; root++) {
        fill(data, LENGTH, comm->rank);
        CANTO_TEST_OK(canto_comm_bcast(comm, root, floats(data, LENGTH)));
        expect(data, LENGTH, root);
    }
    int all[64];
    const int mine = 100 + comm->rank;
    CANTO_TEST_OK(canto_comm_gather_small(comm, sizeof mine, &mine, all));
    for (int r = 0; r < comm->size; r++) assert_int_equal(all[r], 100 + r);
    // In rank order: 1e16 first, so that the ones after it are lost, on every rank alike.
    double sum[64] = {[0] = comm->rank == 0 ? 1e16 : 1, [63] = comm->rank + 0.5};
    CANTO_TEST_OK(canto_comm_sum_small(comm, 64, sum));
    assert_true(sum[0] == 1e16);
    assert_true(sum[63] == 0.5 * comm->size * comm->size);
}

// Odd and even ranks apart, then everybody on a lane of its own.
static void check_split(canto_comm *comm)
{
    canto_comm *half, *lane;
    CANTO_TEST_OK(canto_comm_split(comm, "half", comm->rank % 2, &half));
    assert_string_equal(half->lane, "half");
    assert_string_equal(half->ops->name, comm->ops->name);
    assert_int_equal(half->size, (comm->size + 1 - comm->rank % 2) / 2);
    assert_int_equal(half->rank, comm->rank / 2);
    check_ring(half);
    check_collectives(half);
    CANTO_TEST_OK(canto_comm_split(half, "lane", 0, &lane));
    check_ring(lane);
    canto_comm_destroy(&half);
    check_poll(lane);
    canto_comm_destroy(&lane);
    assert_null(lane);
}

static void check_agree(canto_comm *comm)
{
    CANTO_TEST_OK(canto_comm_agree(comm, CANTO_OK));
    const int last = comm->size - 1;
    canto_status mine = CANTO_OK;
    // Ranks from the middle up fail; everybody gets the sentence of the lowest of them.
    if (comm->rank >= last / 2) {
        mine = canto_error_raise(CANTO_ERROR_IO, "file.c", 7, "disk of rank %d", comm->rank);
    }
    char words[32];
    snprintf(words, sizeof words, "disk of rank %d", last / 2);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, words, canto_comm_agree(comm, mine));
    CANTO_TEST_OK(canto_comm_agree(comm, CANTO_OK));
}

static void check_arguments(canto_comm *comm)
{
    float x = 0;
    canto_request request = 77;
    bool done = true;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no rank 99",
                     canto_comm_send(comm, 99, floats(&x, 1), &request));
    assert_int_equal(request, CANTO_REQUEST_NONE);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no rank -1",
                     canto_comm_recv(comm, -1, floats(&x, 1), &request));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "for itself",
                     canto_comm_send(comm, comm->rank, floats(&x, 1), &request));
    if (comm->size > 1) {
        CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "empty",
                         canto_comm_send(comm, comm->rank ? 0 : 1, floats(&x, 0), &request));
    }
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "empty", canto_comm_bcast(comm, 0, floats(&x, 0)));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "not 1025",
                     canto_comm_gather_small(comm, 1025, NULL, NULL));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "not 65", canto_comm_sum_small(comm, 65, NULL));
    canto_comm *other;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "negative", canto_comm_split(comm, "x", -1, &other));
    request = CANTO_REQUEST_NONE;
    CANTO_TEST_OK(canto_comm_wait(comm, &request));
    CANTO_TEST_OK(canto_comm_poll(comm, &request, &done));
    assert_true(done);
}

// The first error of a lane is its last word: nothing starts on it afterwards.
static void check_after_error(canto_comm *comm)
{
    double everybody = 1; // is here, so that nobody hears of the error in a step before
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 1, &everybody));
    canto_request never = 5;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "request 5", canto_comm_wait(comm, &never));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "after an error", canto_comm_poll(comm, NULL, NULL));
    float x = 0;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "after an error",
                     canto_comm_bcast(comm, 0, floats(&x, 1)));
}

static void test_conformance(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        canto_comm *comm;
        CANTO_TEST_OK(kinds[i].open(&comm));
        check_ring(comm);
        if (comm->size > 1) check_poll(comm);
        check_collectives(comm);
        check_split(comm);
        check_agree(comm);
        check_arguments(comm);
        check_ring(comm);
        check_after_error(comm);
        canto_comm_destroy(&comm);
    }
}

// Room that was reserved is enough, whoever starts first: nothing is allocated for the messages.
static void check_reserve(canto_comm *comm)
{
    enum { MESSAGES = 150 };
    canto_comm *lane;
    canto_request requests[2][MESSAGES];
    float out[MESSAGES], in[MESSAGES];
    CANTO_TEST_OK(canto_comm_split(comm, "reserved", 0, &lane));
    CANTO_TEST_OK(canto_comm_reserve(lane, 2 * MESSAGES));
    CANTO_TEST_OK(canto_comm_reserve(lane, 1)); // less than there is: no change
    const int right = (lane->rank + 1) % lane->size;
    const int left = (lane->rank + lane->size - 1) % lane->size;
    const int64_t before = canto_test_allocations();
    for (int round = 0; lane->size > 1 && round < 2; round++) {
        fill(out, MESSAGES, lane->rank);
        for (int i = 0; i < MESSAGES; i++)
            CANTO_TEST_OK(canto_comm_send(lane, right, floats(out + i, 1), &requests[0][i]));
        double all = 0;
        CANTO_TEST_OK(canto_comm_sum_small(lane, 1, &all)); // headers arrive before their messages
        for (int i = 0; i < MESSAGES; i++)
            CANTO_TEST_OK(canto_comm_recv(lane, left, floats(in + i, 1), &requests[1][i]));
        for (int i = 0; i < 2 * MESSAGES; i++)
            CANTO_TEST_OK(canto_comm_wait(lane, &requests[i / MESSAGES][i % MESSAGES]));
        expect(in, MESSAGES, left);
    }
    assert_int_equal(canto_test_allocations(), before);
    canto_comm_destroy(&lane);
}

static void test_reserve(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        canto_comm *comm;
        CANTO_TEST_OK(kinds[i].open(&comm));
        check_reserve(comm);
        canto_comm_destroy(&comm);
    }
}

static void test_lane_names(void **state)
{
    (void)state;
    assert_string_equal(canto_test_world->lane, "world");
    assert_string_equal(canto_test_world->ops->name, "checked");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_conformance),
    cmocka_unit_test(test_reserve),
    cmocka_unit_test(test_lane_names),
};

const canto_test_module test_comm = {"comm", tests, sizeof tests / sizeof *tests};
