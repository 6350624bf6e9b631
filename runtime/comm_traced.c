// A decorator of any communicator that tells a trace what happens on its lane.
//
//     starting a message      a span "send" or "receive", and the message itself from here on
//     wait                    a span "wait", which ends the message
//     poll of a request       a span "poll" if it ends the message, else nothing
//     collectives             a span "broadcast" or "gather"
//
// Both ends number the messages of a pair alike, because messages match in order, so a reader of
// all ranks' traces can tie an end to a start. Sends nothing of its own but one int a rank in a
// split. Keeps one record for each open message.
#include "runtime/comm_base.h"
#include "runtime/trace.h"

#include <stdlib.h>

enum { MESSAGES_FIRST = 32 };

// A message of the caller under way, or a free place.
typedef struct traced_message {
    bool used;
    canto_request inner;
    canto_trace_event event;
    int next_free;
} traced_message;

typedef struct traced_peer {
    int name;                // in the outermost world
    int64_t sends, receives; // started so far
} traced_peer;

typedef struct traced {
    canto_comm base;
    canto_comm *inner; // owned
    int lane;
    traced_peer *peers;       // owned, one a rank
    traced_message *messages; // owned; request - 1
    int messages_n, first_free;
} traced;

// --- messages under way ---

static canto_status make_room(traced *comm, int messages)
{
    if (messages <= comm->messages_n) return CANTO_OK;
    traced_message *list = realloc(comm->messages, (size_t)messages * sizeof *list);
    if (!list)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for %d open messages", comm->base.lane,
                   messages);
    for (int i = comm->messages_n; i < messages; i++) {
        list[i] = (traced_message){.next_free = comm->first_free};
        comm->first_free = i;
    }
    comm->messages = list;
    comm->messages_n = messages;
    return CANTO_OK;
}

static canto_status find_message(const traced *comm, canto_request request, traced_message **out)
{
    CANTO_CHECK(request > 0 && request <= comm->messages_n && comm->messages[request - 1].used,
                "lane %s: request %lld is not open", comm->base.lane, (long long)request);
    *out = &comm->messages[request - 1];
    return CANTO_OK;
}

static void give_back(traced *comm, traced_message *message)
{
    message->used = false;
    message->next_free = comm->first_free;
    comm->first_free = (int)(message - comm->messages);
}

// The span of a call that starts or ends the message, and the message.
static void tell_call(const traced *comm, const char *name, const traced_message *message,
                      double start_s, bool starts)
{
    canto_trace_event event = message->event;
    event.name = name;
    event.kind = CANTO_TRACE_SPAN;
    event.start_s = start_s;
    event.end_s = canto_trace_now(comm->base.trace);
    event.starts = starts;
    canto_trace_add(comm->base.trace, &event);
}

static void tell_end(const traced *comm, const char *name, traced_message *message, double start_s)
{
    tell_call(comm, name, message, start_s, false);
    message->event.end_s = canto_trace_now(comm->base.trace);
    canto_trace_add(comm->base.trace, &message->event);
}

static canto_trace_event event_of(traced *comm, bool sends, int peer, const canto_tensor *data)
{
    traced_peer *other = &comm->peers[peer];
    return (canto_trace_event){.name = sends ? "send" : "receive",
                               .key = "bytes",
                               .value = (int64_t)canto_tensor_bytes(data),
                               .lane = comm->lane,
                               .peer = other->name,
                               .number = sends ? other->sends++ : other->receives++,
                               .kind = sends ? CANTO_TRACE_SEND : CANTO_TRACE_RECEIVE,
                               .sends = sends};
}

// --- the table ---

static canto_status start(traced *comm, bool sends, int peer, canto_tensor data, canto_request *out)
{
    if (comm->first_free < 0) CANTO_TRY(make_room(comm, 2 * comm->messages_n));
    traced_message *message = &comm->messages[comm->first_free];
    message->event = event_of(comm, sends, peer, &data);
    message->event.start_s = canto_trace_now(comm->base.trace);
    CANTO_TRY(sends ? canto_comm_send(comm->inner, peer, data, &message->inner)
                    : canto_comm_recv(comm->inner, peer, data, &message->inner));
    tell_call(comm, message->event.name, message, message->event.start_s, true);
    message->used = true;
    *out = comm->first_free + 1;
    comm->first_free = message->next_free;
    return CANTO_OK;
}

static canto_status traced_send(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    return start((traced *)base, true, peer, data, out);
}

static canto_status traced_recv(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    return start((traced *)base, false, peer, data, out);
}

static canto_status traced_wait(canto_comm *base, canto_request *request)
{
    traced *comm = (traced *)base;
    traced_message *message = NULL;
    CANTO_TRY(find_message(comm, *request, &message));
    const double start_s = canto_trace_now(base->trace);
    CANTO_TRY(canto_comm_wait(comm->inner, &message->inner));
    tell_end(comm, "wait", message, start_s);
    give_back(comm, message);
    *request = CANTO_REQUEST_NONE;
    return CANTO_OK;
}

static canto_status traced_poll(canto_comm *base, canto_request *request, bool *done)
{
    traced *comm = (traced *)base;
    if (!request) return canto_comm_poll(comm->inner, NULL, NULL);
    traced_message *message = NULL;
    CANTO_TRY(find_message(comm, *request, &message));
    const double start_s = canto_trace_now(base->trace);
    CANTO_TRY(canto_comm_poll(comm->inner, &message->inner, done));
    if (!*done) return CANTO_OK;
    tell_end(comm, "poll", message, start_s);
    give_back(comm, message);
    *request = CANTO_REQUEST_NONE;
    return CANTO_OK;
}

