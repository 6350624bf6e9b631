// Streams as rings of operations, and a runner that draws which of those that can go on goes on.
#define _GNU_SOURCE
#include "runtime/shadow/streams.h"

#include "runtime/clock.h"
#include "runtime/rng.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING_BYTES = 1 << 20, UNIT = 64 }; // records are whole units, so a header always fits

// How often a poll runs something, and how much goes on at a time: every other burst is longer than
// one operation, which makes orders that a fair runner would never find.
enum { POLLS_PER_RUN = 4, BURST_MAX = 16 };

// Its argument follows it in the ring.
typedef struct operation {
    canto_shadow_work work; // NULL: nothing but a point to wait for, or the end of the ring
    const char *what;       // borrowed, a literal
    canto_shadow_point after;
    int64_t units; // with the argument
} operation;

_Static_assert(sizeof(operation) <= UNIT, "an operation's head is one unit");

typedef struct stream {
    int number; // 0: free
    const char *name;
    char *ring;         // owned; kept when the stream is closed
    int64_t head, tail; // in units since the stream was opened
    int64_t put, done;  // operations
} stream;

struct canto_shadow_streams {
    stream list[CANTO_SHADOW_STREAMS_MAX];
    int list_n;                  // places that were ever used
    int opened;                  // number of the last stream
    uint64_t seed, order, drawn; // as given; of the numbers drawn; how many
    double stall_s;
    bool running;
    canto_status failed;
    char message[CANTO_MESSAGE_MAX]; // of the first error
};

// --- opening and closing ---

uint64_t canto_shadow_seed(void)
{
    const char *text = getenv("CANTO_SHADOW_SEED");
    return text ? strtoull(text, NULL, 10) : 1;
}

canto_status canto_shadow_streams_open(uint64_t seed, int who, double stall_s,
                                       canto_shadow_streams **out)
{
    char name[32];
    snprintf(name, sizeof name, "shadow %d", who);
    *out = calloc(1, sizeof **out);
    if (!*out) CANTO_FAIL(CANTO_ERROR_MEMORY, "shadow: no memory for streams");
    (*out)->seed = seed;
    (*out)->order = canto_rng_seed(seed, name);
    (*out)->stall_s = stall_s;
    return CANTO_OK;
}

void canto_shadow_set_stall(canto_shadow_streams *streams, double stall_s)
{
    streams->stall_s = stall_s;
}

canto_status canto_shadow_streams_close(canto_shadow_streams **streams)
{
    int64_t left = 0;
    const canto_status status = canto_shadow_status(*streams);
    for (int i = 0; i < CANTO_SHADOW_STREAMS_MAX; i++) {
        const stream *s = &(*streams)->list[i];
        if (s->number) left += s->put - s->done;
        free(s->ring);
    }
    free(*streams);
    *streams = NULL;
    CANTO_TRY(status);
    CANTO_CHECK(left == 0, "shadow: closed with %lld operations that never ran", (long long)left);
    return CANTO_OK;
}

// number 0: a free place, if any was used before.
static stream *find(const canto_shadow_streams *streams, int number)
{
    for (int i = 0; i < streams->list_n; i++) {
        if (streams->list[i].number == number) return (stream *)&streams->list[i];
    }
    return NULL;
}

canto_status canto_shadow_stream_open(canto_shadow_streams *streams, const char *name, int *out)
{
    stream *s = find(streams, 0);
    if (!s && streams->list_n < CANTO_SHADOW_STREAMS_MAX) s = &streams->list[streams->list_n++];
    CANTO_CHECK(s, "shadow: more than %d streams", CANTO_SHADOW_STREAMS_MAX);
    if (!s->ring) s->ring = aligned_alloc(UNIT, RING_BYTES);
    if (!s->ring) CANTO_FAIL(CANTO_ERROR_MEMORY, "shadow: no memory for a stream");
    *s = (stream){.number = ++streams->opened, .name = name, .ring = s->ring};
    *out = s->number;
    return CANTO_OK;
}

canto_status canto_shadow_stream_close(canto_shadow_streams *streams, int number)
{
    stream *s = find(streams, number);
    CANTO_CHECK(number > 0 && s, "shadow: there is no stream %d", number);
    canto_status status = CANTO_OK;
    if (streams->failed == CANTO_OK)
        status = canto_shadow_run(streams, canto_shadow_end(streams, number));
    *s = (stream){.ring = s->ring};
    return status;
}

