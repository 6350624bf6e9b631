// Lanes of the shadow device on all ranks of the test program: messages come after the work that
// was queued before them and before the work that is queued after their wait, whatever the order
// in which things run; a wait that is left out shows; groups that need a rank to look ahead end in
// a sentence; and a rank that blocks on a lane of the host lets its device go on.
#include "tests/canto_test.h"

#include "runtime/shadow/device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { N = 100, ROUNDS = 5, SEEDS = 8 };

typedef struct fixture {
    const canto_device *device;
    canto_comm *lane, *control;
    float *mine, *theirs; // [N], [size, N]
    canto_request in[8], out[8];
} fixture;

// The order is a function of the seed of the environment and this number.
static void open_fixture(fixture *f, int number)
{
    const int size = canto_test_world->size;
    *f = (fixture){0};
    CANTO_TEST_OK(canto_device_open(canto_backend_find("shadow"),
                                    number * 100 + canto_test_world->rank, &f->device));
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "schedule", 0, &f->lane));
    CANTO_TEST_OK(canto_device_lane(f->device, f->lane, &f->lane));
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "control", 0, &f->control));
    CANTO_TEST_OK(canto_device_host_lane(f->device, f->control, &f->control));
    CANTO_TEST_OK(canto_device_alloc(f->device, sizeof(float) * N, (void **)&f->mine));
    CANTO_TEST_OK(
        canto_device_alloc(f->device, sizeof(float) * N * (size_t)size, (void **)&f->theirs));
}

static void close_fixture(fixture *f)
{
    canto_device_release(f->device, f->mine, 0);
    canto_device_release(f->device, f->theirs, 0);
    canto_comm_destroy(&f->control);
    canto_comm_destroy(&f->lane);
    CANTO_TEST_OK(canto_device_close(&f->device));
}

static canto_tensor tensor(float *x)
{
    return canto_tensor_vector(CANTO_F32, x, N);
}

// One group to and from everybody.
static void start_exchange(fixture *f)
{
    const int rank = f->lane->rank, size = f->lane->size;
    CANTO_TEST_OK(canto_comm_group_begin(f->lane));
    for (int r = 0; r < size; r++) {
        if (r == rank) continue;
        CANTO_TEST_OK(canto_comm_recv(f->lane, r, tensor(f->theirs + r * N), &f->in[r]));
        CANTO_TEST_OK(canto_comm_send(f->lane, r, tensor(f->mine), &f->out[r]));
    }
    CANTO_TEST_OK(canto_comm_group_end(f->lane));
}

static void wait_for(fixture *f, canto_request requests[8])
{
    for (int r = 0; r < f->lane->size; r++) CANTO_TEST_OK(canto_comm_wait(f->lane, &requests[r]));
}

// Rounds of: everybody gets my value, mine becomes a quarter of the sum of all. Returns whether the
// result is right.
static bool rounds(fixture *f)
{
    const int rank = f->lane->rank, size = f->lane->size;
    const canto_kernels *k = f->device->kernels;
    double expected = 0;
    k->fill(f->device, N, (float)rank + 1, f->mine);
    for (int round = 0; round < ROUNDS; round++) {
        start_exchange(f);
        wait_for(f, f->in);
        wait_for(f, f->out);
        for (int r = 0; r < size; r++) {
            if (r != rank) k->add(f->device, N, f->theirs + r * N, f->mine);
        }
        k->scale(f->device, N, 0.25f, f->mine);
        expected = 0.25 * (round == 0 ? size * (size + 1) / 2 : size * expected);
    }
    float found[N];
    CANTO_TEST_OK(canto_device_download(f->device, found, f->mine, sizeof found));
    bool right = true;
    for (int i = 0; i < N; i++) right = right && fabs(found[i] - expected) < 1e-5;
    return right;
}

static void messages_keep_their_place_among_the_work(void **state)
{
    (void)state;
    for (int number = 0; number < SEEDS; number++) {
        fixture f;
        open_fixture(&f, number);
        assert_true(rounds(&f));
        const int64_t others = f.lane->size - 1;
        assert_int_equal(f.lane->counts.messages_sent, ROUNDS * others);
        assert_int_equal(f.lane->counts.bytes_received, 4 * N * ROUNDS * others);
        close_fixture(&f);
    }
}

// The sum of what came, made before it is waited for.
static bool reads_early(fixture *f)
{
    const int rank = f->lane->rank, size = f->lane->size;
    const canto_kernels *k = f->device->kernels;
    k->fill(f->device, N, 1, f->mine);
    start_exchange(f);
    for (int r = 0; r < size; r++) {
        if (r != rank) k->add(f->device, N, f->theirs + r * N, f->mine);
    }
    wait_for(f, f->in);
    wait_for(f, f->out);
    float found[N];
    CANTO_TEST_OK(canto_device_download(f->device, found, f->mine, sizeof found));
    return found[0] != (float)size;
}

static void a_wait_that_is_left_out_shows(void **state)
{
    (void)state;
    double early = 0;
    if (canto_test_world->size == 1) skip();
    for (int number = 0; number < SEEDS; number++) {
        fixture f;
        open_fixture(&f, number);
        early += reads_early(&f);
        close_fixture(&f);
    }
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 1, &early));
    assert_true(early > 0);
}

