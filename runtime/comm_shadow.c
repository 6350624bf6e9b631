// A lane of the shadow device: a stream of groups of messages, each about memory as it is when the
// work that was queued before the group is done. Groups go through the host's lane one after the
// other, the next once all messages of the last have arrived, as they do on a device whose lane is
// a stream: a schedule that needs a rank to look ahead ends in a circle of waits here.
//
// A receive fills its memory with NaN when it starts, so that who reads it too early shows. Sends
// what the host's lane sends for the same messages. Keeps a few words for each open message.
#include "runtime/comm_base.h"
#include "runtime/shadow/device.h"

#include <stdlib.h>
#include <string.h>

// A started message of the caller, or a free place.
typedef struct pending {
    bool used;
    canto_shadow_point end; // of the lane, after its group; stream 0: its group is still open
    int next_free;
} pending;

typedef struct message {
    canto_tensor data; // in its place
    canto_request request;
    int peer;
    bool sends;
} message;

typedef struct group {
    canto_comm *comm; // what `host` decorates: work must not run other work
    bool started;
    int first, n; // first: of those that are not known to have arrived
    message messages[];
} group;

enum { GROUP_MAX = (CANTO_SHADOW_ARGUMENT_MAX - (int)sizeof(group)) / (int)sizeof(message) };

typedef struct shadow_lane {
    canto_comm base;
    canto_comm *host;            // owned
    canto_shadow_device *device; // borrowed
    int stream;
    pending *list; // owned; request - 1
    int list_n, first_free;
    bool grouping;
    group *group; // owned: the messages of the open group; room for capacity
    int capacity;
    int *requests; // owned, [capacity]: their places in the list
} shadow_lane;

// --- room ---

static canto_status reserve_list(shadow_lane *lane, int messages)
{
    if (messages <= lane->list_n) return CANTO_OK;
    pending *list = realloc(lane->list, (size_t)messages * sizeof *list);
    if (!list)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for %d open messages", lane->base.lane,
                   messages);
    for (int i = lane->list_n; i < messages; i++) {
        list[i] = (pending){.next_free = lane->first_free};
        lane->first_free = i;
    }
    lane->list = list;
    lane->list_n = messages;
    return CANTO_OK;
}

static canto_status reserve_group(shadow_lane *lane, int messages)
{
    if (messages <= lane->capacity) return CANTO_OK;
    CANTO_CHECK(messages <= GROUP_MAX, "lane %s: more than %d messages in a group", lane->base.lane,
                GROUP_MAX);
    group *g = realloc(lane->group, sizeof *g + (size_t)messages * sizeof *g->messages);
    if (g && !lane->group) g->n = 0;
    if (g) lane->group = g;
    int *requests = realloc(lane->requests, (size_t)messages * sizeof *requests);
    if (requests) lane->requests = requests;
    if (!g || !requests)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for %d messages", lane->base.lane,
                   messages);
    lane->capacity = messages;
    return CANTO_OK;
}

static canto_status shadow_reserve(canto_comm *base, int messages)
{
    shadow_lane *lane = (shadow_lane *)base;
    CANTO_TRY(canto_comm_reserve(lane->host, messages));
    CANTO_TRY(reserve_list(lane, messages));
    return reserve_group(lane, messages < GROUP_MAX ? messages : GROUP_MAX);
}

// --- a group as it runs ---

static canto_status start_message(canto_comm *comm, message *m)
{
    if (m->sends) return canto_comm_send(comm, m->peer, m->data, &m->request);
    memset(m->data.data, 0xff, canto_tensor_bytes(&m->data));
    return canto_comm_recv(comm, m->peer, m->data, &m->request);
}

static canto_status start_group(group *g)
{
    g->started = true;
    CANTO_TRY(canto_comm_group_begin(g->comm));
    for (int i = 0; i < g->n; i++) CANTO_TRY(start_message(g->comm, &g->messages[i]));
    return canto_comm_group_end(g->comm);
}

