// The traced communicator: what it tells is what the communicator counts, both ends give a message
// the same number, spans of a lane do not overlap, splits are traced under their own names, and a
// message costs no allocation.
#include "tests/allocations.h"
#include "tests/canto_test.h"

#include "runtime/trace.h"
#include "runtime/trace_clock.h"

#include <math.h>
#include <string.h>

enum { ROUNDS = 5, LENGTH = 1000, EVENTS = 4096 };

typedef struct traced_world {
    canto_trace trace;
    canto_comm *comm;
} traced_world;

static void open_traced(traced_world *it)
{
    *it = (traced_world){0};
    canto_comm *plain, *checked;
    canto_comm_checks checks = {.headers = true, .timeout_s = 20};
    CANTO_TEST_OK(canto_comm_mpi_open(&plain));
    CANTO_TEST_OK(canto_comm_checked_open(plain, checks, &checked));
    CANTO_TEST_OK(canto_comm_traced_open(checked, &it->trace, &it->comm));
    CANTO_TEST_OK(canto_trace_create(&it->trace, EVENTS));
}

static void close_traced(traced_world *it)
{
    canto_comm_destroy(&it->comm);
    canto_trace_destroy(&it->trace);
}

// Everybody sends to everybody else; the right neighbour's message is polled for.
static void exchange(canto_comm *comm, int length)
{
    static float out[LENGTH], in[16][LENGTH];
    canto_request requests[32];
    int n = 0;
    for (int hop = 1; hop < comm->size; hop++) {
        const int to = (comm->rank + hop) % comm->size;
        const int from = (comm->rank + comm->size - hop) % comm->size;
        CANTO_TEST_OK(canto_comm_recv(comm, from, canto_tensor_vector(CANTO_F32, in[hop], length),
                                      &requests[n++]));
        CANTO_TEST_OK(
            canto_comm_send(comm, to, canto_tensor_vector(CANTO_F32, out, length), &requests[n++]));
    }
    for (bool done = n == 0; !done;) CANTO_TEST_OK(canto_comm_poll(comm, &requests[0], &done));
    for (int i = 0; i < n; i++) CANTO_TEST_OK(canto_comm_wait(comm, &requests[i]));
}

static canto_comm_counts told_of(const canto_trace *trace, int lane)
{
    canto_comm_counts sum = {0};
    for (int64_t i = 0; i < trace->events_n; i++) {
        const canto_trace_event *event = &trace->events[i];
        assert_true(event->name[0] != '\0' && event->start_s > 0 && event->end_s > event->start_s);
        if (event->lane != lane) continue;
        sum.messages_sent += event->kind == CANTO_TRACE_SEND;
        sum.messages_received += event->kind == CANTO_TRACE_RECEIVE;
        if (event->kind == CANTO_TRACE_SEND) sum.bytes_sent += event->value;
        if (event->kind == CANTO_TRACE_RECEIVE) sum.bytes_received += event->value;
        const bool collective = event->kind == CANTO_TRACE_SPAN && event->peer < 0;
        sum.collectives += collective;
    }
    return sum;
}

static void assert_told(const canto_trace *trace, const canto_comm *comm, canto_comm_counts before)
{
    int lane;
    CANTO_TEST_OK(canto_trace_lane((canto_trace *)trace, comm->lane, &lane));
    const canto_comm_counts told = told_of(trace, lane);
    assert_int_equal(told.messages_sent, comm->counts.messages_sent - before.messages_sent);
    assert_int_equal(told.bytes_sent, comm->counts.bytes_sent - before.bytes_sent);
    assert_int_equal(told.messages_received,
                     comm->counts.messages_received - before.messages_received);
    assert_int_equal(told.bytes_received, comm->counts.bytes_received - before.bytes_received);
    assert_int_equal(told.collectives, comm->counts.collectives - before.collectives);
}

