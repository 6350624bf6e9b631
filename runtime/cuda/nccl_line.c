// The line of groups of a lane: each is given to NCCL when the one before it is in the stream, and
// leaves when its event has happened. Nothing here blocks but await_ranks, and take_group when the
// rank has run far ahead of its device.
#include "runtime/cuda/nccl_lane.h"

#include "runtime/clock.h"

#include <nccl.h>
#include <sched.h>
#include <stdlib.h>

static const double launch_s = 0.01; // longest time for it that a start takes

// --- errors ---

static bool nccl_goes_on(ncclResult_t result)
{
    return result == ncclSuccess || result == ncclInProgress;
}

canto_status canto_nccl_check(const canto_cuda_lane *lane, int code, const char *call)
{
    const ncclResult_t result = (ncclResult_t)code;
    if (nccl_goes_on(result)) return CANTO_OK;
    CANTO_FAIL(CANTO_ERROR_COMM, "lane %s: %s: %s: %.160s; NCCL_DEBUG=WARN tells more",
               lane->base.lane, call, ncclGetErrorString(result), ncclGetLastError(lane->nccl));
}

static canto_status check_cuda(const canto_cuda_lane *lane, cudaError_t result, const char *call)
{
    return canto_cuda_check(lane->cuda, (int)result, call);
}

// Every error of this lane passes through here on its way up, and becomes the error of all ranks.
canto_status canto_nccl_told(canto_cuda_lane *lane, canto_status status)
{
    return status == CANTO_OK ? CANTO_OK : canto_comm_fail(lane->host, status);
}

static bool out_of_time(const canto_cuda_lane *lane, double since_s)
{
    const double limit_s = lane->base.timeout_s;
    return limit_s > 0 && canto_clock_s() - since_s > limit_s;
}

static canto_status late(const canto_cuda_lane *lane, const canto_nccl_group *at, const char *what)
{
    CANTO_FAIL(CANTO_ERROR_TIMEOUT,
               "lane %s: rank %d waited %.3g s for the other ends of group %lld %s (%d messages, "
               "the first %s rank %d, %zu bytes); look there first",
               lane->base.lane, lane->base.rank, canto_clock_s() - at->since_s,
               (long long)at->number, what, at->messages, at->about.sending ? "to" : "from",
               at->about.peer, canto_tensor_bytes(&at->about.data));
}

// --- pools ---

static canto_status no_room(const canto_cuda_lane *lane, int n)
{
    CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for %d open messages", lane->base.lane, n);
}

canto_status canto_nccl_grow_messages(canto_cuda_lane *lane, int n)
{
    canto_nccl_message *list = realloc(lane->messages, (size_t)n * sizeof *list);
    if (!list) return no_room(lane, n);
    lane->messages = list;
    for (int i = n - 1; i >= lane->messages_n; i--) {
        list[i] = (canto_nccl_message){.next = lane->free_message};
        lane->free_message = i;
    }
    lane->messages_n = n;
    return CANTO_OK;
}

canto_status canto_nccl_take_message(canto_cuda_lane *lane, int *out)
{
    if (lane->free_message == CANTO_NCCL_NONE)
        CANTO_TRY(canto_nccl_grow_messages(lane, 2 * lane->messages_n));
    *out = lane->free_message;
    lane->free_message = lane->messages[*out].next;
    return CANTO_OK;
}

static canto_status make_event(const canto_cuda_lane *lane, cudaEvent_t *out)
{
    return check_cuda(lane, cudaEventCreateWithFlags(out, cudaEventDisableTiming),
                      "cudaEventCreateWithFlags");
}

canto_status canto_nccl_grow_groups(canto_cuda_lane *lane, int n)
{
    canto_nccl_group *list = realloc(lane->groups, (size_t)n * sizeof *list);
    if (!list) return no_room(lane, n);
    lane->groups = list;
    while (lane->groups_n < n) {
        canto_nccl_group *fresh = &list[lane->groups_n];
        *fresh = (canto_nccl_group){.state = CANTO_NCCL_FREE, .next = lane->free_group};
        lane->free_group = lane->groups_n++;
        CANTO_TRY(make_event(lane, &fresh->ready));
        CANTO_TRY(make_event(lane, &fresh->done));
    }
    return CANTO_OK;
}

