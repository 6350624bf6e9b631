// The communicator of a single rank: there is nobody to send to, and collectives are copies.
#include "runtime/comm_base.h"

#include <stdlib.h>
#include <string.h>

// canto_comm_send refuses every peer before these are reached.
static canto_status self_message(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    (void)data, (void)out;
    CANTO_FAIL(CANTO_ERROR_ARGUMENT, "lane %s: a single rank has no rank %d to talk to", comm->lane,
               peer);
}

static canto_status self_wait(canto_comm *comm, canto_request *request)
{
    CANTO_FAIL(CANTO_ERROR_ARGUMENT, "lane %s: request %lld was never started", comm->lane,
               (long long)*request);
}

static canto_status self_poll(canto_comm *comm, canto_request *request, bool *done)
{
    if (!request) return CANTO_OK;
    *done = false;
    return self_wait(comm, request);
}

static canto_status self_reserve(canto_comm *comm, int messages)
{
    (void)comm, (void)messages;
    return CANTO_OK;
}

static canto_status self_group(canto_comm *comm)
{
    (void)comm;
    return CANTO_OK;
}

static canto_status self_bcast(canto_comm *comm, int root, canto_tensor data)
{
    (void)comm, (void)root, (void)data;
    return CANTO_OK;
}

static canto_status self_gather_small(canto_comm *comm, size_t bytes, const void *mine, void *all)
{
    (void)comm;
    memcpy(all, mine, bytes);
    return CANTO_OK;
}

static canto_status self_open(const char *lane, canto_comm **out);

static canto_status self_split(canto_comm *comm, const char *lane, int color, canto_comm **out)
{
    (void)comm, (void)color;
    return self_open(lane, out);
}

static void self_abort(canto_comm *comm, int code)
{
    (void)comm;
    exit(code);
}

static const canto_comm_ops self_ops = {
    .name = "self",
    .send = self_message,
    .recv = self_message,
    .wait = self_wait,
    .poll = self_poll,
    .reserve = self_reserve,
    .group_begin = self_group,
    .group_end = self_group,
    .bcast = self_bcast,
    .gather_small = self_gather_small,
    .split = self_split,
    .destroy = canto_comm_base_free,
    .abort = self_abort,
};

static canto_status self_open(const char *lane, canto_comm **out)
{
    return canto_comm_base_create(sizeof(canto_comm), &self_ops, lane, 0, 1, out);
}

canto_status canto_comm_self_open(canto_comm **out)
{
    return self_open("world", out);
}
