// Every rank makes its own text and sends it to rank 0 a chunk at a time, one rank after the other;
// rank 0 keeps on receiving when its disk is full, so that all ranks come out with its sentence.
// Names and lanes are literals of this program and need no escaping.
#define _GNU_SOURCE
#include "launch/trace_file.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK_BYTES = 1 << 18, LINE_BYTES = 512 };

// Where a rank's text goes: rank 0's file, or rank 0.
typedef struct {
    const canto_trace *trace; // borrowed
    canto_trace_times times;
    double origin_s;  // on rank 0's clock
    canto_comm *comm; // borrowed
    const char *path; // borrowed; of the file
    FILE *file;       // borrowed; rank 0
    char *chunk;      // owned
    int64_t filled;
    canto_status status; // of the file
    int64_t written;     // bytes in the file
} text;

// What all ranks know of each other before they write.
typedef struct {
    double began_s; // on rank 0's clock
    int64_t events, dropped;
    double offset_s, error_s; // of the later comparison
} rank_record;

// --- chunks ---

static void write_file(text *out, const char *bytes, int64_t n)
{
    if (out->status != CANTO_OK) return;
    if (fwrite(bytes, 1, (size_t)n, out->file) != (size_t)n)
        out->status =
            canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__,
                              "the trace %s cannot be written: %s", out->path, strerror(errno));
    out->written += n;
}

static canto_status send_to_0(canto_comm *comm, canto_tensor data)
{
    canto_request request;
    CANTO_TRY(canto_comm_send(comm, 0, data, &request));
    return canto_comm_wait(comm, &request);
}

static canto_status receive_from(canto_comm *comm, int rank, canto_tensor data)
{
    canto_request request;
    CANTO_TRY(canto_comm_recv(comm, rank, data, &request));
    return canto_comm_wait(comm, &request);
}

// An empty chunk is the last one.
static canto_status send_chunk(text *out)
{
    CANTO_TRY(send_to_0(out->comm, canto_tensor_vector(CANTO_I64, &out->filled, 1)));
    if (out->filled > 0)
        CANTO_TRY(send_to_0(out->comm, canto_tensor_vector(CANTO_U8, out->chunk, out->filled)));
    return CANTO_OK;
}

static canto_status flush(text *out)
{
    if (out->filled == 0) return CANTO_OK;
    if (out->comm->rank == 0)
        write_file(out, out->chunk, out->filled);
    else
        CANTO_TRY(send_chunk(out));
    out->filled = 0;
    return CANTO_OK;
}

static canto_status receive_text(text *out, int rank)
{
    for (;;) {
        int64_t n;
        CANTO_TRY(receive_from(out->comm, rank, canto_tensor_vector(CANTO_I64, &n, 1)));
        if (n == 0) return CANTO_OK;
        CANTO_TRY(receive_from(out->comm, rank, canto_tensor_vector(CANTO_U8, out->chunk, n)));
        write_file(out, out->chunk, n);
    }
}

static canto_status put(text *out, const char *format, ...) __attribute__((format(printf, 2, 3)));

static canto_status put(text *out, const char *format, ...)
{
    if (out->filled + LINE_BYTES > CHUNK_BYTES) CANTO_TRY(flush(out));
    va_list args;
    va_start(args, format);
    out->filled += vsnprintf(out->chunk + out->filled, LINE_BYTES, format, args);
    va_end(args);
    return CANTO_OK;
}

// --- events ---

typedef enum { SPAN, MESSAGE_BEGIN, ARROW_BEGIN, MESSAGE_END, ARROW_END } mark_kind;

// One line of the file.
typedef struct {
    int64_t at_ns;
    int64_t event; // index
    mark_kind kind;
} mark;

static int by_time(const void *a, const void *b)
{
    const mark *x = a, *y = b;
    if (x->at_ns != y->at_ns) return x->at_ns < y->at_ns ? -1 : 1;
    if (x->event != y->event) return x->event < y->event ? -1 : 1;
    return (int)x->kind - (int)y->kind;
}

static int64_t nanoseconds(const text *out, double time_s)
{
    const double aligned_s = canto_clock_align(&out->times.first, &out->times.last, time_s);
    return llround(1e9 * (aligned_s - out->origin_s));
}

