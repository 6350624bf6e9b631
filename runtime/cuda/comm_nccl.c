// Lanes of a CUDA device over NCCL: one NCCL communicator and one stream each, opened over the host
// lane that they own, which also carries what is small (broadcasts, gathers, splits) and the alarm.
// Compiled and emulated, not yet run on a GPU.
//
//     start      the group's `ready` event is recorded on the compute stream; the lane's stream
//                waits for it, then come the group's sends and receives, then its `done` event
//     wait       the compute stream waits for `done`; the host goes on
//     poll       done, once the event has happened
//
// A message that is started alone is a group of one. ncclGroupEnd may only begin, and nothing may
// follow on the lane before it has ended: so groups stand in a line, and a wait blocks until its
// group is in the stream. The first message between two ranks makes NCCL connect them, which takes
// both, perhaps while one of them waits for the other elsewhere: so all are connected when the lane
// is opened. Groups are given to NCCL whole: one that is never closed leaves nothing behind there,
// and groups of two lanes do not mix.
//
// Sends what it is told to; when it is opened, 128 bytes from rank 0 and a byte from each rank to
// each. Keeps two events and a few words for each group under way.
#include "runtime/cuda/nccl_lane.h"

#include <nccl.h>
#include <sched.h>
#include <stdlib.h>

enum { CTAS_MAX = 16 }; // a message needs bandwidth, not every multiprocessor

// --- the table ---

static canto_status start(canto_cuda_lane *lane, bool sending, int peer, canto_tensor data,
                          canto_request *out)
{
    int index = CANTO_NCCL_NONE;
    if (lane->filling == CANTO_NCCL_NONE) CANTO_TRY(canto_nccl_take_group(lane, &lane->filling));
    CANTO_TRY(canto_nccl_take_message(lane, &index));
    canto_nccl_group *at = &lane->groups[lane->filling];
    lane->messages[index] = (canto_nccl_message){.used = true,
                                                 .sending = sending,
                                                 .peer = peer,
                                                 .data = data,
                                                 .group = lane->filling,
                                                 .next = CANTO_NCCL_NONE};
    if (at->last == CANTO_NCCL_NONE) {
        at->first = index;
        at->about = lane->messages[index];
    } else {
        lane->messages[at->last].next = index;
    }
    at->last = index;
    at->messages++;
    at->open++;
    *out = index + 1;
    if (lane->grouping) return CANTO_OK;
    const int alone = lane->filling;
    lane->filling = CANTO_NCCL_NONE;
    return canto_nccl_join_line(lane, alone);
}

static canto_status nccl_send(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    return canto_nccl_told(lane, start(lane, true, peer, data, out));
}

static canto_status nccl_recv(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    return canto_nccl_told(lane, start(lane, false, peer, data, out));
}

static canto_status group_begin(canto_cuda_lane *lane)
{
    CANTO_CHECK(!lane->grouping, "lane %s: a group inside a group", lane->base.lane);
    lane->grouping = true;
    return CANTO_OK;
}

static canto_status group_end(canto_cuda_lane *lane)
{
    CANTO_CHECK(lane->grouping, "lane %s: no group to end", lane->base.lane);
    lane->grouping = false;
    const int filled = lane->filling;
    lane->filling = CANTO_NCCL_NONE;
    return filled == CANTO_NCCL_NONE ? CANTO_OK : canto_nccl_join_line(lane, filled);
}

static canto_status nccl_group_begin(canto_comm *base)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    return canto_nccl_told(lane, group_begin(lane));
}

static canto_status nccl_group_end(canto_comm *base)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    return canto_nccl_told(lane, group_end(lane));
}

static canto_status find(const canto_cuda_lane *lane, canto_request request, int *out)
{
    CANTO_CHECK(request > 0 && request <= lane->messages_n && lane->messages[request - 1].used,
                "lane %s: request %lld is not open", lane->base.lane, (long long)request);
    *out = (int)request - 1;
    CANTO_CHECK(lane->groups[lane->messages[*out].group].state != CANTO_NCCL_FILLING,
                "lane %s: request %lld is in a group that is not ended yet", lane->base.lane,
                (long long)request);
    return CANTO_OK;
}

static void close_message(canto_cuda_lane *lane, int index, canto_request *request)
{
    const int of = lane->messages[index].group;
    lane->messages[index] = (canto_nccl_message){.next = lane->free_message};
    lane->free_message = index;
    *request = CANTO_REQUEST_NONE;
    lane->groups[of].open--;
    if (lane->groups[of].open == 0 && lane->groups[of].state == CANTO_NCCL_DONE)
        canto_nccl_give_group(lane, of);
}

static canto_status wait(canto_cuda_lane *lane, canto_request *request)
{
    int index = CANTO_NCCL_NONE;
    CANTO_TRY(find(lane, *request, &index));
    const int of = lane->messages[index].group;
    while (lane->groups[of].state < CANTO_NCCL_RUNNING) {
        CANTO_TRY(canto_cuda_lanes_turn(lane->cuda));
        if (lane->groups[of].state < CANTO_NCCL_RUNNING) sched_yield();
    }
    CANTO_TRY(canto_cuda_check(
        lane->cuda, (int)cudaStreamWaitEvent(lane->cuda->compute, lane->groups[of].done, 0),
        "cudaStreamWaitEvent"));
    close_message(lane, index, request);
    return CANTO_OK;
}

