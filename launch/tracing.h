// `canto train --trace FILE`: which steps of a start are recorded, and the file they end up in.
#ifndef CANTO_LAUNCH_TRACING_H
#define CANTO_LAUNCH_TRACING_H

#include "launch/arguments.h"
#include "launch/trace_file.h"
#include "launch/trainer.h"

typedef struct canto_tracing {
    const char *path;    // borrowed; NULL: no trace was asked for
    int64_t first, last; // steps of this start, from 1
    int64_t step;        // that is recorded now or came last
    canto_trace trace;   // owned; the job's communicators tell it what they do
    canto_trace_times times;
    FILE *file;   // owned; rank 0
    bool written; // nothing more is recorded
} canto_tracing;

// Local. What the command line asks for. CANTO_ERROR_CONFIG.
canto_status canto_tracing_read(const canto_arguments *arguments, canto_tracing *out);
// The trace for canto_job_open, or NULL.
canto_trace *canto_tracing_trace(canto_tracing *tracing);
// Collective on the job's world. Opens the file, so that a wrong path is told now, and takes
// memory; what the file held stays until a trace is written.
canto_status canto_tracing_open(canto_tracing *tracing, const canto_job *job);
// Collective. Before each step: begins to record, or ends and writes the file, when it is time.
// CANTO_ERROR_IO on every rank if the file cannot be written; nothing is recorded then any more.
canto_status canto_tracing_step(canto_tracing *tracing, canto_trainer *trainer);
// Collective. After the last step: writes what has been recorded.
canto_status canto_tracing_end(canto_tracing *tracing, canto_trainer *trainer);
void canto_tracing_close(
    canto_tracing *tracing); // local; also of a zeroed one. Removes an empty file

#endif
