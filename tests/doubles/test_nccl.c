// Lanes over NCCL on the doubles, and what happens when something fails: the same sentence on every
// rank, in bounded time, whatever fails on whichever. Only in build/tests/mpi/messages_doubles, and
// only when CANTO_TEST_DEVICE is cuda.
#include "tests/canto_test.h"

#include "tests/allocations.h"
#include "tests/doubles/doubles.h"

#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdio.h>
#include <string.h>

static const double limit_s = 1;

enum { COUNT = 300000 };

static bool no_lanes(void)
{
    return strcmp(canto_test_device->backend->name, "cuda") != 0 || canto_test_world->size < 2;
}

static float *take(size_t n)
{
    void *out;
    CANTO_TEST_OK(canto_device_alloc(canto_test_device, n * sizeof(float), &out));
    return out;
}

static void give(float *x, size_t n)
{
    canto_device_release(canto_test_device, x, n * sizeof *x);
}

static canto_tensor vector(float *x, int64_t n)
{
    return canto_tensor_vector(CANTO_F32, x, n);
}

static int next_of(const canto_comm *lane)
{
    return (lane->rank + 1) % lane->size;
}

static int before_of(const canto_comm *lane)
{
    return (lane->rank + lane->size - 1) % lane->size;
}

// A world of its own, which may fail.
static canto_comm *open_world(void)
{
    canto_comm *plain, *world;
    CANTO_TEST_OK(canto_comm_mpi_open(&plain));
    CANTO_TEST_OK(canto_comm_checked_open(
        plain, (canto_comm_checks){.headers = true, .timeout_s = limit_s}, &world));
    return world;
}

static canto_comm *split(canto_comm *world, const char *name)
{
    canto_comm *host;
    CANTO_TEST_OK(canto_comm_split(world, name, 0, &host));
    return host;
}

// All ranks are at this place; in the world that does not fail.
static void meet(void)
{
    double one = 1;
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 1, &one));
}

// On every rank, before anything can fail on any.
static canto_comm *open_lane(canto_comm *world, const char *name)
{
    canto_comm *lane;
    CANTO_TEST_OK(canto_device_lane(canto_test_device, split(world, name), &lane));
    meet();
    return lane;
}

// --- messages ---

static void expect_all(const float *x, size_t n, float value)
{
    static float back[COUNT];
    CANTO_TEST_OK(canto_device_download(canto_test_device, back, x, n * sizeof *x));
    for (size_t i = 0; i < n; i++) {
        if (back[i] != value) fail_msg("number %zu is %g, not %g", i, back[i], value);
    }
}

// Round the ring in hops, kernel after message after kernel, without the host waiting once.
static void kernels_and_messages_take_turns(void **state)
{
    (void)state;
    if (no_lanes()) return;
    canto_comm *world = canto_test_world, *lane = open_lane(world, "schedule");
    const canto_kernels *kernels = canto_test_device->kernels;
    float *x = take(COUNT), *y = take(COUNT), one = 1;
    kernels->fill(canto_test_device, COUNT, (float)lane->rank, x);
    for (int hop = 0; hop < lane->size; hop++) {
        canto_request requests[2];
        CANTO_TEST_OK(canto_comm_group_begin(lane));
        CANTO_TEST_OK(canto_comm_send(lane, next_of(lane), vector(x, COUNT), &requests[0]));
        CANTO_TEST_OK(canto_comm_recv(lane, before_of(lane), vector(y, COUNT), &requests[1]));
        CANTO_TEST_OK(canto_comm_group_end(lane));
        for (int i = 0; i < 2; i++) CANTO_TEST_OK(canto_comm_wait(lane, &requests[i]));
        kernels->fill(canto_test_device, COUNT, one, x);
        kernels->add(canto_test_device, COUNT, y, x);
    }
    expect_all(x, COUNT, (float)(lane->rank + lane->size));
    give(x, COUNT);
    give(y, COUNT);
    canto_comm_destroy(&lane);
}