static canto_status traced_reserve(canto_comm *base, int messages)
{
    traced *comm = (traced *)base;
    CANTO_TRY(make_room(comm, messages));
    return canto_comm_reserve(comm->inner, messages);
}

static canto_status traced_group_begin(canto_comm *base)
{
    return canto_comm_group_begin(((traced *)base)->inner);
}

static canto_status traced_group_end(canto_comm *base)
{
    return canto_comm_group_end(((traced *)base)->inner);
}

static canto_status traced_bcast(canto_comm *base, int root, canto_tensor data)
{
    const traced *comm = (traced *)base;
    canto_trace_push(base->trace, comm->lane, "broadcast", "bytes",
                     (int64_t)canto_tensor_bytes(&data));
    const canto_status status = canto_comm_bcast(comm->inner, root, data);
    canto_trace_pop(base->trace);
    return status;
}

static canto_status traced_gather_small(canto_comm *base, size_t bytes, const void *mine, void *all)
{
    const traced *comm = (traced *)base;
    canto_trace_push(base->trace, comm->lane, "gather", "bytes", (int64_t)bytes);
    const canto_status status = canto_comm_gather_small(comm->inner, bytes, mine, all);
    canto_trace_pop(base->trace);
    return status;
}

static canto_status traced_fail(canto_comm *base, canto_status status)
{
    return canto_comm_fail(((traced *)base)->inner, status);
}

static void traced_abort(canto_comm *base, int code)
{
    canto_comm_abort(((traced *)base)->inner, code);
}

// --- opening and closing ---

static void traced_destroy(canto_comm *base)
{
    traced *comm = (traced *)base;
    canto_comm_destroy(&comm->inner);
    free(comm->messages);
    free(comm->peers);
    canto_comm_base_free(base);
}

static canto_status traced_split(canto_comm *base, const char *lane, int color, canto_comm **out);

static const canto_comm_ops traced_ops = {
    .name = "traced",
    .send = traced_send,
    .recv = traced_recv,
    .wait = traced_wait,
    .poll = traced_poll,
    .reserve = traced_reserve,
    .group_begin = traced_group_begin,
    .group_end = traced_group_end,
    .bcast = traced_bcast,
    .gather_small = traced_gather_small,
    .split = traced_split,
    .fail = traced_fail,
    .destroy = traced_destroy,
    .abort = traced_abort,
};

canto_comm **canto_comm_traced_inner(canto_comm *comm)
{
    return comm->ops == &traced_ops ? &((traced *)comm)->inner : NULL;
}

// Local. Does not take inner when it fails.
static canto_status create(canto_comm *inner, canto_trace *trace, traced **out)
{
    canto_comm *base;
    CANTO_TRY(canto_comm_base_create(sizeof(traced), &traced_ops, inner->lane, inner->rank,
                                     inner->size, &base));
    traced *comm = (traced *)base;
    comm->first_free = -1;
    comm->base.trace = trace;
    comm->base.timeout_s = inner->timeout_s;
    comm->peers = calloc((size_t)base->size, sizeof *comm->peers);
    canto_status status = CANTO_OK;
    if (!comm->peers)
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "lane %s: no memory for %d ranks", inner->lane, inner->size);
    if (status == CANTO_OK) status = canto_trace_lane(trace, inner->lane, &comm->lane);
    if (status == CANTO_OK) status = make_room(comm, MESSAGES_FIRST);
    *out = comm;
    if (status == CANTO_OK)
        comm->inner = inner;
    else
        traced_destroy(base);
    return status;
}

// Collective on inner. Takes inner, also when it fails.
static canto_status wrap(canto_comm *inner, canto_trace *trace, traced **out)
{
    const canto_status mine = create(inner, trace, out);
    const canto_status status = canto_comm_agree(inner, mine);
    if (status == CANTO_OK) return CANTO_OK;
    if (mine == CANTO_OK)
        traced_destroy(&(*out)->base);
    else
        canto_comm_destroy(&inner);
    *out = NULL;
    return status;
}

canto_status canto_comm_traced_open(canto_comm *inner, canto_trace *trace, canto_comm **out)
{
    *out = NULL;
    traced *comm = NULL;
    CANTO_TRY(wrap(inner, trace, &comm));
    for (int r = 0; r < inner->size; r++) comm->peers[r].name = r;
    *out = &comm->base;
    return CANTO_OK;
}

static canto_status split(const traced *comm, const char *lane, int color, traced **part)
{
    canto_comm *inner;
    CANTO_TRY(canto_comm_split(comm->inner, lane, color, &inner));
    CANTO_TRY(wrap(inner, comm->base.trace, part));
    const int mine = comm->peers[comm->base.rank].name;
    int *names = (*part)->base.scratch;
    CANTO_TRY(canto_comm_gather_small(inner, sizeof mine, &mine, names));
    for (int r = 0; r < inner->size; r++) (*part)->peers[r].name = names[r];
    return CANTO_OK;
}

static canto_status traced_split(canto_comm *base, const char *lane, int color, canto_comm **out)
{
    traced *part = NULL;
    const canto_status status = split((const traced *)base, lane, color, &part);
    if (status == CANTO_OK)
        *out = &part->base;
    else if (part)
        traced_destroy(&part->base);
    return status;
}
