// A decorator of any communicator for a device that goes on only when its host lets it: before and
// while an operation blocks, the device's work goes on. A rank that waits here may thus be waited
// for by another rank's device.
//
// A collective is preceded by one message of a byte to and from every other rank, on a lane of its
// own, which is waited for by polling; then all ranks are there, and the collective itself is
// short.
#include "runtime/comm_base.h"
#include "runtime/shadow/device.h"

#include <stdlib.h>

typedef struct shadow_host {
    canto_comm base;
    canto_comm *inner;           // owned
    canto_comm *roll;            // owned: where ranks tell that they are there
    canto_shadow_device *device; // borrowed
    canto_request *requests;     // owned, [2 * size]
    char here, *heard;           // heard: owned, [size]
} shadow_host;

// Finishes a message of `comm`. With nothing to do for the device, the communicator may block.
static canto_status await(const shadow_host *host, canto_comm *comm, canto_request *request)
{
    canto_shadow_streams *streams = host->device->streams;
    double since_s = 0;
    for (bool done = false; !done;) {
        if (canto_shadow_idle(streams)) return canto_comm_wait(comm, request);
        bool moved;
        CANTO_TRY(canto_shadow_turn(streams, &moved));
        CANTO_TRY(canto_comm_poll(comm, request, &done));
        if (moved) since_s = 0;
        if (!moved && !done) CANTO_TRY(canto_shadow_check_stall(streams, &since_s));
    }
    return CANTO_OK;
}

// Until every rank is here.
static canto_status call_the_roll(shadow_host *host)
{
    const int size = host->base.size;
    for (int r = 0; r < size; r++) {
        host->requests[r] = host->requests[size + r] = CANTO_REQUEST_NONE;
        if (r == host->base.rank) continue;
        CANTO_TRY(canto_comm_recv(host->roll, r, canto_tensor_vector(CANTO_U8, &host->heard[r], 1),
                                  &host->requests[r]));
        CANTO_TRY(canto_comm_send(host->roll, r, canto_tensor_vector(CANTO_U8, &host->here, 1),
                                  &host->requests[size + r]));
    }
    for (int i = 0; i < 2 * size; i++) {
        if (host->requests[i] != CANTO_REQUEST_NONE)
            CANTO_TRY(await(host, host->roll, &host->requests[i]));
    }
    return CANTO_OK;
}

// --- the table ---

static canto_status host_send(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    return canto_comm_send(((shadow_host *)base)->inner, peer, data, out);
}

static canto_status host_recv(canto_comm *base, int peer, canto_tensor data, canto_request *out)
{
    return canto_comm_recv(((shadow_host *)base)->inner, peer, data, out);
}

static canto_status host_wait(canto_comm *base, canto_request *request)
{
    const shadow_host *host = (shadow_host *)base;
    return await(host, host->inner, request);
}

static canto_status host_poll(canto_comm *base, canto_request *request, bool *done)
{
    const shadow_host *host = (shadow_host *)base;
    CANTO_TRY(canto_shadow_let_run(host->device->streams));
    return canto_comm_poll(host->inner, request, done);
}

static canto_status host_reserve(canto_comm *base, int messages)
{
    return canto_comm_reserve(((shadow_host *)base)->inner, messages);
}

static canto_status host_group_begin(canto_comm *base)
{
    return canto_comm_group_begin(((shadow_host *)base)->inner);
}

static canto_status host_group_end(canto_comm *base)
{
    return canto_comm_group_end(((shadow_host *)base)->inner);
}

static canto_status host_bcast(canto_comm *base, int root, canto_tensor data)
{
    shadow_host *host = (shadow_host *)base;
    CANTO_TRY(call_the_roll(host));
    return canto_comm_bcast(host->inner, root, data);
}

static canto_status host_gather_small(canto_comm *base, size_t bytes, const void *mine, void *all)
{
    shadow_host *host = (shadow_host *)base;
    CANTO_TRY(call_the_roll(host));
    return canto_comm_gather_small(host->inner, bytes, mine, all);
}

static canto_status host_split(canto_comm *base, const char *lane, int color, canto_comm **out)
{
    shadow_host *host = (shadow_host *)base;
    canto_comm *inner;
    CANTO_TRY(call_the_roll(host));
    CANTO_TRY(canto_comm_split(host->inner, lane, color, &inner));
    return canto_comm_shadow_host_open(&host->device->base, inner, out);
}

static canto_status host_fail(canto_comm *base, canto_status status)
{
    return canto_comm_fail(((shadow_host *)base)->inner, status);
}

// After an error the rest is local.
static void close_both(shadow_host *host, canto_status status)
{
    if (status != CANTO_OK && host->roll) host->roll->failed = status;
    if (status != CANTO_OK && host->inner) host->inner->failed = status;
    canto_comm_destroy(&host->roll);
    canto_comm_destroy(&host->inner);
    free(host->requests);
    free(host->heard);
    canto_comm_base_free(&host->base);
}

static void host_destroy(canto_comm *base)
{
    shadow_host *host = (shadow_host *)base;
    close_both(host, base->failed != CANTO_OK ? base->failed : call_the_roll(host));
}

static void host_abort(canto_comm *base, int code)
{
    canto_comm_abort(((shadow_host *)base)->inner, code);
}

static const canto_comm_ops host_ops = {
    .name = "shadow host",
    .send = host_send,
    .recv = host_recv,
    .wait = host_wait,
    .poll = host_poll,
    .reserve = host_reserve,
    .group_begin = host_group_begin,
    .group_end = host_group_end,
    .bcast = host_bcast,
    .gather_small = host_gather_small,
    .split = host_split,
    .fail = host_fail,
    .destroy = host_destroy,
    .abort = host_abort,
};

canto_comm *canto_comm_shadow_host_inner(const canto_comm *host)
{
    return ((const shadow_host *)host)->inner;
}

// --- opening ---

static canto_status create(canto_shadow_device *device, const canto_comm *inner, shadow_host **out)
{
    canto_comm *base = NULL;
    CANTO_TRY(canto_comm_base_create(sizeof(shadow_host), &host_ops, inner->lane, inner->rank,
                                     inner->size, &base));
    shadow_host *host = *out = (shadow_host *)base;
    base->trace = inner->trace;
    host->device = device;
    host->requests = calloc(2 * (size_t)base->size, sizeof *host->requests);
    host->heard = calloc((size_t)base->size, 1);
    if (!host->requests || !host->heard)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for %d ranks", base->lane, base->size);
    return CANTO_OK;
}

canto_status canto_comm_shadow_host_open(const canto_device *device, canto_comm *inner,
                                         canto_comm **out)
{
    *out = inner;
    if (inner->ops == &host_ops) return CANTO_OK; // it is one
    shadow_host *host = NULL;
    canto_status status = canto_comm_agree(inner, create(canto_shadow_of(device), inner, &host));
    if (status == CANTO_OK) status = canto_comm_split(inner, "roll", 0, &host->roll);
    if (status == CANTO_OK) status = canto_comm_reserve(host->roll, 2 * inner->size);
    *out = status == CANTO_OK ? &host->base : NULL;
    if (host) host->inner = inner;
    if (host && status != CANTO_OK) close_both(host, status);
    if (!host) canto_comm_destroy(&inner);
    return status;
}