void canto_nccl_give_group(canto_cuda_lane *lane, int index)
{
    lane->groups[index].state = CANTO_NCCL_FREE;
    lane->groups[index].next = lane->free_group;
    lane->free_group = index;
}

// --- the line of groups ---

static ncclDataType_t type_of(canto_dtype dtype)
{
    static const ncclDataType_t types[] = {
        [CANTO_F32] = ncclFloat32, [CANTO_F64] = ncclFloat64, [CANTO_I32] = ncclInt32,
        [CANTO_I64] = ncclInt64,   [CANTO_U8] = ncclUint8,
    };
    return types[dtype];
}

static ncclResult_t start_message(canto_cuda_lane *lane, const canto_nccl_message *at)
{
    const size_t count = (size_t)canto_tensor_count(&at->data);
    const ncclDataType_t type = type_of(at->data.dtype);
    return at->sending ? ncclSend(at->data.data, count, type, at->peer, lane->nccl, lane->stream)
                       : ncclRecv(at->data.data, count, type, at->peer, lane->nccl, lane->stream);
}

// All messages of a group. What has been started is ended, whatever happens in between.
static ncclResult_t start_messages(canto_cuda_lane *lane, const canto_nccl_group *at)
{
    ncclResult_t result = ncclGroupStart();
    if (!nccl_goes_on(result)) return result;
    for (int i = at->first; i != CANTO_NCCL_NONE && nccl_goes_on(result);
         i = lane->messages[i].next)
        result = start_message(lane, &lane->messages[i]);
    const ncclResult_t ended = ncclGroupEnd();
    return nccl_goes_on(result) ? ended : result;
}

static canto_status begin_launch(canto_cuda_lane *lane, canto_nccl_group *at)
{
    CANTO_TRY(
        check_cuda(lane, cudaStreamWaitEvent(lane->stream, at->ready, 0), "cudaStreamWaitEvent"));
    const ncclResult_t result = start_messages(lane, at);
    CANTO_TRY(canto_nccl_check(lane, (int)result, "ncclGroupEnd"));
    at->state = CANTO_NCCL_LAUNCHING;
    at->since_s = canto_clock_s();
    return CANTO_OK;
}

// What has gone wrong since; *busy: the last call has not ended yet.
static canto_status listen(const canto_cuda_lane *lane, bool *busy)
{
    ncclResult_t state = ncclSuccess;
    const ncclResult_t result = ncclCommGetAsyncError(lane->nccl, &state);
    CANTO_TRY(canto_nccl_check(lane, (int)result, "ncclCommGetAsyncError"));
    *busy = state == ncclInProgress;
    return canto_nccl_check(lane, (int)state, "a message, or a rank of it");
}

// Puts as many groups into the stream as NCCL takes without the host waiting for it.
static canto_status launch(canto_cuda_lane *lane)
{
    while (lane->launch != CANTO_NCCL_NONE) {
        canto_nccl_group *at = &lane->groups[lane->launch];
        if (at->state == CANTO_NCCL_QUEUED) CANTO_TRY(begin_launch(lane, at));
        bool busy;
        CANTO_TRY(listen(lane, &busy));
        if (busy) return out_of_time(lane, at->since_s) ? late(lane, at, "to begin") : CANTO_OK;
        CANTO_TRY(check_cuda(lane, cudaEventRecord(at->done, lane->stream), "cudaEventRecord"));
        at->state = CANTO_NCCL_RUNNING;
        at->since_s = 0;
        lane->launch = at->next;
    }
    return CANTO_OK;
}

// Takes groups out of the line that are done; the one in front waits for others as soon as the work
// before it is done.
static canto_status retire(canto_cuda_lane *lane)
{
    while (lane->front != CANTO_NCCL_NONE &&
           lane->groups[lane->front].state == CANTO_NCCL_RUNNING) {
        canto_nccl_group *at = &lane->groups[lane->front];
        bool done;
        CANTO_TRY(canto_cuda_query(lane->cuda, at->done, &done));
        if (!done && at->since_s == 0) {
            bool ready;
            CANTO_TRY(canto_cuda_query(lane->cuda, at->ready, &ready));
            if (ready) at->since_s = canto_clock_s();
        }
        if (!done)
            return at->since_s > 0 && out_of_time(lane, at->since_s) ? late(lane, at, "to end")
                                                                     : CANTO_OK;
        const int index = lane->front;
        lane->front = at->next;
        if (lane->front == CANTO_NCCL_NONE) lane->back = CANTO_NCCL_NONE;
        at->state = CANTO_NCCL_DONE;
        if (at->open == 0) canto_nccl_give_group(lane, index);
    }
    return CANTO_OK;
}

