// Collectives of a checked communicator, made of messages so that they can time out and hear the
// alarm. In round k a rank talks to the ranks 2^k further and 2^k back. With headers, every rank
// first compares what it is about to do with the ranks it will get data from, in ceil(log2 W)
// headers; the data follow the same edges: a gather by Bruck's algorithm in ceil(log2 W) messages,
// a broadcast along a binomial tree in at most that many.
#include "runtime/comm_checked.h"

#include "runtime/clock.h"

#include <string.h>

enum { NOBODY = -1 };

typedef struct collective {
    canto_collective which;
    int root;
    size_t bytes;
    int64_t number;
} collective;

static int rank_at(const canto_checked *comm, int distance)
{
    const int size = comm->base.size;
    return (comm->base.rank + distance % size + size) % size;
}

static canto_blocked blocked_on(const collective *what, int peer, bool announced)
{
    return (canto_blocked){.peer = peer,
                           .deed = CANTO_COLLECTIVE,
                           .number = what->number,
                           .bytes = what->bytes,
                           .kind = canto_collective_name(what->which),
                           .announced = announced,
                           .since_s = canto_clock_s()};
}

static canto_status compare(const canto_checked *comm, const collective *mine, int peer,
                            const canto_header *theirs)
{
    if (theirs->which == (int32_t)mine->which && theirs->root == mine->root &&
        theirs->bytes == (int64_t)mine->bytes && theirs->number == mine->number) {
        return CANTO_OK;
    }
    CANTO_FAIL(
        CANTO_ERROR_MISMATCH,
        "lane %s: collective %lld: rank %d begins a %s of %lld bytes (root %d), rank %d a %s "
        "of %zu bytes (root %d)",
        comm->base.lane, (long long)mine->number, comm->names[peer],
        canto_collective_name((canto_collective)theirs->which), (long long)theirs->bytes,
        comm->names[theirs->root], comm->names[comm->base.rank], canto_collective_name(mine->which),
        mine->bytes, comm->names[mine->root]);
}

static canto_status finish(canto_checked *comm, canto_comm *lane, canto_request *request,
                           canto_blocked blocked)
{
    for (bool done = false; !done;) {
        CANTO_TRY(canto_comm_poll(lane, request, &done));
        if (!done) CANTO_TRY(canto_checked_turn(comm, &blocked));
    }
    return CANTO_OK;
}

static canto_status expect_header(canto_checked *comm, const collective *what, int peer)
{
    canto_blocked blocked = blocked_on(what, peer, false);
    canto_header theirs;
    while (!canto_headers_take(comm, &comm->peers[peer].pairs[CANTO_COLLECTIVE], &theirs)) {
        CANTO_TRY(canto_checked_turn(comm, &blocked));
    }
    return compare(comm, what, peer, &theirs);
}

static canto_status begin(canto_checked *comm, collective *what)
{
    what->number = comm->collectives++;
    if (!comm->headers) return CANTO_OK;
    comm->collective = (canto_header){.what = CANTO_COLLECTIVE,
                                      .which = what->which,
                                      .root = what->root,
                                      .bytes = (int64_t)what->bytes,
                                      .number = what->number};
    const canto_tensor data =
        canto_tensor_vector(CANTO_U8, &comm->collective, sizeof comm->collective);
    for (int far = 1; far < comm->base.size; far *= 2) {
        CANTO_TRY(canto_headers_listen(comm, rank_at(comm, -far)));
        CANTO_TRY(canto_headers_listen(comm, rank_at(comm, far)));
    }
    for (int far = 1; far < comm->base.size; far *= 2) {
        const int to = rank_at(comm, far);
        const int from = rank_at(comm, -far);
        canto_request sent;
        CANTO_TRY(canto_comm_send(comm->headers, to, data, &sent));
        comm->peers[to].pairs[CANTO_COLLECTIVE].started++;
        CANTO_TRY(expect_header(comm, what, from));
        CANTO_TRY(finish(comm, comm->headers, &sent, blocked_on(what, to, false)));
    }
    return CANTO_OK;
}

// One message out and one in; NOBODY leaves one of them away.
static canto_status exchange(canto_checked *comm, const collective *what, int to, canto_tensor out,
                             int from, canto_tensor in)
{
    canto_request sent = CANTO_REQUEST_NONE;
    canto_request received = CANTO_REQUEST_NONE;
    const bool announced = comm->headers != NULL;
    if (from != NOBODY) CANTO_TRY(canto_comm_recv(comm->small, from, in, &received));
    if (to != NOBODY) CANTO_TRY(canto_comm_send(comm->small, to, out, &sent));
    CANTO_TRY(finish(comm, comm->small, &received, blocked_on(what, from, announced)));
    return finish(comm, comm->small, &sent, blocked_on(what, to, announced));
}

static canto_status gather(canto_checked *comm, collective what, const void *mine, void *all)
{
    const int size = comm->base.size;
    const size_t bytes = what.bytes;
    CANTO_TRY(begin(comm, &what));
    // Record i is that of the rank i back. Nobody else uses the records of this lane.
    char *records = comm->small->scratch;
    memcpy(records, mine, bytes);
    for (int have = 1; have < size; have *= 2) {
        const int more = have < size - have ? have : size - have;
        const int64_t n = (int64_t)bytes * more;
        CANTO_TRY(exchange(comm, &what, rank_at(comm, have),
                           canto_tensor_vector(CANTO_U8, records, n), rank_at(comm, -have),
                           canto_tensor_vector(CANTO_U8, records + bytes * (size_t)have, n)));
    }
    for (int i = 0; i < size; i++) {
        memcpy((char *)all + bytes * (size_t)rank_at(comm, -i), records + bytes * (size_t)i, bytes);
    }
    return CANTO_OK;
}

canto_status canto_checked_gather_small(canto_comm *base, size_t bytes, const void *mine, void *all)
{
    const collective what = {.which = CANTO_GATHER, .bytes = bytes};
    return gather((canto_checked *)base, what, mine, all);
}

canto_status canto_checked_gather_colors(canto_checked *comm, const int *color, int *all)
{
    const collective what = {.which = CANTO_SPLIT, .bytes = sizeof *color};
    return gather(comm, what, color, all);
}

canto_status canto_checked_bcast(canto_comm *base, int root, canto_tensor data)
{
    canto_checked *comm = (canto_checked *)base;
    collective what = {.which = CANTO_BCAST, .root = root, .bytes = canto_tensor_bytes(&data)};
    CANTO_TRY(begin(comm, &what));
    const int size = base->size;
    const int place = (base->rank - root + size) % size;
    for (int far = 1; far < size; far *= 2) {
        const bool receives = place >= far && place < 2 * far;
        const bool sends = place < far && place + far < size;
        CANTO_TRY(exchange(comm, &what, sends ? rank_at(comm, far) : NOBODY, data,
                           receives ? rank_at(comm, -far) : NOBODY, data));
    }
    return CANTO_OK;
}
