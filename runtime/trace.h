// What one rank did and when: a timeline of spans and messages in memory that is taken once.
//
// A trace that is off is a NULL pointer: beginning and ending a span then costs one comparison.
// Spans of the caller's thread nest, across lanes too, because one thread opens and closes them;
// a message runs from its start to the moment its sender or receiver knew that it was done, beside
// whatever the thread did. A trace that is full counts what it drops. Nothing is allocated and
// nothing is sent between canto_trace_create and canto_trace_destroy. All functions are local.
#ifndef CANTO_RUNTIME_TRACE_H
#define CANTO_RUNTIME_TRACE_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    CANTO_TRACE_LANES_MAX = 16,
    CANTO_TRACE_DEPTH_MAX = 32, // spans open at one time
    CANTO_TRACE_COMPUTE = 0,    // lanes that every trace has; communicators add theirs
    CANTO_TRACE_IO = 1,
};

typedef enum canto_trace_kind {
    CANTO_TRACE_SPAN,    // the thread was in here
    CANTO_TRACE_SEND,    // a message of mine, from its start to its end
    CANTO_TRACE_RECEIVE, // a message to me, likewise
} canto_trace_kind;

typedef struct canto_trace_event {
    const char *name;      // borrowed, a literal
    const char *key;       // borrowed, a literal: what `value` is; NULL: there is none
    int64_t value;         // of a message: its bytes
    double start_s, end_s; // canto_clock_s; end_s 0: still open
    int lane;
    int peer; // -1: concerns no message; else the other rank, as the outermost world numbers it
    int64_t number; // the message is the pair's number-th in its direction on this lane, from 0
    canto_trace_kind kind;
    bool starts; // a span that starts the message (peer, number)
    bool sends;  // ... or ends it; and in which direction it goes
} canto_trace_event;

typedef struct canto_trace {
    bool recording; // false: spans are balanced, nothing is kept
    int lanes_n;
    const char *lanes[CANTO_TRACE_LANES_MAX]; // borrowed literals
    canto_trace_event *events;                // owned; spans in order of their start
    int64_t events_n, capacity;
    int64_t dropped;
    int depth;
    int64_t open[CANTO_TRACE_DEPTH_MAX]; // event of each open span, -1: not kept
} canto_trace;

// Room for `capacity` events. A zeroed trace may be handed to communicators before.
canto_status canto_trace_create(canto_trace *trace, int64_t capacity);
void canto_trace_destroy(canto_trace *trace); // also of a zeroed trace

// The lane of this name, new if there was none. CANTO_ERROR_CAPACITY beyond CANTO_TRACE_LANES_MAX.
canto_status canto_trace_lane(canto_trace *trace, const char *name, int *lane);

// The time if the trace is recording, else 0.
double canto_trace_now(const canto_trace *trace);
// Keeps a finished event; nothing if it did not start while recording (start_s 0).
void canto_trace_add(canto_trace *trace, const canto_trace_event *event);

void canto_trace_push(canto_trace *trace, int lane, const char *name, const char *key,
                      int64_t value);
void canto_trace_pop(canto_trace *trace);

// A span of the caller's thread: begin and end in pairs, nested. name, key: literals; key NULL:
// value means nothing.
static inline void canto_trace_begin(canto_trace *trace, int lane, const char *name,
                                     const char *key, int64_t value)
{
    if (trace) canto_trace_push(trace, lane, name, key, value);
}

static inline void canto_trace_end(canto_trace *trace)
{
    if (trace) canto_trace_pop(trace);
}

#endif