// A message alone is a group of one; a poll ends it, too; every type of number travels.
static void messages_alone_of_every_type(void **state)
{
    (void)state;
    if (no_lanes()) return;
    canto_comm *lane = open_lane(canto_test_world, "schedule");
    static const canto_dtype types[] = {CANTO_F32, CANTO_F64, CANTO_I32, CANTO_I64, CANTO_U8};
    float *x = take(16);
    canto_test_device->kernels->fill(canto_test_device, 16, lane->rank == 0 ? 3.0f : 4.0f, x);
    for (int i = 0; i < 5 && lane->rank < 2; i++) {
        canto_request request;
        const canto_tensor data =
            canto_tensor_vector(types[i], x, 64 / (int64_t)canto_dtype_bytes(types[i]));
        if (lane->rank == i % 2)
            CANTO_TEST_OK(canto_comm_send(lane, 1 - lane->rank, data, &request));
        else
            CANTO_TEST_OK(canto_comm_recv(lane, 1 - lane->rank, data, &request));
        for (bool done = false; !done;) CANTO_TEST_OK(canto_comm_poll(lane, &request, &done));
        assert_int_equal(request, CANTO_REQUEST_NONE);
    }
    expect_all(x, 16, lane->rank < 2 ? 3.0f : 4.0f);
    give(x, 16);
    canto_comm_destroy(&lane);
}

// The host runs ahead of the device, and takes no more events than were reserved.
static void running_ahead_takes_no_more_memory(void **state)
{
    (void)state;
    if (no_lanes()) return;
    canto_comm *lane = open_lane(canto_test_world, "schedule");
    CANTO_TEST_OK(canto_comm_reserve(lane, 2));
    float *x = take(2);
    const int objects = canto_doubles_open_objects();
    const int64_t allocations = canto_test_allocations();
    for (int i = 0; i < 100; i++) {
        canto_request requests[2];
        CANTO_TEST_OK(canto_comm_group_begin(lane));
        CANTO_TEST_OK(canto_comm_recv(lane, before_of(lane), vector(x, 1), &requests[0]));
        CANTO_TEST_OK(canto_comm_send(lane, next_of(lane), vector(x + 1, 1), &requests[1]));
        CANTO_TEST_OK(canto_comm_group_end(lane));
        for (int k = 0; k < 2; k++) CANTO_TEST_OK(canto_comm_wait(lane, &requests[k]));
    }
    assert_int_equal(canto_doubles_open_objects(), objects);
    assert_int_equal(canto_test_allocations(), allocations);
    CANTO_TEST_OK(canto_device_finish(canto_test_device));
    give(x, 2);
    canto_comm_destroy(&lane);
}

// Lanes meet in another order on every rank, first messages included.
static void lanes_do_not_wait_for_each_other(void **state)
{
    (void)state;
    if (no_lanes()) return;
    canto_comm *lanes[2] = {open_lane(canto_test_world, "schedule"),
                            open_lane(canto_test_world, "gradients")};
    float *x = take(4);
    canto_request requests[2][2];
    for (int i = 0; i < 2; i++) {
        const int k = (i + canto_test_world->rank) % 2;
        canto_comm *lane = lanes[k];
        canto_test_device->kernels->fill(canto_test_device, 1, (float)k, x + k);
        CANTO_TEST_OK(canto_comm_group_begin(lane));
        CANTO_TEST_OK(canto_comm_send(lane, next_of(lane), vector(x + k, 1), &requests[k][0]));
        CANTO_TEST_OK(
            canto_comm_recv(lane, before_of(lane), vector(x + 2 + k, 1), &requests[k][1]));
        CANTO_TEST_OK(canto_comm_group_end(lane));
    }
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < 2; i++) CANTO_TEST_OK(canto_comm_wait(lanes[k], &requests[k][i]));
        expect_all(x + 2 + k, 1, (float)k);
    }
    give(x, 4);
    for (int k = 0; k < 2; k++) canto_comm_destroy(&lanes[k]);
}

