// A decorator of any communicator. With headers, ranks compare what they are about to do; always,
// waits end after a time limit, and one rank's error ends all ranks' waits with the same sentence.
//
// Sends, beside the caller's messages: with headers, 32 bytes from either end of every message;
// without, nothing. Memory: a few hundred bytes a rank and open message.
#include "runtime/comm_checked.h"

#include "runtime/clock.h"

#include <stdlib.h>

enum { MESSAGES_FIRST = 32 }; // enough for a lane of collectives

// Every error of this lane passes through here on its way up, and becomes the error of all ranks.
static canto_status told(canto_checked *comm, canto_status status)
{
    return status == CANTO_OK ? CANTO_OK : canto_alarm_raise(comm->alarm, status);
}

// --- messages under way ---

static canto_status add_message(canto_checked *comm)
{
    canto_checked_message *fresh = calloc(1, sizeof *fresh);
    canto_checked_message **list =
        realloc(comm->messages, (size_t)(comm->messages_n + 1) * sizeof *comm->messages);
    if (list) comm->messages = list;
    if (!fresh || !list) {
        free(fresh);
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for %d open messages", comm->base.lane,
                   comm->messages_n + 1);
    }
    fresh->index = comm->messages_n;
    comm->messages[comm->messages_n++] = fresh;
    canto_message_give(comm, fresh);
    return CANTO_OK;
}

canto_status canto_message_take(canto_checked *comm, canto_checked_message **out)
{
    if (!comm->free) CANTO_TRY(add_message(comm));
    *out = comm->free;
    comm->free = (*out)->next;
    return CANTO_OK;
}

void canto_message_give(canto_checked *comm, canto_checked_message *message)
{
    *message = (canto_checked_message){.index = message->index, .next = comm->free};
    comm->free = message;
}

// The other ends announce as many messages as I start, perhaps before I do.
static canto_status reserve(canto_checked *comm, int messages)
{
    CANTO_TRY(canto_comm_reserve(comm->inner, messages));
    if (comm->headers) {
        // Besides the headers of messages: one comes in and a goodbye goes out for each rank, a
        // note, a collective.
        const int others = 2 * comm->base.size + 2;
        CANTO_TRY(canto_comm_reserve(comm->headers, messages + others));
    }
    while (comm->messages_n < (comm->headers ? 2 * messages : messages))
        CANTO_TRY(add_message(comm));
    return CANTO_OK;
}

static canto_status message_find(const canto_checked *comm, canto_request request,
                                 canto_checked_message **out)
{
    CANTO_CHECK(request > 0 && request <= comm->messages_n && comm->messages[request - 1]->used,
                "lane %s: request %lld is not open", comm->base.lane, (long long)request);
    *out = comm->messages[request - 1];
    return CANTO_OK;
}

// Done = announced by both ends, my announcement delivered, the bytes moved.
static canto_status message_advance(canto_checked *comm, canto_checked_message *message, bool *done)
{
    *done = false;
    if (comm->headers) {
        bool delivered;
        CANTO_TRY(canto_comm_poll(comm->headers, &message->header_request, &delivered));
        if (!message->matched || !delivered) return CANTO_OK;
    }
    return canto_comm_poll(comm->inner, &message->payload, done);
}

// --- the table ---

static canto_status start(canto_checked *comm, canto_deed deed, int peer, canto_tensor data,
                          canto_request *out)
{
    if (canto_alarm_rung(comm->alarm)) return canto_alarm_listen(comm->alarm);
    canto_checked_message *message = NULL;
    CANTO_TRY(canto_message_take(comm, &message));
    message->used = true;
    message->deed = deed;
    message->peer = peer;
    message->data = data;
    message->number = comm->peers[peer].pairs[deed].started++;
    *out = message->index + 1;
    if (deed == CANTO_SEND) CANTO_TRY(canto_comm_send(comm->inner, peer, data, &message->payload));
    if (comm->headers) return canto_headers_announce(comm, message);
    message->matched = true;
    if (deed == CANTO_SEND) return CANTO_OK;
    return canto_comm_recv(comm->inner, peer, data, &message->payload);
}

static canto_status checked_send(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    canto_checked *comm = (canto_checked *)base;
    return told(comm, start(comm, CANTO_SEND, peer, data, out));
}

