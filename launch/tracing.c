// Records a range of steps. The file is bounded: EVENTS_ALL spans of all ranks together.
#define _GNU_SOURCE
#include "launch/tracing.h"

#include "launch/amount.h"

#include "runtime/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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
    if (!out->path && arguments->trace_steps)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "--trace-steps: there is no trace; give --trace FILE, too");
    return read_steps(arguments->trace_steps ? arguments->trace_steps : "1-10", &out->first,
                      &out->last);
}

canto_trace *canto_tracing_trace(canto_tracing *tracing)
{
    return tracing->path ? &tracing->trace : NULL;
}

// What is in the file stays there until there is a trace to write.
static canto_status open_file(canto_tracing *tracing)
{
    const int descriptor = open(tracing->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
    tracing->file = descriptor < 0 ? NULL : fdopen(descriptor, "w");
    if (!tracing->file)
        CANTO_FAIL(CANTO_ERROR_IO, "--trace: %s: %s", tracing->path, strerror(errno));
    return CANTO_OK;
}

// Of a plain file; a pipe or a device has nothing to empty.
static void empty_file(const canto_tracing *tracing)
{
    struct stat info;
    if (!tracing->file || fstat(fileno(tracing->file), &info) != 0 || !S_ISREG(info.st_mode))
        return;
    rewind(tracing->file);
    if (ftruncate(fileno(tracing->file), 0) != 0) return; // the write that follows tells
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

// All that a disk took of a trace is of no use to anybody.
static canto_status write_trace(canto_tracing *tracing, canto_job *job, const char *steps,
                                canto_trace_totals *totals)
{
    empty_file(tracing);
    canto_status status = canto_trace_write(&tracing->trace, &tracing->times, job->world, steps,
                                            tracing->path, tracing->file, totals);
    if (status != CANTO_OK) empty_file(tracing);
    return status;
}

static void tell(const canto_tracing *tracing, canto_job *job, const char *steps,
                 const canto_trace_totals *totals)
{
    if (tracing->step < tracing->first)
        canto_log_line(&job->log, "--trace-steps begins at step %lld of this start, which had %lld",
                       (long long)tracing->first, (long long)tracing->step);
    else
        canto_log_line(&job->log, "traced steps %s of this start: %lld span%s, %s in %s", steps,
                       (long long)totals->events, canto_plural(totals->events),
                       canto_amount_bytes(totals->bytes).text, tracing->path);
    if (totals->dropped > 0)
        canto_log_line(&job->log,
                       "%lld more span%s had no room in the trace; record fewer steps "
                       "(--trace-steps)",
                       (long long)totals->dropped, canto_plural(totals->dropped));
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
    if (tracing->step < tracing->first) snprintf(steps, sizeof steps, "none");
    canto_trace_totals totals;
    CANTO_TRY(canto_clock_compare(job->world, &tracing->times.last));
    CANTO_TRY(write_trace(tracing, job, steps, &totals));
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
    struct stat info;
    if (tracing->file && fstat(fileno(tracing->file), &info) == 0 && S_ISREG(info.st_mode) &&
        info.st_size == 0)
        unlink(tracing->path); // the run ended before there was a trace
    if (tracing->file) fclose(tracing->file);
    tracing->file = NULL;
    canto_trace_destroy(&tracing->trace);
}
