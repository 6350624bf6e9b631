// A decorator of any communicator: waits end after a time limit.
#define _GNU_SOURCE
#include "runtime/comm_base.h"

typedef struct checked_comm {
    canto_comm base;
    canto_comm *inner; // owned
    canto_comm_checks checks;
} checked_comm;

static canto_status checked_send(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    return canto_comm_send(((checked_comm *)base)->inner, peer, data, out);
}

static canto_status checked_recv(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    return canto_comm_recv(((checked_comm *)base)->inner, peer, data, out);
}

static canto_status checked_poll(canto_comm *base, canto_request *request, bool *done)
{
    return canto_comm_poll(((checked_comm *)base)->inner, request, done);
}

static canto_status checked_wait(canto_comm *base, canto_request *request)
{
    checked_comm *comm = (checked_comm *)base;
    const double start_s = canto_comm_clock_s();
    for (bool done = false; !done;) {
        CANTO_TRY(canto_comm_poll(comm->inner, request, &done));
        if (comm->checks.timeout_s > 0 && canto_comm_clock_s() - start_s > comm->checks.timeout_s) {
            CANTO_FAIL(CANTO_ERROR_TIMEOUT, "lane %s: no message within %g s", base->lane,
                       comm->checks.timeout_s);
        }
    }
    return CANTO_OK;
}

static canto_status checked_group_begin(canto_comm *base)
{
    return canto_comm_group_begin(((checked_comm *)base)->inner);
}

static canto_status checked_group_end(canto_comm *base)
{
    return canto_comm_group_end(((checked_comm *)base)->inner);
}

static canto_status checked_bcast(canto_comm *base, int root, canto_tensor data)
{
    return canto_comm_bcast(((checked_comm *)base)->inner, root, data);
}

static canto_status checked_gather_small(canto_comm *base, size_t bytes, const void *mine,
                                         void *all)
{
    return canto_comm_gather_small(((checked_comm *)base)->inner, bytes, mine, all);
}

static canto_status checked_split(canto_comm *base, const char *lane, int color, canto_comm **out)
{
    checked_comm *comm = (checked_comm *)base;
    canto_comm *inner;
    CANTO_TRY(canto_comm_split(comm->inner, lane, color, &inner));
    return canto_comm_checked_open(inner, comm->checks, out);
}

static void checked_destroy(canto_comm *base)
{
    checked_comm *comm = (checked_comm *)base;
    if (base->failed != CANTO_OK) comm->inner->failed = base->failed;
    canto_comm_destroy(&comm->inner);
    canto_comm_base_free(base);
}

static void checked_abort(canto_comm *base, int code)
{
    canto_comm_abort(((checked_comm *)base)->inner, code);
}

static const canto_comm_ops checked_ops = {
    .name = "checked",
    .send = checked_send,
    .recv = checked_recv,
    .wait = checked_wait,
    .poll = checked_poll,
    .group_begin = checked_group_begin,
    .group_end = checked_group_end,
    .bcast = checked_bcast,
    .gather_small = checked_gather_small,
    .split = checked_split,
    .destroy = checked_destroy,
    .abort = checked_abort,
};

canto_status canto_comm_checked_open(canto_comm *inner, canto_comm_checks checks, canto_comm **out)
{
    CANTO_TRY(canto_comm_base_create(sizeof(checked_comm), &checked_ops, inner->lane, inner->rank,
                                     inner->size, out));
    checked_comm *comm = (checked_comm *)*out;
    comm->inner = inner;
    comm->checks = checks;
    return CANTO_OK;
}