// --- errors ---

canto_status canto_shadow_fail(canto_shadow_streams *streams, canto_status status)
{
    if (status == CANTO_OK || streams->failed != CANTO_OK) return status;
    streams->failed = status;
    snprintf(streams->message, sizeof streams->message, "%s", canto_error_message());
    return status;
}

canto_status canto_shadow_status(const canto_shadow_streams *streams)
{
    // The sentence may have been told, and forgotten, before.
    if (streams->failed != CANTO_OK && canto_error_message()[0] == '\0')
        canto_error_adopt(streams->message);
    return streams->failed;
}

// --- putting ---

static operation *at(const stream *s, int64_t unit)
{
    return (operation *)(s->ring + unit * UNIT % RING_BYTES);
}

static int64_t units_to_ring_end(const stream *s)
{
    return (RING_BYTES - s->tail * UNIT % RING_BYTES) / UNIT;
}

static void append(stream *s, operation head, const void *argument, size_t bytes)
{
    operation *place = at(s, s->tail);
    *place = head;
    if (bytes > 0) memcpy((char *)place + UNIT, argument, bytes);
    s->tail += head.units;
    s->put++;
}

static bool fits(const stream *s, int64_t units)
{
    const int64_t end = units_to_ring_end(s);
    return s->tail - s->head + units + (end < units ? end : 0) <= RING_BYTES / UNIT;
}

// Room for `units` in one piece.
static canto_status make_room(canto_shadow_streams *streams, stream *s, int64_t units)
{
    while (!fits(s, units)) {
        const canto_shadow_point next = {s->number, s->done + 1};
        CANTO_TRY(canto_shadow_run(streams, next));
    }
    const int64_t end = units_to_ring_end(s);
    if (end < units) append(s, (operation){.what = "nothing", .units = end}, NULL, 0);
    return CANTO_OK;
}

static canto_status put(canto_shadow_streams *streams, int number, operation head, size_t bytes,
                        const void *argument)
{
    CANTO_TRY(canto_shadow_status(streams));
    stream *s = find(streams, number);
    CANTO_CHECK(number > 0 && s, "shadow: there is no stream %d for %s", number, head.what);
    CANTO_CHECK(bytes <= CANTO_SHADOW_ARGUMENT_MAX, "shadow: %s with an argument of %zu bytes",
                head.what, bytes);
    CANTO_CHECK(!streams->running, "shadow: %s was put into a stream by work that runs", head.what);
    head.units = 1 + (int64_t)(bytes + UNIT - 1) / UNIT;
    CANTO_TRY(make_room(streams, s, head.units));
    append(s, head, argument, bytes);
    return CANTO_OK;
}

canto_status canto_shadow_put(canto_shadow_streams *streams, int number, const char *what,
                              canto_shadow_work work, size_t bytes, const void *argument)
{
    return put(streams, number, (operation){.work = work, .what = what}, bytes, argument);
}

canto_shadow_point canto_shadow_end(const canto_shadow_streams *streams, int number)
{
    const stream *s = number > 0 ? find(streams, number) : NULL;
    return s ? (canto_shadow_point){number, s->put} : (canto_shadow_point){0};
}

canto_status canto_shadow_follow(canto_shadow_streams *streams, int number,
                                 canto_shadow_point point)
{
    if (point.stream == number || canto_shadow_reached(streams, point)) return CANTO_OK;
    return put(streams, number, (operation){.what = "a wait", .after = point}, 0, NULL);
}

// --- running ---

// A stream that is closed has run all it held.
bool canto_shadow_reached(const canto_shadow_streams *streams, canto_shadow_point point)
{
    const stream *s = point.stream > 0 ? find(streams, point.stream) : NULL;
    return !s || s->done >= point.position;
}

bool canto_shadow_idle(const canto_shadow_streams *streams)
{
    for (int i = 0; i < streams->list_n; i++) {
        if (streams->list[i].done < streams->list[i].put) return false;
    }
    return true;
}

static bool can_go_on(const canto_shadow_streams *streams, const stream *s)
{
    return s->number && s->done < s->put && canto_shadow_reached(streams, at(s, s->head)->after);
}

static int64_t draw(canto_shadow_streams *streams, int64_t n)
{
    return canto_rng_below(streams->order, CANTO_RNG_TEST, streams->drawn++, n);
}

