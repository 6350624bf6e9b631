// What all communicators have in common: arguments checked before anything is sent, messages and
// bytes counted, waiting timed, and the collectives that are made of gather_small.
#include "runtime/comm.h"

#include "runtime/clock.h"
#include "runtime/comm_base.h"

#include <stdlib.h>
#include <string.h>

enum { SUM_SMALL_MAX = 64 };

canto_status canto_comm_base_create(size_t bytes, const canto_comm_ops *ops, const char *lane,
                                    int rank, int size, canto_comm **out)
{
    canto_comm *comm = calloc(1, bytes);
    void *scratch = calloc((size_t)size, CANTO_GATHER_SMALL_MAX);
    if (!comm || !scratch) {
        free(comm);
        free(scratch);
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for a communicator of %d ranks", lane,
                   size);
    }
    *comm = (canto_comm){.ops = ops, .lane = lane, .rank = rank, .size = size, .scratch = scratch};
    *out = comm;
    return CANTO_OK;
}

void canto_comm_base_free(canto_comm *comm)
{
    free(comm->scratch);
    free(comm);
}

void canto_comm_destroy(canto_comm **comm)
{
    if (*comm) (*comm)->ops->destroy(*comm);
    *comm = NULL;
}

void canto_comm_abort(canto_comm *comm, int code)
{
    comm->ops->abort(comm, code);
}

static canto_status usable(const canto_comm *comm)
{
    if (comm->failed == CANTO_OK) return CANTO_OK;
    CANTO_FAIL(comm->failed, "lane %s: used after an error; it can only be destroyed", comm->lane);
}

// Every result of an implementation passes through here.
static canto_status note(canto_comm *comm, canto_status status)
{
    if (comm->failed == CANTO_OK) comm->failed = status;
    return status;
}

static canto_status note_timed(canto_comm *comm, double since_s, canto_status status)
{
    comm->counts.wait_s += canto_clock_s() - since_s;
    return note(comm, status);
}

static canto_status note_collective(canto_comm *comm, double since_s, canto_status status)
{
    comm->counts.collectives++;
    return note_timed(comm, since_s, status);
}

canto_status canto_comm_fail(canto_comm *comm, canto_status status)
{
    if (comm->failed != CANTO_OK || status == CANTO_OK) return status;
    return note(comm, comm->ops->fail ? comm->ops->fail(comm, status) : status);
}

static canto_status check_message(const canto_comm *comm, const char *what, int peer,
                                  const canto_tensor *data)
{
    CANTO_TRY(usable(comm));
    CANTO_CHECK(peer >= 0 && peer < comm->size, "lane %s: %s: there is no rank %d among %d",
                comm->lane, what, peer, comm->size);
    CANTO_CHECK(peer != comm->rank, "lane %s: %s: rank %d has no messages for itself", comm->lane,
                what, peer);
    CANTO_CHECK(canto_tensor_count(data) > 0 && data->data,
                "lane %s: %s with rank %d: the message is empty; skip it at both ends", comm->lane,
                what, peer);
    return CANTO_OK;
}

canto_status canto_comm_send(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    *out = CANTO_REQUEST_NONE;
    CANTO_TRY(check_message(comm, "send", peer, &data));
    CANTO_TRY(note(comm, comm->ops->send(comm, peer, data, out)));
    comm->counts.messages_sent++;
    comm->counts.bytes_sent += (int64_t)canto_tensor_bytes(&data);
    return CANTO_OK;
}

canto_status canto_comm_recv(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    *out = CANTO_REQUEST_NONE;
    CANTO_TRY(check_message(comm, "receive", peer, &data));
    CANTO_TRY(note(comm, comm->ops->recv(comm, peer, data, out)));
    comm->counts.messages_received++;
    comm->counts.bytes_received += (int64_t)canto_tensor_bytes(&data);
    return CANTO_OK;
}

canto_status canto_comm_wait(canto_comm *comm, canto_request *request)
{
    CANTO_TRY(usable(comm));
    if (*request == CANTO_REQUEST_NONE) return CANTO_OK;
    double start_s = canto_clock_s();
    return note_timed(comm, start_s, comm->ops->wait(comm, request));
}