// --- failures ---

// One rank's failure, on every rank, with its words; the world is destroyed.
static void expect_everywhere(canto_comm *world, canto_status expected, const char *words,
                              canto_status mine)
{
    CANTO_TEST_FAILS(expected, words, mine);
    world->failed = mine;
    canto_comm_destroy(&world);
    canto_doubles_forget();
    meet();
}

static void a_lane_opens_everywhere_or_nowhere(void **state)
{
    (void)state;
    if (no_lanes()) return;
    static const struct {
        const char *call;
        int code;
        canto_status status;
    } cases[] = {
        {"cudaStreamCreateWithPriority", cudaErrorMemoryAllocation, CANTO_ERROR_DEVICE},
        {"cudaEventCreateWithFlags", cudaErrorMemoryAllocation, CANTO_ERROR_DEVICE},
        {"ncclCommInitRankConfig", ncclSystemError, CANTO_ERROR_COMM},
        {"ncclCommGetAsyncError:state", ncclRemoteError, CANTO_ERROR_COMM},
        {"ncclCommGetAsyncError", ncclInternalError, CANTO_ERROR_COMM},
    };
    const int objects = canto_doubles_open_objects();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        canto_comm *world = open_world(), *lane;
        canto_comm *host = split(world, "schedule");
        if (world->rank == 1) canto_doubles_fail(cases[i].call, 1, cases[i].code);
        char words[96];
        snprintf(words, sizeof words, "%s was made to fail", cases[i].call);
        expect_everywhere(world, cases[i].status, words,
                          canto_device_lane(canto_test_device, host, &lane));
        assert_null(lane);
        assert_int_equal(canto_doubles_open_objects(), objects);
    }
}

// Rank 1 is there when the lane opens, and does not join.
static void a_rank_that_never_joins_is_a_sentence(void **state)
{
    (void)state;
    if (no_lanes()) return;
    canto_comm *world = open_world(), *lane = NULL;
    canto_comm *host = split(world, "schedule");
    canto_status status = CANTO_OK;
    if (world->rank == 1) {
        char id[NCCL_UNIQUE_ID_BYTES];
        CANTO_TEST_OK(canto_comm_agree(host, CANTO_OK));
        CANTO_TEST_OK(canto_comm_bcast(host, 0, canto_tensor_vector(CANTO_U8, id, sizeof id)));
        while (status == CANTO_OK) status = canto_comm_poll(host, NULL, NULL);
        canto_comm_destroy(&host);
    } else {
        status = canto_device_lane(canto_test_device, host, &lane);
    }
    expect_everywhere(world, CANTO_ERROR_TIMEOUT, "ncclCommInitRankConfig: rank ", status);
}

// A group that was started, waited for by the compute stream, and never begun by the other rank.
static canto_status wait_for_nothing(canto_comm *lane, float *x)
{
    canto_request request;
    if (lane->rank == 0) {
        CANTO_TRY(canto_comm_recv(lane, 1, vector(x, 7), &request));
        CANTO_TRY(canto_comm_wait(lane, &request));
        return canto_device_finish(canto_test_device);
    }
    for (;;) CANTO_TRY(canto_comm_poll(lane, NULL, NULL));
}

static void a_message_that_never_comes_is_a_sentence(void **state)
{
    (void)state;
    if (no_lanes()) return;
    canto_comm *world = open_world(), *lane = open_lane(world, "schedule");
    float *x = take(7);
    const canto_status status = wait_for_nothing(lane, x);
    lane->failed = status;
    canto_comm_destroy(&lane);
    give(x, 7);
    expect_everywhere(world, CANTO_ERROR_TIMEOUT,
                      "other ends of group 0 to end (1 messages, the first from rank 1, 28 bytes)",
                      status);
}