static canto_status checked_recv(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    canto_checked *comm = (canto_checked *)base;
    return told(comm, start(comm, CANTO_RECV, peer, data, out));
}

static canto_status poll(canto_checked *comm, canto_request *request, bool *done)
{
    CANTO_TRY(canto_checked_turn(comm, NULL));
    if (!request) return canto_comm_poll(comm->inner, NULL, NULL);
    canto_checked_message *message = NULL;
    CANTO_TRY(message_find(comm, *request, &message));
    CANTO_TRY(message_advance(comm, message, done));
    if (!*done) return CANTO_OK;
    canto_message_give(comm, message);
    *request = CANTO_REQUEST_NONE;
    return CANTO_OK;
}

static canto_status checked_poll(canto_comm *base, canto_request *request, bool *done)
{
    canto_checked *comm = (canto_checked *)base;
    return told(comm, poll(comm, request, done));
}

static canto_status wait(canto_checked *comm, canto_request *request)
{
    canto_checked_message *message = NULL;
    CANTO_TRY(message_find(comm, *request, &message));
    canto_blocked blocked = {
        .peer = message->peer,
        .deed = message->deed == CANTO_SEND ? CANTO_RECV : CANTO_SEND,
        .number = message->number,
        .bytes = canto_tensor_bytes(&message->data),
        .kind = canto_dtype_name(message->data.dtype),
        .since_s = canto_clock_s(),
    };
    for (bool done = false;;) {
        CANTO_TRY(message_advance(comm, message, &done));
        if (done) break;
        blocked.announced = comm->headers && message->matched;
        CANTO_TRY(canto_checked_turn(comm, &blocked));
    }
    canto_message_give(comm, message);
    *request = CANTO_REQUEST_NONE;
    return CANTO_OK;
}

static canto_status checked_wait(canto_comm *base, canto_request *request)
{
    canto_checked *comm = (canto_checked *)base;
    return told(comm, wait(comm, request));
}

static canto_status checked_reserve(canto_comm *base, int messages)
{
    canto_checked *comm = (canto_checked *)base;
    return told(comm, reserve(comm, messages));
}

static canto_status checked_group_begin(canto_comm *base)
{
    canto_checked *comm = (canto_checked *)base;
    return told(comm, canto_comm_group_begin(comm->inner));
}

static canto_status checked_group_end(canto_comm *base)
{
    canto_checked *comm = (canto_checked *)base;
    return told(comm, canto_comm_group_end(comm->inner));
}

static canto_status checked_bcast(canto_comm *base, int root, canto_tensor data)
{
    return told((canto_checked *)base, canto_checked_bcast(base, root, data));
}

static canto_status checked_gather_small(canto_comm *base, size_t bytes, const void *mine,
                                         void *all)
{
    return told((canto_checked *)base, canto_checked_gather_small(base, bytes, mine, all));
}

static canto_status checked_fail(canto_comm *base, canto_status status)
{
    return told((canto_checked *)base, status);
}

static void checked_abort(canto_comm *base, int code)
{
    canto_comm_abort(((canto_checked *)base)->inner, code);
}

// --- opening and closing ---

// An error was met here or on another rank, or what stands on this one has marked it.
static bool is_over(const canto_checked *comm)
{
    return comm->base.failed != CANTO_OK || canto_alarm_rung(comm->alarm);
}

// After an error what is inside is only taken apart locally, too.
static void close_lane(const canto_checked *comm, canto_comm **lane)
{
    if (*lane && is_over(comm)) (*lane)->failed = CANTO_ERROR_COMM;
    canto_comm_destroy(lane);
}

static void checked_destroy(canto_comm *base)
{
    canto_checked *comm = (canto_checked *)base;
    // An error found here makes the rest local; there is nobody to return it to.
    if (comm->headers && !is_over(comm)) told(comm, canto_headers_goodbye(comm));
    close_lane(comm, &comm->headers);
    close_lane(comm, &comm->small);
    close_lane(comm, &comm->inner);
    canto_alarm_release(comm->alarm);
    for (int i = 0; i < comm->messages_n; i++) free(comm->messages[i]);
    free(comm->messages);
    free(comm->peers);
    free(comm->names);
    canto_comm_base_free(base);
}

