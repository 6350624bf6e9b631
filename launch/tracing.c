// Records a range of steps. The file is bounded: EVENTS_ALL spans of all ranks together.
#define _GNU_SOURCE
#include "launch/tracing.h"

#include "runtime/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// About 200 bytes each in the file, 80 in memory.
enum { EVENTS_ALL = 1 << 19, EVENTS_MOST = 1 << 16, EVENTS_LEAST = 1 << 11 };

// "A-B" or "B".
static canto_status read_steps(const char *text, int64_t *first, int64_t *last)
{
    char *end;
    errno = 0;
    *first = strtoll(text, &end, 10);
    *last = *first;
    bool good = end != text;
    if (good && *end == '-') {
        const char *second = end + 1;
        *last = strtoll(second, &end, 10);
        good = end != second;
    }
    if (!good || *end != '\0' || errno != 0 || *first < 1 || *last < *first)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "--trace-steps: '%s' is not a range of steps of this start; write A-B with 1 <= "
                   "A <= B",
                   text);
    return CANTO_OK;
}

canto_status canto_tracing_read(const canto_arguments *arguments, canto_tracing *out)
{
    *out = (canto_tracing){.path = arguments->trace};
    return read_steps(arguments->trace_steps, &out->first, &out->last);
}

canto_trace *canto_tracing_trace(canto_tracing *tracing)
{
    return tracing->path ? &tracing->trace : NULL;
}

static canto_status open_file(canto_tracing *tracing)
{
    tracing->file = fopen(tracing->path, "we");
    if (!tracing->file)
        CANTO_FAIL(CANTO_ERROR_IO, "--trace: %s: %s", tracing->path, strerror(errno));
    return CANTO_OK;
}

static int64_t capacity(int ranks)
{
    const int64_t share = EVENTS_ALL / ranks;
    return share > EVENTS_MOST ? EVENTS_MOST : share < EVENTS_LEAST ? EVENTS_LEAST : share;
}

canto_status canto_tracing_open(canto_tracing *tracing, const canto_job *job)
{
    if (!tracing->path) return CANTO_OK;
    canto_status status = canto_trace_create(&tracing->trace, capacity(job->world->size));
    if (status == CANTO_OK && job->world->rank == 0) status = open_file(tracing);
    return canto_comm_agree(job->world, status);
}

// No message is under way when the recording begins, or ends: all have both their ends in it.
static canto_status begin(canto_tracing *tracing, canto_trainer *trainer)
{
    canto_job *job = trainer->job;
    CANTO_TRY(canto_trainer_finish(trainer));
    CANTO_TRY(canto_clock_compare(job->world, &tracing->times.first));
    tracing->times.began_s = canto_clock_s();
    tracing->trace.recording = true;
    return CANTO_OK;
}

static void tell(const canto_tracing *tracing, canto_job *job, const char *steps,
                 const canto_trace_totals *totals)
{
    if (tracing->step < tracing->first)
        canto_log_line(&job->log, "--trace-steps begins at step %lld of this start, which had %lld",
                       (long long)tracing->first, (long long)tracing->step);
    canto_log_line(&job->log, "traced steps %s of this start: %lld spans, %.1f MB in %s", steps,
                   (long long)totals->events, (double)totals->bytes / 1e6, tracing->path);
    if (totals->dropped > 0)
        canto_log_line(&job->log,
                       "%lld more spans had no room in the trace; record fewer steps "
                       "(--trace-steps)",
                       (long long)totals->dropped);
}

canto_status canto_tracing_end(canto_tracing *tracing, canto_trainer *trainer)
{
    canto_job *job = trainer->job;
    if (!tracing->path || tracing->written) return CANTO_OK;
    if (!tracing->trace.recording) CANTO_TRY(begin(tracing, trainer)); // an empty trace
    CANTO_TRY(canto_trainer_finish(trainer));
    tracing->trace.recording = false;
    tracing->written = true;
    char steps[48];
    snprintf(steps, sizeof steps, "%lld-%lld", (long long)tracing->first, (long long)tracing->step);
    canto_trace_totals totals;
    CANTO_TRY(canto_clock_compare(job->world, &tracing->times.last));
    CANTO_TRY(canto_trace_write(&tracing->trace, &tracing->times, job->world, steps, tracing->file,
                                &totals));
    tell(tracing, job, steps, &totals);
    return CANTO_OK;
}

canto_status canto_tracing_step(canto_tracing *tracing, canto_trainer *trainer)
{
    if (!tracing->path) return CANTO_OK;
    if (tracing->step == tracing->last) CANTO_TRY(canto_tracing_end(tracing, trainer));
    tracing->step++;
    return tracing->step == tracing->first ? begin(tracing, trainer) : CANTO_OK;
}

void canto_tracing_close(canto_tracing *tracing)
{
    if (tracing->file) fclose(tracing->file);
    tracing->file = NULL;
    canto_trace_destroy(&tracing->trace);
}
