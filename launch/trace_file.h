// The traces of all ranks as one file in the trace event format (JSON) of Chrome and Perfetto
// (ui.perfetto.dev opens it).
//
//     process        a rank; thread: a lane
//     X              a span; on one thread spans lie inside or outside of each other
//     b, e           a message, from its start to its end, as its sender or receiver saw it
//     s, f           an arrow from the span that started a send to the span that ended its receive
//
// Events of a rank are sorted by time, which is counted in microseconds from the first recording,
// on rank 0's clock.
#ifndef CANTO_LAUNCH_TRACE_FILE_H
#define CANTO_LAUNCH_TRACE_FILE_H

#include "runtime/trace.h"
#include "runtime/trace_clock.h"

#include <stdio.h>

typedef struct canto_trace_times {
    double began_s;                 // of the recording, on this rank's clock
    canto_clock_offset first, last; // comparisons before and after it
} canto_trace_times;

typedef struct canto_trace_totals {
    int64_t events, dropped; // of all ranks
    int64_t bytes;           // of the file; rank 0
} canto_trace_totals;

// Collective on comm, which must not be told to the trace meanwhile. `file` is rank 0's; it is
// flushed, not closed; path names it in a sentence. steps: what was recorded, "1-10". Errors are
// everybody's.
canto_status canto_trace_write(const canto_trace *trace, const canto_trace_times *times,
                               canto_comm *comm, const char *steps, const char *path, FILE *file,
                               canto_trace_totals *out);

#endif