static canto_status checked_split(canto_comm *base, const char *lane, int color, canto_comm **out);

static const canto_comm_ops checked_ops = {
    .name = "checked",
    .send = checked_send,
    .recv = checked_recv,
    .wait = checked_wait,
    .poll = checked_poll,
    .reserve = checked_reserve,
    .group_begin = checked_group_begin,
    .group_end = checked_group_end,
    .bcast = checked_bcast,
    .gather_small = checked_gather_small,
    .split = checked_split,
    .fail = checked_fail,
    .destroy = checked_destroy,
    .abort = checked_abort,
};

// Takes inner and one reference of the alarm if it succeeds. Local.
static canto_status create(canto_comm *inner, canto_alarm *alarm, canto_comm_checks checks,
                           canto_checked **out)
{
    canto_comm *base;
    CANTO_TRY(canto_comm_base_create(sizeof(canto_checked), &checked_ops, inner->lane, inner->rank,
                                     inner->size, &base));
    canto_checked *comm = (canto_checked *)base;
    comm->names = calloc((size_t)base->size, sizeof *comm->names);
    comm->peers = calloc((size_t)base->size, sizeof *comm->peers);
    if (!comm->names || !comm->peers) {
        free(comm->names);
        free(comm->peers);
        canto_comm_base_free(base);
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for %d ranks", inner->lane, inner->size);
    }
    for (int r = 0; r < base->size; r++) comm->peers[r].note_from = -1;
    comm->inner = inner;
    comm->alarm = alarm;
    comm->checks = checks;
    base->timeout_s = checks.timeout_s;
    *out = comm;
    return CANTO_OK;
}

static canto_status open_lanes(canto_checked *comm)
{
    CANTO_TRY(canto_comm_split(comm->inner, "small", 0, &comm->small));
    if (comm->checks.headers)
        CANTO_TRY(canto_comm_split(comm->inner, "headers", 0, &comm->headers));
    return reserve(comm, MESSAGES_FIRST);
}

// Collective on inner. Takes inner and one reference of the alarm, also when it fails.
static canto_status wrap(canto_comm *inner, canto_alarm *alarm, canto_comm_checks checks,
                         canto_checked **out)
{
    canto_checked *comm = NULL;
    canto_status status = canto_comm_agree(inner, create(inner, alarm, checks, &comm));
    if (status == CANTO_OK) status = open_lanes(comm);
    *out = comm;
    if (status == CANTO_OK) return CANTO_OK;
    status = canto_alarm_raise(alarm, status);
    if (comm) {
        checked_destroy(&comm->base);
    } else {
        inner->failed = status;
        canto_comm_destroy(&inner);
        canto_alarm_release(alarm);
    }
    return status;
}

canto_status canto_comm_checked_open(canto_comm *inner, canto_comm_checks checks, canto_comm **out)
{
    *out = NULL;
    canto_alarm *alarm;
    const canto_status status = canto_alarm_open(inner, &alarm);
    if (status != CANTO_OK) {
        canto_comm_destroy(&inner);
        return status;
    }
    canto_checked *comm;
    CANTO_TRY(wrap(inner, alarm, checks, &comm));
    for (int r = 0; r < inner->size; r++) comm->names[r] = r;
    *out = &comm->base;
    return CANTO_OK;
}

// All ranks are known to be here, and to be splitting, before the inner communicator blocks in it.
static canto_status split(canto_checked *comm, const char *lane, int color, canto_comm **out)
{
    int *colors = comm->base.scratch;
    CANTO_TRY(canto_checked_gather_colors(comm, &color, colors));
    canto_comm *inner;
    CANTO_TRY(canto_comm_split(comm->inner, lane, color, &inner));
    canto_checked *part;
    CANTO_TRY(wrap(inner, canto_alarm_share(comm->alarm), comm->checks, &part));
    int n = 0;
    for (int r = 0; r < comm->base.size; r++) {
        if (colors[r] == color) part->names[n++] = comm->names[r];
    }
    *out = &part->base;
    return CANTO_OK;
}

static canto_status checked_split(canto_comm *base, const char *lane, int color, canto_comm **out)
{
    canto_checked *comm = (canto_checked *)base;
    return told(comm, split(comm, lane, color, out));
}
