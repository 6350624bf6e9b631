// An array of events and a stack of the spans that are open. A span takes its place in the array
// when it begins, so that the array is in order of starts for every lane; a message takes its place
// when it ends.
#include "runtime/trace.h"

#include "runtime/clock.h"

#include <stdlib.h>
#include <string.h>

// A span has a duration, so that something can be said to happen inside of it.
static const double shortest_s = 1e-9;

static void add_fixed_lanes(canto_trace *trace)
{
    if (trace->lanes_n > 0) return;
    trace->lanes[CANTO_TRACE_COMPUTE] = "compute";
    trace->lanes[CANTO_TRACE_IO] = "io";
    trace->lanes_n = 2;
}

canto_status canto_trace_create(canto_trace *trace, int64_t capacity)
{
    CANTO_CHECK(capacity > 0 && !trace->events, "trace: room for %lld events", (long long)capacity);
    add_fixed_lanes(trace);
    trace->events = calloc((size_t)capacity, sizeof *trace->events);
    if (!trace->events)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "trace: no memory for %lld spans", (long long)capacity);
    trace->capacity = capacity;
    return CANTO_OK;
}

void canto_trace_destroy(canto_trace *trace)
{
    free(trace->events);
    *trace = (canto_trace){0};
}

canto_status canto_trace_lane(canto_trace *trace, const char *name, int *lane)
{
    add_fixed_lanes(trace);
    for (*lane = 0; *lane < trace->lanes_n; ++*lane) {
        if (strcmp(trace->lanes[*lane], name) == 0) return CANTO_OK;
    }
    if (trace->lanes_n == CANTO_TRACE_LANES_MAX)
        CANTO_FAIL(CANTO_ERROR_CAPACITY, "trace: no room for the lane %s beside %d others", name,
                   trace->lanes_n);
    trace->lanes[trace->lanes_n++] = name;
    return CANTO_OK;
}

double canto_trace_now(const canto_trace *trace)
{
    return trace->recording ? canto_clock_s() : 0;
}

// The place of a new event; -1: not recording, or full.
static int64_t keep(canto_trace *trace, const canto_trace_event *event)
{
    if (!trace->recording) return -1;
    if (trace->events_n == trace->capacity) {
        trace->dropped++;
        return -1;
    }
    trace->events[trace->events_n] = *event;
    return trace->events_n++;
}

static void close_event(canto_trace_event *event, double now_s)
{
    event->end_s = now_s > event->start_s ? now_s : event->start_s + shortest_s;
}

void canto_trace_add(canto_trace *trace, const canto_trace_event *event)
{
    if (event->start_s == 0) return;
    const int64_t place = keep(trace, event);
    if (place >= 0) close_event(&trace->events[place], event->end_s);
}

void canto_trace_push(canto_trace *trace, int lane, const char *name, const char *key,
                      int64_t value)
{
    const canto_trace_event event = {.name = name,
                                     .key = key,
                                     .value = value,
                                     .start_s = canto_trace_now(trace),
                                     .lane = lane,
                                     .peer = -1};
    const int64_t place = keep(trace, &event);
    if (trace->depth < CANTO_TRACE_DEPTH_MAX) {
        trace->open[trace->depth] = place;
    } else if (place >= 0) {
        trace->events_n--;
        trace->dropped++;
    }
    trace->depth++;
}

void canto_trace_pop(canto_trace *trace)
{
    if (trace->depth == 0) return;
    trace->depth--;
    if (trace->depth >= CANTO_TRACE_DEPTH_MAX) return;
    const int64_t place = trace->open[trace->depth];
    if (place >= 0) close_event(&trace->events[place], canto_clock_s());
}