canto_status canto_nccl_turn(canto_cuda_lane *lane)
{
    bool busy;
    CANTO_TRY(canto_comm_poll(lane->host, NULL, NULL)); // the alarm
    CANTO_TRY(listen(lane, &busy));
    CANTO_TRY(launch(lane));
    return retire(lane);
}

canto_status canto_cuda_lanes_turn(canto_cuda *cuda)
{
    for (canto_cuda_lane *lane = cuda->lanes; lane; lane = lane->next)
        CANTO_TRY(canto_nccl_told(lane, canto_nccl_turn(lane)));
    return CANTO_OK;
}

canto_status canto_cuda_lanes_fail(canto_cuda *cuda, canto_status status)
{
    for (canto_cuda_lane *lane = cuda->lanes; lane; lane = lane->next)
        status = canto_comm_fail(lane->host, status);
    return status;
}

// A rank that runs far ahead of its device waits here for what is oldest, rather than take more
// memory in a step; not for a group that somebody may still wait for before he goes on.
canto_status canto_nccl_take_group(canto_cuda_lane *lane, int *out)
{
    while (lane->free_group == CANTO_NCCL_NONE) {
        if (lane->front == CANTO_NCCL_NONE || lane->groups[lane->front].open > 0) {
            CANTO_TRY(canto_nccl_grow_groups(lane, 2 * lane->groups_n));
        } else {
            CANTO_TRY(canto_cuda_lanes_turn(lane->cuda));
            sched_yield();
        }
    }
    *out = lane->free_group;
    canto_nccl_group *at = &lane->groups[*out];
    lane->free_group = at->next;
    *at = (canto_nccl_group){.state = CANTO_NCCL_FILLING,
                             .ready = at->ready,
                             .done = at->done,
                             .first = CANTO_NCCL_NONE,
                             .last = CANTO_NCCL_NONE,
                             .number = lane->started++,
                             .next = CANTO_NCCL_NONE};
    return CANTO_OK;
}

canto_status canto_nccl_join_line(canto_cuda_lane *lane, int index)
{
    canto_nccl_group *at = &lane->groups[index];
    CANTO_TRY(check_cuda(lane, cudaEventRecord(at->ready, lane->cuda->compute), "cudaEventRecord"));
    at->state = CANTO_NCCL_QUEUED;
    if (lane->back == CANTO_NCCL_NONE)
        lane->front = index;
    else
        lane->groups[lane->back].next = index;
    lane->back = index;
    if (lane->launch == CANTO_NCCL_NONE) lane->launch = index;
    // The host may now be long elsewhere: the group had better be in the stream.
    const double since_s = canto_clock_s();
    for (;;) {
        CANTO_TRY(launch(lane));
        if (lane->launch == CANTO_NCCL_NONE || canto_clock_s() - since_s > launch_s)
            return CANTO_OK;
    }
}

// The end of a call that may take the other ranks, too.
canto_status canto_nccl_await_ranks(canto_cuda_lane *lane, const char *call)
{
    const double since_s = canto_clock_s();
    for (bool busy = true;;) {
        CANTO_TRY(listen(lane, &busy));
        if (!busy) return CANTO_OK;
        CANTO_TRY(canto_comm_poll(lane->host, NULL, NULL));
        if (out_of_time(lane, since_s))
            CANTO_FAIL(CANTO_ERROR_TIMEOUT,
                       "lane %s: %s: rank %d waited %.3g s for the other %d ranks; see whether "
                       "one of them has ended, and whether their GPUs can reach each other",
                       lane->base.lane, call, lane->base.rank, canto_clock_s() - since_s,
                       lane->base.size - 1);
        sched_yield();
    }
}
