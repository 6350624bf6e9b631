// The trace of one rank: spans nest and stand in the order of their starts, a full trace counts
// what it drops, one that does not record keeps nothing, and clocks are brought onto one scale
// without turning times around.
#include "tests/allocations.h"
#include "tests/canto_test.h"

#include "runtime/clock.h"
#include "runtime/trace.h"
#include "runtime/trace_clock.h"

#include <math.h>
#include <stdio.h>

static canto_trace open_trace(int64_t capacity)
{
    canto_trace trace = {0};
    CANTO_TEST_OK(canto_trace_create(&trace, capacity));
    trace.recording = true;
    return trace;
}

static void begin(canto_trace *trace, const char *name, int64_t value)
{
    canto_trace_begin(trace, CANTO_TRACE_COMPUTE, name, "value", value);
}

static void assert_inside(const canto_trace_event *inner, const canto_trace_event *outer)
{
    assert_true(outer->start_s <= inner->start_s && inner->start_s < inner->end_s);
    assert_true(inner->end_s <= outer->end_s);
}

static void spans_nest_in_the_order_of_their_starts(void **state)
{
    (void)state;
    canto_trace trace = open_trace(8);
    const double before_s = canto_clock_s();
    begin(&trace, "outer", 1);
    begin(&trace, "first", 2);
    canto_trace_end(&trace);
    begin(&trace, "second", 3);
    begin(&trace, "inmost", 4);
    canto_trace_end(&trace);
    canto_trace_end(&trace);
    canto_trace_end(&trace);
    assert_int_equal(trace.events_n, 4);
    assert_int_equal(trace.depth, 0);
    static const char *const names[] = {"outer", "first", "second", "inmost"};
    for (int i = 0; i < 4; i++) {
        const canto_trace_event *event = &trace.events[i];
        assert_string_equal(event->name, names[i]);
        assert_string_equal(event->key, "value");
        assert_int_equal(event->value, i + 1);
        assert_int_equal(event->peer, -1);
        if (i > 0) assert_true(event[-1].start_s <= event->start_s);
        if (i > 0) assert_inside(event, &trace.events[0]);
    }
    assert_inside(&trace.events[3], &trace.events[2]);
    assert_true(trace.events[1].end_s <= trace.events[2].start_s);
    assert_true(before_s <= trace.events[0].start_s && trace.events[0].end_s <= canto_clock_s());
    canto_trace_destroy(&trace);
}

static void no_trace_is_no_trace(void **state)
{
    (void)state;
    begin(NULL, "nothing", 0);
    canto_trace_end(NULL);
    canto_trace trace = {0}; // without memory
    begin(&trace, "nothing", 0);
    canto_trace_end(&trace);
    canto_trace_end(&trace); // one too many
    assert_int_equal(trace.depth, 0);
    assert_int_equal(trace.dropped, 0);
    canto_trace_destroy(&trace);
}

static void a_full_trace_counts_what_it_drops(void **state)
{
    (void)state;
    canto_trace trace = open_trace(3);
    begin(&trace, "step", 0);
    for (int i = 0; i < 5; i++) {
        begin(&trace, "piece", i);
        canto_trace_end(&trace);
    }
    canto_trace_end(&trace);
    canto_trace_add(&trace, &(canto_trace_event){.name = "message", .start_s = 1, .end_s = 2});
    assert_int_equal(trace.events_n, 3);
    assert_int_equal(trace.dropped, 4);
    assert_inside(&trace.events[2], &trace.events[0]); // the step was kept open, and closed
    canto_trace_destroy(&trace);
}

static void deeper_than_the_stack_is_dropped(void **state)
{
    (void)state;
    enum { DEPTH = CANTO_TRACE_DEPTH_MAX + 5 };
    canto_trace trace = open_trace(2 * DEPTH);
    for (int i = 0; i < DEPTH; i++) begin(&trace, "deeper", i);
    for (int i = 0; i < DEPTH; i++) canto_trace_end(&trace);
    assert_int_equal(trace.depth, 0);
    assert_int_equal(trace.events_n, CANTO_TRACE_DEPTH_MAX);
    assert_int_equal(trace.dropped, 5);
    for (int64_t i = 0; i < trace.events_n; i++) assert_true(trace.events[i].end_s > 0);
    canto_trace_destroy(&trace);
}