static void what_is_told_is_what_is_counted(void **state)
{
    (void)state;
    traced_world it;
    open_traced(&it);
    canto_comm *comm = it.comm;
    exchange(comm, 3); // before the recording: not told, but numbered
    const canto_comm_counts before = comm->counts;
    it.trace.recording = true;
    for (int i = 0; i < ROUNDS; i++) {
        exchange(comm, 1 + 17 * i);
        double sum = 1;
        CANTO_TEST_OK(canto_comm_sum_small(comm, 1, &sum));
        CANTO_TEST_OK(canto_comm_bcast(comm, 0, canto_tensor_vector(CANTO_F64, &sum, 1)));
        CANTO_TEST_OK(canto_comm_agree(comm, CANTO_OK));
    }
    it.trace.recording = false;
    exchange(comm, 3);
    const canto_comm_counts after = comm->counts;
    comm->counts.messages_sent -= comm->size - 1; // the exchange after the recording
    comm->counts.messages_received -= comm->size - 1;
    comm->counts.bytes_sent -= 12 * (comm->size - 1);
    comm->counts.bytes_received -= 12 * (comm->size - 1);
    assert_told(&it.trace, comm, before);
    assert_int_equal(after.collectives - before.collectives, 3 * ROUNDS);
    assert_int_equal(it.trace.dropped, 0);
    close_traced(&it);
}

// Of one thread: the spans of a lane come one after the other, and messages last from the span
// that starts them to the span that ends them.
static void spans_of_a_lane_follow_each_other(void **state)
{
    (void)state;
    traced_world it;
    open_traced(&it);
    it.trace.recording = true;
    for (int i = 0; i < ROUNDS; i++) exchange(it.comm, LENGTH);
    double end_s = 0;
    int64_t starts = 0, ends = 0, messages = 0;
    for (int64_t i = 0; i < it.trace.events_n; i++) {
        const canto_trace_event *event = &it.trace.events[i];
        if (event->kind != CANTO_TRACE_SPAN) {
            messages++;
            continue;
        }
        assert_true(event->start_s >= end_s);
        end_s = event->end_s;
        assert_true(event->peer >= 0);
        starts += event->starts;
        ends += !event->starts;
    }
    assert_int_equal(messages, 2 * ROUNDS * (it.comm->size - 1));
    assert_int_equal(starts, messages);
    assert_int_equal(ends, messages);
    close_traced(&it);
}

// What one rank tells of its sends to another: their number and bytes.
typedef struct heard {
    int64_t first, last, bytes;
} heard;

static heard hear(const canto_trace *trace, int lane, canto_trace_kind kind, int peer)
{
    heard it = {.first = -1, .last = -1};
    for (int64_t i = 0; i < trace->events_n; i++) {
        const canto_trace_event *event = &trace->events[i];
        if (event->lane != lane || event->kind != kind || event->peer != peer) continue;
        if (it.first < 0 || event->number < it.first) it.first = event->number;
        if (event->number > it.last) it.last = event->number;
        it.bytes += event->value;
    }
    return it;
}

// A split in two: its ranks are told by their numbers in the world.
static void splits_are_traced_under_their_own_names(void **state)
{
    (void)state;
    traced_world it;
    open_traced(&it);
    canto_comm *part;
    const int me = it.comm->rank, size = it.comm->size;
    CANTO_TEST_OK(canto_comm_split(it.comm, "pairs", me % 2, &part));
    assert_true(part->trace == &it.trace);
    assert_string_equal(part->lane, "pairs");
    assert_string_equal(part->ops->name, "traced");
    exchange(part, 2);
    it.trace.recording = true;
    const canto_comm_counts before = part->counts;
    const canto_comm_counts world_before = it.comm->counts;
    for (int i = 0; i < ROUNDS; i++) exchange(part, 10);
    assert_told(&it.trace, part, before);
    assert_told(&it.trace, it.comm, world_before);
    it.trace.recording = false;
    int lane;
    CANTO_TEST_OK(canto_trace_lane(&it.trace, "pairs", &lane));
    heard mine[16] = {0}, all[16][16];
    for (int r = 0; r < size; r++) mine[r] = hear(&it.trace, lane, CANTO_TRACE_SEND, r);
    CANTO_TEST_OK(canto_comm_gather_small(it.comm, sizeof mine, mine, all));
    for (int r = 0; r < size; r++) {
        const bool together = r != me && r % 2 == me % 2;
        const heard received = hear(&it.trace, lane, CANTO_TRACE_RECEIVE, r);
        assert_int_equal(received.first, together ? 1 : -1); // the first exchange was number 0
        assert_int_equal(received.last, together ? ROUNDS : -1);
        assert_memory_equal(&received, &all[r][me], sizeof received);
    }
    canto_comm_destroy(&part);
    close_traced(&it);
}