static canto_status run_group(void *argument, bool *done)
{
    group *g = argument;
    if (!g->started) CANTO_TRY(start_group(g));
    for (; g->first < g->n; g->first++) {
        bool arrived;
        CANTO_TRY(canto_comm_poll(g->comm, &g->messages[g->first].request, &arrived));
        if (!arrived) return CANTO_OK;
    }
    *done = true;
    return CANTO_OK;
}

// --- a group as it is put ---

static canto_status put_group(shadow_lane *lane)
{
    group *g = lane->group;
    canto_shadow_streams *streams = lane->device->streams;
    if (!g || g->n == 0) return CANTO_OK;
    const canto_shadow_point before = canto_shadow_end(streams, lane->device->queue);
    CANTO_TRY(canto_shadow_follow(streams, lane->stream, before));
    CANTO_TRY(canto_shadow_put(streams, lane->stream, "messages", run_group,
                               sizeof *g + (size_t)g->n * sizeof *g->messages, g));
    for (int i = 0; i < g->n; i++)
        lane->list[lane->requests[i]].end = canto_shadow_end(streams, lane->stream);
    g->n = 0;
    return CANTO_OK;
}

static canto_status shadow_group_begin(canto_comm *base)
{
    shadow_lane *lane = (shadow_lane *)base;
    CANTO_CHECK(!lane->grouping, "lane %s: a group inside a group", base->lane);
    lane->grouping = true;
    return CANTO_OK;
}

static canto_status shadow_group_end(canto_comm *base)
{
    shadow_lane *lane = (shadow_lane *)base;
    CANTO_CHECK(lane->grouping, "lane %s: the end of a group that was not begun", base->lane);
    lane->grouping = false;
    return put_group(lane);
}

static canto_status start(shadow_lane *lane, bool sends, int peer, canto_tensor data,
                          canto_request *out)
{
    const char *what = sends ? "send" : "receive";
    CANTO_TRY(canto_shadow_translate(&lane->device->memory, what, data.data,
                                     canto_tensor_bytes(&data), &data.data));
    if (lane->first_free < 0) CANTO_TRY(reserve_list(lane, 2 * lane->list_n + 8));
    const int queued = lane->group ? lane->group->n : 0;
    if (queued == lane->capacity) CANTO_TRY(reserve_group(lane, 2 * lane->capacity + 8));
    const int index = lane->first_free;
    lane->first_free = lane->list[index].next_free;
    lane->list[index] = (pending){.used = true};
    if (queued == 0) *lane->group = (group){.comm = canto_comm_shadow_host_inner(lane->host)};
    lane->requests[queued] = index;
    lane->group->messages[lane->group->n++] = (message){.data = data, .peer = peer, .sends = sends};
    *out = index + 1;
    return lane->grouping ? CANTO_OK : put_group(lane);
}

static canto_status shadow_send(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    return start((shadow_lane *)base, true, peer, data, out);
}

static canto_status shadow_recv(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    return start((shadow_lane *)base, false, peer, data, out);
}

// --- the end of a message ---

static canto_status find(shadow_lane *lane, canto_request request, pending **out)
{
    CANTO_CHECK(request > 0 && request <= lane->list_n && lane->list[request - 1].used,
                "lane %s: request %lld is not open", lane->base.lane, (long long)request);
    *out = &lane->list[request - 1];
    CANTO_CHECK((*out)->end.stream > 0, "lane %s: a wait for a message of a group that is open",
                lane->base.lane);
    return CANTO_OK;
}

static void forget(shadow_lane *lane, canto_request *request)
{
    pending *p = &lane->list[*request - 1];
    *p = (pending){.next_free = lane->first_free};
    lane->first_free = (int)(*request - 1);
    *request = CANTO_REQUEST_NONE;
}

