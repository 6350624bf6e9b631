// A training step that is traced: it allocates nothing, and the trace holds what the lanes count,
// whoever sent it.
#include "tests/allocations.h"
#include "tests/canto_test.h"
#include "tests/launch/trained.h"

#include <string.h>

enum { STEPS = 4, EVENTS = 1 << 14 };

static const char *const tiny[] = {"model.pattern=LSW",
                                   "model.layers=3",
                                   "model.d_model=32",
                                   "model.heads=2",
                                   "model.mixers=[{letter: W, kind: softmax, window: 9}]",
                                   "train.seq_len=150",
                                   "train.batch=4",
                                   "train.accumulate=2",
                                   NULL};

typedef struct traced_run {
    canto_trace trace;
    canto_comm *world;
    trained it;
} traced_run;

static void open_run(int dp, traced_run *run)
{
    canto_comm *plain, *checked;
    run->trace = (canto_trace){0};
    CANTO_TEST_OK(canto_comm_mpi_open(&plain));
    CANTO_TEST_OK(canto_comm_checked_open(plain, (canto_comm_checks){.timeout_s = 20}, &checked));
    CANTO_TEST_OK(canto_comm_traced_open(checked, &run->trace, &run->world));
    CANTO_TEST_OK(canto_trace_create(&run->trace, EVENTS));
    trained_create(run->world, dp, tiny, &run->it);
}

static void close_run(traced_run *run)
{
    trained_destroy(&run->it);
    canto_comm_destroy(&run->world);
    canto_trace_destroy(&run->trace);
}

static void take_steps(traced_run *run)
{
    for (int64_t step = 1; step <= STEPS; step++) {
        canto_step_result result;
        CANTO_TEST_OK(
            canto_trainer_step(&run->it.trainer, step, (canto_step_requests){0}, &result));
    }
    CANTO_TEST_OK(canto_trainer_finish(&run->it.trainer)); // what is started is told when it ends
}

// Messages, bytes and collectives that the trace holds of a lane.
static canto_lane_tally told_of(canto_trace *trace, canto_lane lane)
{
    int place;
    CANTO_TEST_OK(canto_trace_lane(trace, canto_lane_name(lane), &place));
    canto_lane_tally sum = {0};
    for (int64_t i = 0; i < trace->events_n; i++) {
        const canto_trace_event *event = &trace->events[i];
        if (event->lane != place) continue;
        sum.sent.messages += event->kind == CANTO_TRACE_SEND;
        sum.sent.bytes += event->kind == CANTO_TRACE_SEND ? event->value : 0;
        sum.collectives += event->kind == CANTO_TRACE_SPAN && event->peer < 0;
    }
    return sum;
}

static void trace_steps(int dp)
{
    static traced_run run;
    open_run(dp, &run);
    run.trace.recording = true;
    const int64_t allocations = canto_test_allocations();
    take_steps(&run);
    assert_int_equal(canto_test_allocations(), allocations);
    assert_int_equal(run.trace.dropped, 0);
    assert_int_equal(run.trace.depth, 0);
    for (int i = 0; i < CANTO_LANES; i++) {
        const canto_lane_tally *lane = &run.it.trainer.tally.lanes[i];
        const canto_lane_tally told = told_of(&run.trace, (canto_lane)i);
        if (told.sent.messages != lane->sent.messages)
            fail_msg("lane %s: %lld told, %lld sent", canto_lane_name((canto_lane)i),
                     (long long)told.sent.messages, (long long)lane->sent.messages);
        assert_int_equal(told.sent.bytes, lane->sent.bytes);
        assert_int_equal(told.sent.bytes, lane->priced.bytes);
        assert_int_equal(told.collectives, lane->collectives);
    }
    close_run(&run);
}

static void a_trace_holds_what_the_lanes_count(void **state)
{
    (void)state;
    for (int dp = 1; dp <= canto_test_world->size && dp <= 4; dp *= 2) {
        if (canto_test_world->size % dp == 0) trace_steps(dp);
    }
}

// Spans of compute nest in each other, those of every lane follow each other.
static void spans_nest(void **state)
{
    (void)state;
    static traced_run run;
    open_run(1, &run);
    run.trace.recording = true;
    take_steps(&run);
    double ends[CANTO_TRACE_LANES_MAX][CANTO_TRACE_DEPTH_MAX];
    int depth[CANTO_TRACE_LANES_MAX] = {0};
    int64_t steps = 0;
    for (int64_t i = 0; i < run.trace.events_n; i++) {
        const canto_trace_event *event = &run.trace.events[i];
        if (event->kind != CANTO_TRACE_SPAN) continue;
        double *open = ends[event->lane];
        int *n = &depth[event->lane];
        while (*n > 0 && open[*n - 1] <= event->start_s) --*n;
        assert_true(*n == 0 || event->end_s <= open[*n - 1]);
        assert_true(*n < CANTO_TRACE_DEPTH_MAX);
        open[(*n)++] = event->end_s;
        steps += strcmp(event->name, "step") == 0;
    }
    assert_int_equal(steps, STEPS);
    close_run(&run);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_trace_holds_what_the_lanes_count),
    cmocka_unit_test(spans_nest),
};
const canto_test_module test_tracing = {"tracing", tests, sizeof tests / sizeof *tests};