canto_status canto_comm_poll(canto_comm *comm, canto_request *request, bool *done)
{
    CANTO_TRY(usable(comm));
    if (request && *request != CANTO_REQUEST_NONE) {
        return note(comm, comm->ops->poll(comm, request, done));
    }
    if (done) *done = true;
    return note(comm, comm->ops->poll(comm, NULL, NULL));
}

canto_status canto_comm_reserve(canto_comm *comm, int messages)
{
    CANTO_TRY(usable(comm));
    return note(comm, comm->ops->reserve(comm, messages));
}

canto_status canto_comm_group_begin(canto_comm *comm)
{
    CANTO_TRY(usable(comm));
    return note(comm, comm->ops->group_begin(comm));
}

canto_status canto_comm_group_end(canto_comm *comm)
{
    CANTO_TRY(usable(comm));
    return note(comm, comm->ops->group_end(comm));
}

canto_status canto_comm_bcast(canto_comm *comm, int root, canto_tensor data)
{
    CANTO_TRY(usable(comm));
    CANTO_CHECK(root >= 0 && root < comm->size, "lane %s: broadcast: there is no rank %d among %d",
                comm->lane, root, comm->size);
    CANTO_CHECK(canto_tensor_count(&data) > 0 && data.data,
                "lane %s: broadcast from rank %d: the message is empty", comm->lane, root);
    double start_s = canto_clock_s();
    return note_collective(comm, start_s, comm->ops->bcast(comm, root, data));
}

canto_status canto_comm_gather_small(canto_comm *comm, size_t bytes, const void *mine, void *all)
{
    CANTO_TRY(usable(comm));
    CANTO_CHECK(bytes > 0 && bytes <= CANTO_GATHER_SMALL_MAX,
                "lane %s: gather: records have 1 to %d bytes, not %zu", comm->lane,
                CANTO_GATHER_SMALL_MAX, bytes);
    double start_s = canto_clock_s();
    return note_collective(comm, start_s, comm->ops->gather_small(comm, bytes, mine, all));
}

canto_status canto_comm_sum_small(canto_comm *comm, int n, double *inout)
{
    CANTO_CHECK(n > 0 && n <= SUM_SMALL_MAX, "lane %s: sum: 1 to %d numbers, not %d", comm->lane,
                SUM_SMALL_MAX, n);
    CANTO_TRY(canto_comm_gather_small(comm, (size_t)n * sizeof *inout, inout, comm->scratch));
    const double *all = comm->scratch;
    for (int i = 0; i < n; i++) {
        double sum = 0;
        for (int r = 0; r < comm->size; r++) sum += all[r * n + i];
        inout[i] = sum;
    }
    return CANTO_OK;
}

typedef struct outcome {
    int32_t status;
    char message[CANTO_MESSAGE_MAX];
} outcome;

_Static_assert(sizeof(outcome) <= CANTO_GATHER_SMALL_MAX, "an outcome is a small record");

canto_status canto_comm_agree(canto_comm *comm, canto_status mine)
{
    outcome record = {.status = (int32_t)mine};
    if (mine != CANTO_OK) strncpy(record.message, canto_error_message(), CANTO_MESSAGE_MAX - 1);
    CANTO_TRY(canto_comm_gather_small(comm, sizeof record, &record, comm->scratch));
    const outcome *all = comm->scratch;
    for (int r = 0; r < comm->size; r++) {
        if (all[r].status == CANTO_OK) continue;
        canto_error_adopt(all[r].message);
        return (canto_status)all[r].status;
    }
    return CANTO_OK;
}

canto_status canto_comm_split(canto_comm *comm, const char *lane, int color, canto_comm **out)
{
    *out = NULL;
    CANTO_TRY(usable(comm));
    CANTO_CHECK(color >= 0, "lane %s: split: colours are not negative (%d)", comm->lane, color);
    return note(comm, comm->ops->split(comm, lane, color, out));
}