// Each rank sends before it receives, in groups of their own: with a lane that works through its
// groups nobody gets to the receives.
static void groups_that_need_look_ahead_end_in_a_sentence(void **state)
{
    (void)state;
    const int rank = canto_test_world->rank, size = canto_test_world->size;
    if (size == 1) skip();
    fixture f;
    open_fixture(&f, 0);
    canto_shadow_set_stall(canto_shadow_of(f.device)->streams, 1);
    const int next = rank + 1 < size ? rank + 1 : 0, last = rank > 0 ? rank - 1 : size - 1;
    CANTO_TEST_OK(canto_comm_send(f.lane, next, tensor(f.mine), &f.out[next]));
    CANTO_TEST_OK(canto_comm_recv(f.lane, last, tensor(f.theirs), &f.in[last]));
    CANTO_TEST_OK(canto_comm_wait(f.lane, &f.in[last]));
    float found[N];
    CANTO_TEST_FAILS(CANTO_ERROR_TIMEOUT, "nothing got done for 1 s; stream",
                     canto_device_download(f.device, found, f.theirs, sizeof found));
    canto_device_release(f.device, f.mine, 0);
    canto_device_release(f.device, f.theirs, 0);
    canto_error_clear();
    canto_comm_destroy(&f.control);
    canto_comm_destroy(&f.lane);
    CANTO_TEST_FAILS(CANTO_ERROR_TIMEOUT, "nothing got done", canto_device_close(&f.device));
}

// The last rank gets its message only if rank 0's device works while rank 0 blocks: rank 0 has two
// groups to go through, and comes to the collective first.
static void a_device_goes_on_while_its_host_blocks(void **state)
{
    (void)state;
    const int rank = canto_test_world->rank, last = canto_test_world->size - 1;
    if (last == 0) skip();
    for (int number = 0; number < SEEDS; number++) {
        fixture f;
        double sum = 1;
        float found[N] = {0};
        open_fixture(&f, number);
        f.device->kernels->fill(f.device, N, (float)rank + 1, f.mine);
        if (rank == 0) {
            CANTO_TEST_OK(canto_comm_recv(f.lane, last, tensor(f.theirs), &f.in[0]));
            CANTO_TEST_OK(canto_comm_send(f.lane, last, tensor(f.mine), &f.out[0]));
        } else if (rank == last) {
            CANTO_TEST_OK(canto_comm_send(f.lane, 0, tensor(f.mine), &f.out[0]));
            CANTO_TEST_OK(canto_comm_recv(f.lane, 0, tensor(f.theirs), &f.in[0]));
            CANTO_TEST_OK(canto_comm_wait(f.lane, &f.in[0]));
            CANTO_TEST_OK(canto_device_download(f.device, found, f.theirs, sizeof found));
            assert_true(found[0] == 1 && found[N - 1] == 1);
        }
        CANTO_TEST_OK(canto_comm_sum_small(f.control, 1, &sum));
        assert_int_equal((int)sum, last + 1);
        CANTO_TEST_OK(canto_comm_wait(f.lane, &f.in[0]));
        CANTO_TEST_OK(canto_comm_wait(f.lane, &f.out[0]));
        if (rank == 0) {
            CANTO_TEST_OK(canto_device_download(f.device, found, f.theirs, sizeof found));
            assert_true(found[0] == (float)last + 1);
        }
        close_fixture(&f);
    }
}

// A poll says done only when the message is there, and then it is.
static void polls_tell_the_truth(void **state)
{
    (void)state;
    fixture f;
    open_fixture(&f, 0);
    f.device->kernels->fill(f.device, N, (float)f.lane->rank, f.mine);
    start_exchange(&f);
    for (int r = 0; r < f.lane->size; r++) {
        bool came = f.in[r] == CANTO_REQUEST_NONE;
        while (!came) CANTO_TEST_OK(canto_comm_poll(f.lane, &f.in[r], &came));
        assert_true(f.in[r] == CANTO_REQUEST_NONE);
        if (r == f.lane->rank) continue;
        float found[N];
        CANTO_TEST_OK(canto_device_download(f.device, found, f.theirs + r * N, sizeof found));
        assert_true(found[0] == (float)r && found[N - 1] == (float)r);
    }
    wait_for(&f, f.out);
    close_fixture(&f);
}

static void wrong_use_ends_in_a_sentence(void **state)
{
    (void)state;
    fixture f;
    float host[N] = {0};
    const int peer = canto_test_world->rank == 0;
    if (canto_test_world->size == 1) skip();
    open_fixture(&f, 0);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT,
                     "send: ", canto_comm_send(f.lane, peer, tensor(host), &f.out[0]));
    canto_comm_destroy(&f.lane);
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "schedule", 0, &f.lane));
    CANTO_TEST_OK(canto_device_lane(f.device, f.lane, &f.lane));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "request 9 is not open",
                     canto_comm_wait(f.lane, &(canto_request){9}));
    canto_comm_destroy(&f.lane);
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "schedule", 0, &f.lane));
    CANTO_TEST_OK(canto_device_lane(f.device, f.lane, &f.lane));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "a group that was not begun",
                     canto_comm_group_end(f.lane));
    close_fixture(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(messages_keep_their_place_among_the_work),
    cmocka_unit_test(a_wait_that_is_left_out_shows),
    cmocka_unit_test(groups_that_need_look_ahead_end_in_a_sentence),
    cmocka_unit_test(a_device_goes_on_while_its_host_blocks),
    cmocka_unit_test(polls_tell_the_truth),
    cmocka_unit_test(wrong_use_ends_in_a_sentence),
};

const canto_test_module test_shadow_lanes = {"shadow_lanes", tests, sizeof tests / sizeof *tests};