static void a_message_allocates_nothing(void **state)
{
    (void)state;
    traced_world it;
    open_traced(&it);
    CANTO_TEST_OK(canto_comm_reserve(it.comm, 2 * it.comm->size));
    it.trace.recording = true;
    exchange(it.comm, LENGTH); // ranks begin to listen to each other
    const int64_t before = canto_test_allocations();
    for (int i = 0; i < ROUNDS; i++) exchange(it.comm, LENGTH);
    assert_int_equal(canto_test_allocations(), before);
    close_traced(&it);
}

// An error is that of the communicator inside, on every rank, and what is open is dropped with it.
static void errors_pass_through(void **state)
{
    (void)state;
    traced_world it;
    open_traced(&it);
    const int size = it.comm->size, rank = it.comm->rank;
    canto_comm *part;
    CANTO_TEST_OK(canto_comm_split(it.comm, "part", 0, &part));
    it.trace.recording = true;
    float data[2][LENGTH];
    canto_request out = CANTO_REQUEST_NONE, in = CANTO_REQUEST_NONE;
    if (size > 1) { // every rank starts more than the next one expects; some hear of it early
        canto_status status = canto_comm_recv(part, (rank + size - 1) % size,
                                              canto_tensor_vector(CANTO_F32, data[0], 3), &in);
        if (status == CANTO_OK)
            status = canto_comm_send(part, (rank + 1) % size,
                                     canto_tensor_vector(CANTO_F32, data[1], 4), &out);
        if (status == CANTO_OK) status = canto_comm_wait(part, &in);
        CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, "lane part", status);
        CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, "only be destroyed",
                         canto_comm_poll(part, NULL, NULL));
    } else {
        CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "request 5 is not open",
                         canto_comm_wait(part, &(canto_request){5}));
    }
    for (int64_t i = 0; i < it.trace.events_n; i++)
        assert_true(it.trace.events[i].kind == CANTO_TRACE_SPAN); // no message has ended
    canto_comm_destroy(&part);
    close_traced(&it);
}

// Who meets an error for a traced lane tells all ranks.
static void failures_are_told(void **state)
{
    (void)state;
    traced_world it;
    open_traced(&it);
    CANTO_TEST_OK(canto_comm_agree(canto_test_world, CANTO_OK)); // all have opened
    if (it.comm->rank == 0) {
        const canto_status met =
            canto_error_raise(CANTO_ERROR_DEVICE, __FILE__, __LINE__, "the device is gone");
        CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "the device is gone", canto_comm_fail(it.comm, met));
        CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "only be destroyed",
                         canto_comm_agree(it.comm, CANTO_OK));
    } else {
        CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "the device is gone",
                         canto_comm_agree(it.comm, CANTO_OK));
    }
    close_traced(&it);
}

// All ranks of a test run on one machine, and read one clock.
static void clocks_of_one_machine_agree(void **state)
{
    (void)state;
    canto_clock_offset offset;
    CANTO_TEST_OK(canto_clock_compare(canto_test_world, &offset));
    assert_true(isfinite(offset.error_s) && offset.at_s > 0);
    assert_true(offset.offset_s == 0);
    assert_true((offset.error_s > 0) == (canto_test_world->rank > 0));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(what_is_told_is_what_is_counted),
    cmocka_unit_test(spans_of_a_lane_follow_each_other),
    cmocka_unit_test(splits_are_traced_under_their_own_names),
    cmocka_unit_test(a_message_allocates_nothing),
    cmocka_unit_test(errors_pass_through),
    cmocka_unit_test(failures_are_told),
    cmocka_unit_test(clocks_of_one_machine_agree),
};
const canto_test_module test_comm_traced = {"comm_traced", tests, sizeof tests / sizeof *tests};