static canto_status nccl_wait(canto_comm *base, canto_request *request)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    return canto_nccl_told(lane, wait(lane, request));
}

static canto_status poll(canto_cuda_lane *lane, canto_request *request, bool *done)
{
    CANTO_TRY(canto_nccl_turn(lane));
    if (!request) return CANTO_OK;
    int index = CANTO_NCCL_NONE;
    CANTO_TRY(find(lane, *request, &index));
    *done = lane->groups[lane->messages[index].group].state == CANTO_NCCL_DONE;
    if (*done) close_message(lane, index, request);
    return CANTO_OK;
}

static canto_status nccl_poll(canto_comm *base, canto_request *request, bool *done)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    return canto_nccl_told(lane, poll(lane, request, done));
}

static canto_status reserve(canto_cuda_lane *lane, int messages)
{
    if (messages > lane->messages_n) CANTO_TRY(canto_nccl_grow_messages(lane, messages));
    const int groups = messages + CANTO_NCCL_GROUPS_FIRST;
    return groups > lane->groups_n ? canto_nccl_grow_groups(lane, groups) : CANTO_OK;
}

static canto_status nccl_reserve(canto_comm *base, int messages)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    return canto_nccl_told(lane, reserve(lane, messages));
}

// --- what the host lane does ---

static canto_status nccl_bcast(canto_comm *base, int root, canto_tensor data)
{
    return canto_comm_bcast(((canto_cuda_lane *)base)->host, root, data);
}

static canto_status nccl_gather_small(canto_comm *base, size_t bytes, const void *mine, void *all)
{
    return canto_comm_gather_small(((canto_cuda_lane *)base)->host, bytes, mine, all);
}

static canto_status nccl_split(canto_comm *base, const char *name, int color, canto_comm **out)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    canto_comm *host;
    CANTO_TRY(canto_comm_split(lane->host, name, color, &host));
    return canto_cuda_lane_open(lane->cuda, host, out);
}

static canto_status nccl_fail(canto_comm *base, canto_status status)
{
    return canto_comm_fail(((canto_cuda_lane *)base)->host, status);
}

static void nccl_abort(canto_comm *base, int code)
{
    canto_comm_abort(((canto_cuda_lane *)base)->host, code);
}

// --- opening and closing ---

// All that was started is done, and NCCL has told the other ranks so.
static canto_status close_nccl(canto_cuda_lane *lane)
{
    while (lane->front != CANTO_NCCL_NONE) {
        CANTO_TRY(canto_nccl_turn(lane));
        sched_yield();
    }
    const ncclResult_t result = ncclCommFinalize(lane->nccl);
    CANTO_TRY(canto_nccl_check(lane, (int)result, "ncclCommFinalize"));
    return canto_nccl_await_ranks(lane, "ncclCommFinalize");
}

static void free_parts(canto_cuda_lane *lane)
{
    for (int i = 0; i < lane->groups_n; i++) {
        if (lane->groups[i].ready) (void)cudaEventDestroy(lane->groups[i].ready);
        if (lane->groups[i].done) (void)cudaEventDestroy(lane->groups[i].done);
    }
    if (lane->stream) (void)cudaStreamDestroy(lane->stream);
    free(lane->groups);
    free(lane->messages);
    canto_comm_base_free(&lane->base);
}

static void leave_device(canto_cuda_lane *lane)
{
    canto_cuda_lane **at = &lane->cuda->lanes;
    while (*at && *at != lane) at = &(*at)->next;
    if (*at) *at = lane->next;
}

// There is nobody to return an error to; one that is found here makes the rest local.
static void nccl_destroy(canto_comm *base)
{
    canto_cuda_lane *lane = (canto_cuda_lane *)base;
    canto_comm *host = lane->host;
    canto_status status = base->failed != CANTO_OK ? base->failed : host->failed;
    if (status == CANTO_OK) status = canto_nccl_told(lane, close_nccl(lane));
    if (status != CANTO_OK && host->failed == CANTO_OK) host->failed = status;
    if (lane->nccl && status == CANTO_OK) (void)ncclCommDestroy(lane->nccl);
    if (lane->nccl && status != CANTO_OK) (void)ncclCommAbort(lane->nccl);
    leave_device(lane);
    free_parts(lane);
    canto_comm_destroy(&host);
}

static const canto_comm_ops nccl_ops = {
    .name = "nccl",
    .send = nccl_send,
    .recv = nccl_recv,
    .wait = nccl_wait,
    .poll = nccl_poll,
    .reserve = nccl_reserve,
    .group_begin = nccl_group_begin,
    .group_end = nccl_group_end,
    .bcast = nccl_bcast,
    .gather_small = nccl_gather_small,
    .split = nccl_split,
    .fail = nccl_fail,
    .destroy = nccl_destroy,
    .abort = nccl_abort,
};