static void what_starts_while_not_recording_is_not_kept(void **state)
{
    (void)state;
    canto_trace trace = open_trace(8);
    trace.recording = false;
    assert_true(canto_trace_now(&trace) == 0);
    begin(&trace, "before", 0);
    trace.recording = true;
    begin(&trace, "inside", 1);
    canto_trace_add(&trace, &(canto_trace_event){.name = "message", .start_s = 0, .end_s = 2});
    canto_trace_end(&trace);
    canto_trace_end(&trace);
    assert_int_equal(trace.events_n, 1);
    assert_string_equal(trace.events[0].name, "inside");
    assert_true(trace.events[0].end_s > 0);
    assert_int_equal(trace.dropped, 0);
    canto_trace_destroy(&trace);
}

static void spans_allocate_nothing(void **state)
{
    (void)state;
    canto_trace trace = open_trace(1000);
    const int64_t allocations = canto_test_allocations();
    for (int i = 0; i < 2000; i++) {
        begin(&trace, "span", i);
        canto_trace_end(&trace);
    }
    assert_int_equal(canto_test_allocations(), allocations);
    canto_trace_destroy(&trace);
    assert_true(canto_test_allocations() > allocations);
}

static void lanes_are_found_by_name(void **state)
{
    (void)state;
    static char names[CANTO_TRACE_LANES_MAX][24];
    canto_trace trace = {0};
    int lane;
    CANTO_TEST_OK(canto_trace_lane(&trace, "io", &lane)); // before there is memory
    assert_int_equal(lane, CANTO_TRACE_IO);
    CANTO_TEST_OK(canto_trace_create(&trace, 1));
    CANTO_TEST_OK(canto_trace_lane(&trace, "compute", &lane));
    assert_int_equal(lane, CANTO_TRACE_COMPUTE);
    for (int round = 0; round < 2; round++) {
        for (int i = 2; i < CANTO_TRACE_LANES_MAX; i++) {
            snprintf(names[i], sizeof names[i], "lane %d", i);
            CANTO_TEST_OK(canto_trace_lane(&trace, names[i], &lane));
            assert_int_equal(lane, i);
        }
    }
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "one more", canto_trace_lane(&trace, "one more", &lane));
    canto_trace_destroy(&trace);
}

// --- clocks ---

static void a_clock_that_drifts_evenly_is_put_right(void **state)
{
    (void)state;
    enum { TIMES = 100 };
    // This rank's clock shows 3 s + 50 us a second too much.
    const canto_clock_offset first = {.at_s = 1000, .offset_s = 3};
    const canto_clock_offset last = {.at_s = 1100, .offset_s = 3.005};
    double before = -INFINITY;
    for (int i = 0; i <= TIMES; i++) {
        const double shown = 990 + 1.2 * i;
        const double time = canto_clock_align(&first, &last, shown);
        assert_true(fabs(time - (shown - 3 - 5e-5 * (shown - 1000))) < 1e-9);
        assert_true(time > before);
        before = time;
    }
}

static void two_comparisons_at_one_time_tell_no_drift(void **state)
{
    (void)state;
    const canto_clock_offset first = {.at_s = 10, .offset_s = 1};
    const canto_clock_offset same = {.at_s = 10, .offset_s = 2};
    assert_true(canto_clock_align(&first, &same, 15) == 14);
    const canto_clock_offset soon = {.at_s = 10.001, .offset_s = 2}; // a thousand times too fast
    assert_true(canto_clock_align(&first, &soon, 15) == 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_nest_in_the_order_of_their_starts),
        cmocka_unit_test(no_trace_is_no_trace),
        cmocka_unit_test(a_full_trace_counts_what_it_drops),
        cmocka_unit_test(deeper_than_the_stack_is_dropped),
        cmocka_unit_test(what_starts_while_not_recording_is_not_kept),
        cmocka_unit_test(spans_allocate_nothing),
        cmocka_unit_test(lanes_are_found_by_name),
        cmocka_unit_test(a_clock_that_drifts_evenly_is_put_right),
        cmocka_unit_test(two_comparisons_at_one_time_tell_no_drift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
