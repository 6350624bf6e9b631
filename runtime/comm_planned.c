// The communicator of a rank of a job that does not run: for plans, which ask who they are and make
// everything, but send nothing. Small collectives answer as if every rank had said what this one
// says.
#include "runtime/comm_base.h"

#include <string.h>

static canto_status planned_message(canto_comm *comm, int peer, canto_tensor data,
                                    canto_request *out)
{
    (void)data, (void)out;
    CANTO_FAIL(CANTO_ERROR_ARGUMENT, "lane %s: a planned rank cannot talk to rank %d", comm->lane,
               peer);
}

static canto_status planned_wait(canto_comm *comm, canto_request *request)
{
    CANTO_FAIL(CANTO_ERROR_ARGUMENT, "lane %s: request %lld was never started", comm->lane,
               (long long)*request);
}

static canto_status planned_poll(canto_comm *comm, canto_request *request, bool *done)
{
    if (!request) return CANTO_OK;
    *done = false;
    return planned_wait(comm, request);
}

static canto_status planned_reserve(canto_comm *comm, int messages)
{
    (void)comm, (void)messages;
    return CANTO_OK;
}

static canto_status planned_group(canto_comm *comm)
{
    (void)comm;
    return CANTO_OK;
}

static canto_status planned_bcast(canto_comm *comm, int root, canto_tensor data)
{
    (void)comm, (void)root, (void)data;
    return CANTO_OK;
}

static canto_status planned_gather_small(canto_comm *comm, size_t bytes, const void *mine,
                                         void *all)
{
    for (int r = 0; r < comm->size; r++) memcpy((char *)all + (size_t)r * bytes, mine, bytes);
    return CANTO_OK;
}

static canto_status planned_split(canto_comm *comm, const char *lane, int color, canto_comm **out)
{
    (void)color;
    return canto_comm_planned_open(lane, comm->rank, comm->size, out);
}

static void planned_abort(canto_comm *comm, int code)
{
    (void)comm, (void)code;
}

static const canto_comm_ops planned_ops = {
    .name = "planned",
    .send = planned_message,
    .recv = planned_message,
    .wait = planned_wait,
    .poll = planned_poll,
    .reserve = planned_reserve,
    .group_begin = planned_group,
    .group_end = planned_group,
    .bcast = planned_bcast,
    .gather_small = planned_gather_small,
    .split = planned_split,
    .destroy = canto_comm_base_free,
    .abort = planned_abort,
};

canto_status canto_comm_planned_open(const char *lane, int rank, int size, canto_comm **out)
{
    CANTO_CHECK(size > 0 && rank >= 0 && rank < size, "lane %s: there is no rank %d of %d to plan",
                lane, rank, size);
    return canto_comm_base_create(sizeof(canto_comm), &planned_ops, lane, rank, size, out);
}