// An arrow ends inside the span that ended the message.
static int64_t inside(int64_t start_ns, int64_t end_ns)
{
    return end_ns - 1 > start_ns ? end_ns - 1 : start_ns;
}

static int64_t list_marks(const text *out, mark *marks)
{
    int64_t n = 0;
    for (int64_t i = 0; i < out->trace->events_n; i++) {
        const canto_trace_event *event = &out->trace->events[i];
        if (event->end_s == 0) continue; // open: the recording ended inside it
        const int64_t start = nanoseconds(out, event->start_s);
        const int64_t end = nanoseconds(out, event->end_s);
        const bool message = event->kind != CANTO_TRACE_SPAN;
        marks[n++] = (mark){start, i, message ? MESSAGE_BEGIN : SPAN};
        if (message) marks[n++] = (mark){end, i, MESSAGE_END};
        if (message || event->peer < 0) continue;
        if (event->starts && event->sends) marks[n++] = (mark){start, i, ARROW_BEGIN};
        if (!event->starts && !event->sends) marks[n++] = (mark){inside(start, end), i, ARROW_END};
    }
    qsort(marks, (size_t)n, sizeof *marks, by_time);
    return n;
}

// Every line begins alike; the caller ends it.
static canto_status put_head(text *out, const char *phase, const canto_trace_event *event,
                             int64_t at_ns)
{
    return put(out, ",\n{\"ph\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%lld.%03lld,\"cat\":\"%s\"",
               phase, out->comm->rank, event->lane, (long long)(at_ns / 1000),
               (long long)(at_ns % 1000), out->trace->lanes[event->lane]);
}

static canto_status put_span(text *out, const canto_trace_event *event, int64_t at_ns)
{
    const int64_t duration = nanoseconds(out, event->end_s) - at_ns;
    CANTO_TRY(put_head(out, "X", event, at_ns));
    CANTO_TRY(put(out, ",\"dur\":%lld.%03lld,\"name\":\"%s\"", (long long)(duration / 1000),
                  (long long)(duration % 1000), event->name));
    if (event->peer >= 0)
        return put(out, ",\"args\":{\"%s\":%d,\"number\":%lld,\"bytes\":%lld}}",
                   event->sends ? "to" : "from", event->peer, (long long)event->number,
                   (long long)event->value);
    if (event->key)
        return put(out, ",\"args\":{\"%s\":%lld}}", event->key, (long long)event->value);
    return put(out, "}");
}

static canto_status put_message(text *out, const mark *at, const canto_trace_event *event)
{
    CANTO_TRY(put_head(out, at->kind == MESSAGE_BEGIN ? "b" : "e", event, at->at_ns));
    CANTO_TRY(put(out, ",\"id\":\"%d.%lld\",\"name\":\"%s %d\"", out->comm->rank,
                  (long long)at->event, event->sends ? "send to" : "receive from", event->peer));
    if (at->kind == MESSAGE_END) return put(out, "}");
    return put(out, ",\"args\":{\"number\":%lld,\"bytes\":%lld}}", (long long)event->number,
               (long long)event->value);
}

static canto_status put_arrow(text *out, const mark *at, const canto_trace_event *event)
{
    const int me = out->comm->rank;
    CANTO_TRY(put_head(out, at->kind == ARROW_BEGIN ? "s" : "f", event, at->at_ns));
    return put(out, ",\"id\":\"%s.%d.%d.%lld\",\"name\":\"message\"%s}",
               out->trace->lanes[event->lane], event->sends ? me : event->peer,
               event->sends ? event->peer : me, (long long)event->number,
               at->kind == ARROW_END ? ",\"bp\":\"e\"" : "");
}

static canto_status put_names(text *out)
{
    const int me = out->comm->rank;
    // The first line of all has no comma before it.
    CANTO_TRY(put(out,
                  "%s{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_name\",\"args\":{\"name\":"
                  "\"rank %d\"}}",
                  me == 0 ? "" : ",\n", me, me));
    CANTO_TRY(put(out,
                  ",\n{\"ph\":\"M\",\"pid\":%d,\"name\":\"process_sort_index\",\"args\":{"
                  "\"sort_index\":%d}}",
                  me, me));
    for (int i = 0; i < out->trace->lanes_n; i++)
        CANTO_TRY(put(out,
                      ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%d,\"name\":\"thread_name\","
                      "\"args\":{\"name\":\"%s\"}}",
                      me, i, out->trace->lanes[i]));
    return CANTO_OK;
}