// Messages go before other work wherever both could run.
static canto_status make_stream(canto_cuda_lane *lane)
{
    int least, greatest;
    CANTO_TRY(canto_cuda_check(lane->cuda, (int)cudaDeviceGetStreamPriorityRange(&least, &greatest),
                               "cudaDeviceGetStreamPriorityRange"));
    return canto_cuda_check(
        lane->cuda, cudaStreamCreateWithPriority(&lane->stream, cudaStreamNonBlocking, greatest),
        "cudaStreamCreateWithPriority");
}

static canto_status make_parts(canto_cuda_lane *lane, ncclUniqueId *id)
{
    CANTO_TRY(make_stream(lane));
    CANTO_TRY(canto_nccl_grow_messages(lane, CANTO_NCCL_MESSAGES_FIRST));
    CANTO_TRY(canto_nccl_grow_groups(lane, CANTO_NCCL_GROUPS_FIRST));
    if (lane->base.rank != 0) return CANTO_OK;
    const ncclResult_t result = ncclGetUniqueId(id);
    return canto_nccl_check(lane, (int)result, "ncclGetUniqueId");
}

static canto_status create(canto_cuda *cuda, canto_comm *host, ncclUniqueId *id,
                           canto_cuda_lane **out)
{
    canto_comm *base;
    CANTO_TRY(canto_comm_base_create(sizeof(canto_cuda_lane), &nccl_ops, host->lane, host->rank,
                                     host->size, &base));
    canto_cuda_lane *lane = *out = (canto_cuda_lane *)base;
    base->timeout_s = host->timeout_s;
    lane->cuda = cuda;
    lane->host = host;
    lane->free_group = lane->free_message = CANTO_NCCL_NONE;
    lane->filling = lane->front = lane->back = lane->launch = CANTO_NCCL_NONE;
    return make_parts(lane, id);
}

static canto_status join_ranks(canto_cuda_lane *lane, ncclUniqueId id)
{
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.maxCTAs = CTAS_MAX;
    const ncclResult_t result =
        ncclCommInitRankConfig(&lane->nccl, lane->base.size, id, lane->base.rank, &config);
    CANTO_TRY(canto_nccl_check(lane, (int)result, "ncclCommInitRankConfig"));
    return canto_nccl_await_ranks(lane, "ncclCommInitRankConfig");
}

// Every pair of ranks exchanges a byte, in memory that only products use.
static canto_status connect_ranks(canto_cuda_lane *lane)
{
    char *const bytes = lane->cuda->workspace;
    canto_request request;
    CANTO_TRY(group_begin(lane));
    for (int i = 0; i < 2 * lane->base.size; i++) {
        if (i / 2 == lane->base.rank) continue;
        const canto_tensor byte = canto_tensor_vector(CANTO_U8, bytes + i, 1);
        CANTO_TRY(start(lane, i % 2, i / 2, byte, &request));
    }
    CANTO_TRY(group_end(lane));
    for (int i = 0; i < lane->messages_n; i++) {
        request = i + 1;
        if (lane->messages[i].used) CANTO_TRY(wait(lane, &request));
    }
    lane->started = 0;
    return canto_device_finish(&lane->cuda->base);
}

// No rank starts to wait for NCCL before all of them can.
static canto_status open_together(canto_cuda *cuda, canto_comm *host, canto_cuda_lane **out)
{
    ncclUniqueId id = {0};
    CANTO_TRY(canto_comm_agree(host, create(cuda, host, &id, out)));
    CANTO_TRY(canto_comm_bcast(host, 0, canto_tensor_vector(CANTO_U8, &id, sizeof id)));
    canto_cuda_lane *lane = *out;
    CANTO_TRY(canto_nccl_told(lane, join_ranks(lane, id)));
    lane->next = cuda->lanes;
    cuda->lanes = lane;
    return canto_nccl_told(lane, connect_ranks(lane));
}

static canto_status open_lane(canto_cuda *cuda, canto_comm *host, canto_comm **out)
{
    *out = NULL;
    canto_cuda_lane *lane = NULL;
    const canto_status status = open_together(cuda, host, &lane);
    if (status == CANTO_OK) {
        *out = &lane->base;
        return CANTO_OK;
    }
    if (host->failed == CANTO_OK) host->failed = status;
    if (lane)
        nccl_destroy(&lane->base);
    else
        canto_comm_destroy(&host);
    return status;
}

// What traces host traces the lane: messages from their start to the host's wait.
canto_status canto_cuda_lane_open(canto_cuda *cuda, canto_comm *host, canto_comm **out)
{
    *out = host;
    if (host->size == 1) return CANTO_OK; // it has nobody to talk to
    canto_comm **const traced = canto_comm_traced_inner(host);
    if (!traced) return open_lane(cuda, host, out);
    const canto_status status = open_lane(cuda, *traced, traced);
    if (status != CANTO_OK) canto_comm_destroy(out);
    return status;
}