// An error that NCCL meets while the host waits for its device.
static canto_status pass_round(canto_comm *lane, float *x)
{
    canto_request requests[2];
    for (int i = 0; i < 3; i++) {
        CANTO_TRY(canto_comm_group_begin(lane));
        CANTO_TRY(canto_comm_send(lane, next_of(lane), vector(x, 1), &requests[0]));
        CANTO_TRY(canto_comm_recv(lane, before_of(lane), vector(x + 1, 1), &requests[1]));
        CANTO_TRY(canto_comm_group_end(lane));
        for (int k = 0; k < 2; k++) CANTO_TRY(canto_comm_wait(lane, &requests[k]));
    }
    return canto_device_finish(canto_test_device);
}

static void errors_of_one_rank_reach_all(void **state)
{
    (void)state;
    if (no_lanes()) return;
    static const struct {
        const char *call;
        int n, code;
        canto_status status;
    } cases[] = {
        {"ncclCommGetAsyncError:state", 3, ncclRemoteError, CANTO_ERROR_COMM},
        {"ncclGroupStart", 2, ncclInternalError, CANTO_ERROR_COMM},
        {"ncclGroupEnd", 2, ncclUnhandledCudaError, CANTO_ERROR_COMM},
        {"ncclSend", 1, ncclInvalidArgument, CANTO_ERROR_COMM},
        {"ncclRecv", 2, ncclInvalidArgument, CANTO_ERROR_COMM},
        {"cudaEventRecord", 2, cudaErrorInvalidResourceHandle, CANTO_ERROR_DEVICE},
        {"cudaStreamWaitEvent", 3, cudaErrorInvalidResourceHandle, CANTO_ERROR_DEVICE},
        {"cudaEventQuery", 1, cudaErrorIllegalAddress, CANTO_ERROR_DEVICE},
    };
    const int objects = canto_doubles_open_objects();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        canto_comm *world = open_world(), *lane = open_lane(world, "schedule");
        float *x = take(2);
        if (world->rank == 1) canto_doubles_fail(cases[i].call, cases[i].n, cases[i].code);
        canto_status status = pass_round(lane, x);
        // Who was done before the error hears of it at the next opportunity.
        while (status == CANTO_OK) status = canto_comm_poll(lane, NULL, NULL);
        char words[96];
        snprintf(words, sizeof words, "%s was made to fail", cases[i].call);
        lane->failed = status;
        canto_comm_destroy(&lane);
        give(x, 2);
        expect_everywhere(world, cases[i].status, words, status);
        assert_int_equal(canto_doubles_open_objects(), objects);
    }
}

static void requests_are_checked(void **state)
{
    (void)state;
    if (no_lanes()) return;
    canto_comm *world = open_world(), *lane = open_lane(world, "schedule");
    float *x = take(2);
    canto_request request;
    CANTO_TEST_OK(canto_comm_group_begin(lane));
    CANTO_TEST_OK(canto_comm_send(lane, next_of(lane), vector(x, 1), &request));
    canto_status status = canto_comm_wait(lane, &request);
    canto_comm_destroy(&lane);
    give(x, 2);
    expect_everywhere(world, CANTO_ERROR_ARGUMENT, "in a group that is not ended yet", status);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(kernels_and_messages_take_turns),
    cmocka_unit_test(messages_alone_of_every_type),
    cmocka_unit_test(running_ahead_takes_no_more_memory),
    cmocka_unit_test(lanes_do_not_wait_for_each_other),
    cmocka_unit_test(a_lane_opens_everywhere_or_nowhere),
    cmocka_unit_test(a_rank_that_never_joins_is_a_sentence),
    cmocka_unit_test(a_message_that_never_comes_is_a_sentence),
    cmocka_unit_test(errors_of_one_rank_reach_all),
    cmocka_unit_test(requests_are_checked),
};

const canto_test_module test_nccl = {"nccl", tests, sizeof tests / sizeof *tests};