// NULL: none can.
static stream *draw_stream(canto_shadow_streams *streams)
{
    stream *ready[CANTO_SHADOW_STREAMS_MAX];
    int n = 0;
    for (int i = 0; i < streams->list_n; i++) {
        if (can_go_on(streams, &streams->list[i])) ready[n++] = &streams->list[i];
    }
    return n > 0 ? ready[draw(streams, n)] : NULL;
}

static canto_status go_on(canto_shadow_streams *streams, stream *s, bool *done)
{
    operation *head = at(s, s->head);
    *done = !head->work;
    if (head->work) {
        streams->running = true;
        const canto_status status = head->work((char *)head + UNIT, done);
        streams->running = false;
        CANTO_TRY(canto_shadow_fail(streams, status));
    }
    if (!*done) return CANTO_OK;
    s->head += head->units;
    s->done++;
    return CANTO_OK;
}

// What every stream is about to do, as much as fits.
static void describe(const canto_shadow_streams *streams, size_t bytes, char *out)
{
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < streams->list_n && used < bytes; i++) {
        const stream *s = &streams->list[i];
        if (!s->number || s->done == s->put) continue;
        const operation *head = at(s, s->head);
        const stream *awaited = head->after.stream > 0 ? find(streams, head->after.stream) : NULL;
        used += (size_t)snprintf(out + used, bytes - used, "%s stream %s: %s%s%s",
                                 used > 0 ? ";" : "", s->name, head->what,
                                 awaited ? " for stream " : "", awaited ? awaited->name : "");
    }
}

static canto_status fail_stalled(canto_shadow_streams *streams, canto_status code, const char *why)
{
    char heads[CANTO_MESSAGE_MAX / 2];
    describe(streams, sizeof heads, heads);
    return canto_shadow_fail(streams,
                             canto_error_raise(code, __FILE__, __LINE__,
                                               "shadow (CANTO_SHADOW_SEED=%llu): %s;%s",
                                               (unsigned long long)streams->seed, why, heads));
}

canto_status canto_shadow_turn(canto_shadow_streams *streams, bool *moved)
{
    *moved = false;
    CANTO_TRY(canto_shadow_status(streams));
    CANTO_CHECK(!streams->running, "shadow: work waits for other work");
    stream *s = draw_stream(streams);
    if (!s && !canto_shadow_idle(streams))
        return fail_stalled(streams, CANTO_ERROR_ARGUMENT, "streams wait for each other");
    if (!s) return CANTO_OK;
    const int64_t burst = draw(streams, 2) ? 1 : 1 + draw(streams, BURST_MAX);
    bool done = true;
    for (int64_t i = 0; i < burst && done && can_go_on(streams, s); i++) {
        CANTO_TRY(go_on(streams, s, &done));
        *moved = *moved || done;
    }
    return CANTO_OK;
}

canto_status canto_shadow_check_stall(canto_shadow_streams *streams, double *since_s)
{
    const double now_s = canto_clock_s();
    if (*since_s == 0) *since_s = now_s;
    if (now_s - *since_s > streams->stall_s) {
        char why[64];
        snprintf(why, sizeof why, "nothing got done for %.3g s", streams->stall_s);
        return fail_stalled(streams, CANTO_ERROR_TIMEOUT, why);
    }
    sched_yield(); // what is missing may be another process of this host
    return CANTO_OK;
}

static canto_status turn(canto_shadow_streams *streams, double *since_s)
{
    bool moved;
    CANTO_TRY(canto_shadow_turn(streams, &moved));
    if (!moved) return canto_shadow_check_stall(streams, since_s);
    *since_s = 0;
    return CANTO_OK;
}

canto_status canto_shadow_run(canto_shadow_streams *streams, canto_shadow_point point)
{
    double since_s = 0;
    CANTO_TRY(canto_shadow_status(streams));
    while (!canto_shadow_reached(streams, point)) CANTO_TRY(turn(streams, &since_s));
    return CANTO_OK;
}

canto_status canto_shadow_run_all(canto_shadow_streams *streams)
{
    double since_s = 0;
    CANTO_TRY(canto_shadow_status(streams));
    while (!canto_shadow_idle(streams)) CANTO_TRY(turn(streams, &since_s));
    return CANTO_OK;
}

canto_status canto_shadow_let_run(canto_shadow_streams *streams)
{
    bool moved;
    CANTO_TRY(canto_shadow_status(streams));
    if (draw(streams, POLLS_PER_RUN) > 0) return CANTO_OK;
    return canto_shadow_turn(streams, &moved);
}