// What is queued from now on comes after the message; the host goes on.
static canto_status shadow_wait(canto_comm *base, canto_request *request)
{
    shadow_lane *lane = (shadow_lane *)base;
    pending *p = NULL;
    CANTO_TRY(find(lane, *request, &p));
    CANTO_TRY(canto_shadow_follow(lane->device->streams, lane->device->queue, p->end));
    forget(lane, request);
    return CANTO_OK;
}

static canto_status shadow_poll(canto_comm *base, canto_request *request, bool *done)
{
    shadow_lane *lane = (shadow_lane *)base;
    pending *p = NULL;
    if (request) CANTO_TRY(find(lane, *request, &p));
    CANTO_TRY(canto_shadow_let_run(lane->device->streams));
    if (!request) return CANTO_OK;
    *done = canto_shadow_reached(lane->device->streams, p->end);
    if (*done) forget(lane, request);
    return CANTO_OK;
}

// --- everything else is the host's ---

static canto_status shadow_bcast(canto_comm *base, int root, canto_tensor data)
{
    return canto_comm_bcast(((shadow_lane *)base)->host, root, data);
}

static canto_status shadow_gather_small(canto_comm *base, size_t bytes, const void *mine, void *all)
{
    return canto_comm_gather_small(((shadow_lane *)base)->host, bytes, mine, all);
}

static canto_status shadow_split(canto_comm *base, const char *name, int color, canto_comm **out)
{
    const shadow_lane *lane = (shadow_lane *)base;
    canto_comm *host;
    CANTO_TRY(canto_comm_split(lane->host, name, color, &host));
    return canto_comm_shadow_open(&lane->device->base, host, out);
}

static canto_status shadow_fail(canto_comm *base, canto_status status)
{
    return canto_comm_fail(((shadow_lane *)base)->host, status);
}

// After an error the rest is local.
static void shadow_destroy(canto_comm *base)
{
    shadow_lane *lane = (shadow_lane *)base;
    const canto_status status = canto_shadow_stream_close(lane->device->streams, lane->stream);
    if (status != CANTO_OK) lane->host->failed = status;
    canto_comm_destroy(&lane->host);
    free(lane->list);
    free(lane->group);
    free(lane->requests);
    canto_comm_base_free(base);
}

static void shadow_abort(canto_comm *base, int code)
{
    canto_comm_abort(((shadow_lane *)base)->host, code);
}

static const canto_comm_ops shadow_ops = {
    .name = "shadow",
    .send = shadow_send,
    .recv = shadow_recv,
    .wait = shadow_wait,
    .poll = shadow_poll,
    .reserve = shadow_reserve,
    .group_begin = shadow_group_begin,
    .group_end = shadow_group_end,
    .bcast = shadow_bcast,
    .gather_small = shadow_gather_small,
    .split = shadow_split,
    .fail = shadow_fail,
    .destroy = shadow_destroy,
    .abort = shadow_abort,
};

static canto_status create(canto_shadow_device *device, canto_comm *host, canto_comm **out)
{
    CANTO_TRY(canto_comm_base_create(sizeof(shadow_lane), &shadow_ops, host->lane, host->rank,
                                     host->size, out));
    shadow_lane *lane = (shadow_lane *)*out;
    lane->base.trace = host->trace;
    lane->device = device;
    lane->first_free = -1;
    const canto_status status =
        canto_shadow_stream_open(device->streams, host->lane, &lane->stream);
    if (status == CANTO_OK)
        lane->host = host;
    else
        canto_comm_base_free(*out);
    return status;
}

canto_status canto_comm_shadow_open(const canto_device *device, canto_comm *host, canto_comm **out)
{
    *out = NULL;
    CANTO_TRY(canto_comm_shadow_host_open(device, host, &host));
    canto_comm *lane = NULL;
    const canto_status mine = create(canto_shadow_of(device), host, &lane);
    const canto_status status = canto_comm_agree(host, mine);
    if (status == CANTO_OK) {
        *out = lane;
    } else if (mine == CANTO_OK) {
        canto_comm_destroy(&lane);
    } else {
        canto_comm_destroy(&host);
    }
    return status;
}