static canto_status put_marks(text *out, const mark *marks, int64_t n)
{
    CANTO_TRY(put_names(out));
    for (int64_t i = 0; i < n; i++) {
        const canto_trace_event *event = &out->trace->events[marks[i].event];
        switch (marks[i].kind) {
        case SPAN:
            CANTO_TRY(put_span(out, event, marks[i].at_ns));
            break;
        case MESSAGE_BEGIN:
        case MESSAGE_END:
            CANTO_TRY(put_message(out, &marks[i], event));
            break;
        case ARROW_BEGIN:
        case ARROW_END:
            CANTO_TRY(put_arrow(out, &marks[i], event));
            break;
        }
    }
    return flush(out);
}

// --- all ranks ---

static canto_status exchange(text *out, rank_record *all, canto_trace_totals *totals)
{
    const rank_record mine = {
        .began_s = canto_clock_align(&out->times.first, &out->times.last, out->times.began_s),
        .events = out->trace->events_n,
        .dropped = out->trace->dropped,
        .offset_s = out->times.last.offset_s,
        .error_s = out->times.last.error_s};
    CANTO_TRY(canto_comm_gather_small(out->comm, sizeof mine, &mine, all));
    *totals = (canto_trace_totals){0};
    out->origin_s = INFINITY;
    for (int r = 0; r < out->comm->size; r++) {
        out->origin_s = fmin(out->origin_s, all[r].began_s);
        totals->events += all[r].events;
        totals->dropped += all[r].dropped;
    }
    return CANTO_OK;
}

static canto_status put_tail(text *out, const rank_record *all, const char *steps,
                             const canto_trace_totals *totals)
{
    CANTO_TRY(put(out,
                  "\n],\n\"displayTimeUnit\":\"ms\",\n\"otherData\":{\"ranks\":%d,\"steps\":\"%s\","
                  "\"dropped\":%lld,\"clocks\":[",
                  out->comm->size, steps, (long long)totals->dropped));
    for (int r = 0; r < out->comm->size; r++)
        CANTO_TRY(put(out, "%s{\"ahead_us\":%.3f,\"error_us\":%.3f}", r ? "," : "",
                      1e6 * all[r].offset_s, 1e6 * all[r].error_s));
    CANTO_TRY(put(out, "]}}\n"));
    return flush(out);
}

static canto_status write_ranks(text *out, const mark *marks, int64_t n, const rank_record *all,
                                const char *steps, const canto_trace_totals *totals)
{
    if (out->comm->rank != 0) {
        CANTO_TRY(put_marks(out, marks, n));
        return send_chunk(out); // empty
    }
    CANTO_TRY(put(out, "{\"traceEvents\":[\n"));
    CANTO_TRY(put_marks(out, marks, n));
    for (int r = 1; r < out->comm->size; r++) CANTO_TRY(receive_text(out, r));
    CANTO_TRY(put_tail(out, all, steps, totals));
    if (fflush(out->file) != 0 && out->status == CANTO_OK)
        out->status =
            canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__,
                              "the trace %s cannot be written: %s", out->path, strerror(errno));
    return CANTO_OK;
}

canto_status canto_trace_write(const canto_trace *trace, const canto_trace_times *times,
                               canto_comm *comm, const char *steps, const char *path, FILE *file,
                               canto_trace_totals *totals)
{
    text out = {.trace = trace, .times = *times, .comm = comm, .path = path, .file = file};
    rank_record *all = calloc((size_t)comm->size, sizeof *all);
    mark *marks = calloc(2 * (size_t)trace->events_n + 1, sizeof *marks);
    out.chunk = malloc(CHUNK_BYTES);
    canto_status status = CANTO_OK;
    if (!all || !marks || !out.chunk)
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "no memory to write a trace of %lld spans",
                                   (long long)trace->events_n);
    status = canto_comm_agree(comm, status);
    if (status == CANTO_OK) status = exchange(&out, all, totals);
    if (status == CANTO_OK)
        status = write_ranks(&out, marks, list_marks(&out, marks), all, steps, totals);
    if (status == CANTO_OK) status = canto_comm_agree(comm, out.status);
    totals->bytes = out.written;
    free(out.chunk);
    free(marks);
    free(all);
    return status;
}
