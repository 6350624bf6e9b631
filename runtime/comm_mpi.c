// Messages over MPI. A lane is a duplicate communicator of its own, so messages match by order
// alone (tag 0 always). A message of more bytes than an int can count travels as several; they are
// one request to the caller. Open messages sit in a pool; who reserves room for them in advance
// allocates nothing later.
//
// MPI promises nothing after an error: an error is reported once, with the library's own text, and
// then the communicator is only taken apart locally.
#include "runtime/comm_base.h"

#include <limits.h>
#include <mpi.h>
#include <stdlib.h>

enum { NO_SLOT = -1, SLOTS_FIRST = 64 };

// One MPI message; the pieces of a split message are chained by `next`. A free slot uses `next` for
// the list of free slots.
typedef struct slot {
    bool sending;
    bool used;
    int peer;
    int bytes;
    int next;
} slot;

typedef struct mpi_comm {
    canto_comm base;
    MPI_Comm handle;       // owned
    size_t limit;          // bytes of one MPI message
    int slots_n;           // of the four arrays
    int touched_n;         // slots that were ever in use: the others need no look
    int free;              // first free slot
    slot *slots;           // owned
    MPI_Request *requests; // owned; MPI_REQUEST_NULL where a slot is free or its message done
    MPI_Status *statuses;  // owned, scratch of MPI_Testsome
    int *indices;          // owned, scratch of MPI_Testsome
} mpi_comm;

static canto_status failed_call(const mpi_comm *comm, const char *call, int rc)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(rc, text, &length);
    CANTO_FAIL(CANTO_ERROR_COMM, "lane %s: %s: %s", comm->base.lane, call, text);
}

static canto_status failed_message(const mpi_comm *comm, const slot *at, const char *call, int rc)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(rc, text, &length);
    CANTO_FAIL(CANTO_ERROR_COMM, "lane %s: %s rank %d (%d bytes): %s: %s", comm->base.lane,
               at->sending ? "send to" : "receive from", at->peer, at->bytes, call, text);
}

// --- the pool ---

static bool grow(void **array, int n, size_t bytes)
{
    void *larger = realloc(*array, (size_t)n * bytes);
    if (larger) *array = larger;
    return larger != NULL;
}

// Room for n open messages, more than there is.
static canto_status pool_grow(mpi_comm *comm, int n)
{
    if (!grow((void **)&comm->slots, n, sizeof *comm->slots) ||
        !grow((void **)&comm->requests, n, sizeof *comm->requests) ||
        !grow((void **)&comm->statuses, n, sizeof *comm->statuses) ||
        !grow((void **)&comm->indices, n, sizeof *comm->indices)) {
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane %s: no memory for %d open messages", comm->base.lane,
                   n);
    }
    for (int i = n - 1; i >= comm->slots_n; i--) {
        comm->slots[i] = (slot){.next = comm->free};
        comm->requests[i] = MPI_REQUEST_NULL;
        comm->free = i;
    }
    comm->slots_n = n;
    return CANTO_OK;
}

static canto_status pool_take(mpi_comm *comm, slot as, int *out)
{
    if (comm->free == NO_SLOT) CANTO_TRY(pool_grow(comm, 2 * comm->slots_n));
    *out = comm->free;
    comm->free = comm->slots[*out].next;
    comm->slots[*out] = as;
    if (*out >= comm->touched_n) comm->touched_n = *out + 1;
    return CANTO_OK;
}

static void pool_give(mpi_comm *comm, int first)
{
    for (int i = first; i != NO_SLOT;) {
        const int next = comm->slots[i].next;
        comm->slots[i] = (slot){.next = comm->free};
        comm->free = i;
        i = next;
    }
}

static canto_status pool_find(const mpi_comm *comm, canto_request request, int *out)
{
    CANTO_CHECK(request > 0 && request <= comm->slots_n && comm->slots[request - 1].used,
                "lane %s: request %lld is not open", comm->base.lane, (long long)request);
    *out = (int)request - 1;
    return CANTO_OK;
}

// --- messages ---

static int start_piece(mpi_comm *comm, int i, char *data)
{
    const slot *at = &comm->slots[i];
    if (at->sending) {
        return MPI_Isend(data, at->bytes, MPI_BYTE, at->peer, 0, comm->handle, &comm->requests[i]);
    }
    return MPI_Irecv(data, at->bytes, MPI_BYTE, at->peer, 0, comm->handle, &comm->requests[i]);
}

static canto_status start(canto_comm *base, bool sending, int peer, canto_tensor data,
                          canto_request *out)
{
    mpi_comm *comm = (mpi_comm *)base;
    const size_t bytes = canto_tensor_bytes(&data);
    int first = NO_SLOT;
    int last = NO_SLOT;
    for (size_t done = 0; done < bytes;) {
        const size_t piece = bytes - done < comm->limit ? bytes - done : comm->limit;
        int i;
        CANTO_TRY(pool_take(comm,
                            (slot){.sending = sending,
                                   .used = true,
                                   .peer = peer,
                                   .bytes = (int)piece,
                                   .next = NO_SLOT},
                            &i));
        const int rc = start_piece(comm, i, (char *)data.data + done);
        if (rc != MPI_SUCCESS) {
            return failed_message(comm, &comm->slots[i], sending ? "MPI_Isend" : "MPI_Irecv", rc);
        }
        if (last == NO_SLOT) {
            first = i;
        } else {
            comm->slots[last].next = i;
        }
        last = i;
        done += piece;
    }
    *out = first + 1;
    return CANTO_OK;
}

static canto_status mpi_send(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    return start(comm, true, peer, data, out);
}

static canto_status mpi_recv(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    return start(comm, false, peer, data, out);
}

// MPI accepts a message shorter than the receive; we do not.
static canto_status check_length(const mpi_comm *comm, int i, const MPI_Status *status)
{
    const slot *at = &comm->slots[i];
    if (at->sending) return CANTO_OK;
    int bytes;
    MPI_Get_count(status, MPI_BYTE, &bytes);
    if (bytes == at->bytes) return CANTO_OK;
    CANTO_FAIL(CANTO_ERROR_MISMATCH, "lane %s: rank %d sent %d bytes, rank %d receives %d",
               comm->base.lane, at->peer, bytes, comm->base.rank, at->bytes);
}

static canto_status mpi_wait(canto_comm *base, canto_request *request)
{
    mpi_comm *comm = (mpi_comm *)base;
    int first = NO_SLOT;
    CANTO_TRY(pool_find(comm, *request, &first));
    for (int i = first; i != NO_SLOT; i = comm->slots[i].next) {
        if (comm->requests[i] == MPI_REQUEST_NULL) continue; // finished by an earlier poll
        MPI_Status status;
        const int rc = MPI_Wait(&comm->requests[i], &status);
        if (rc != MPI_SUCCESS) return failed_message(comm, &comm->slots[i], "MPI_Wait", rc);
        CANTO_TRY(check_length(comm, i, &status));
    }
    pool_give(comm, first);
    *request = CANTO_REQUEST_NONE;
    return CANTO_OK;
}

// One turn of the library's progress, whatever has become of our messages.
static canto_status poll_all(mpi_comm *comm)
{
    int done_n;
    const int rc =
        MPI_Testsome(comm->touched_n, comm->requests, &done_n, comm->indices, comm->statuses);
    if (rc != MPI_SUCCESS && rc != MPI_ERR_IN_STATUS) {
        return failed_call(comm, "MPI_Testsome", rc);
    }
    for (int k = 0; done_n != MPI_UNDEFINED && k < done_n; k++) {
        const int i = comm->indices[k];
        const int error = rc == MPI_ERR_IN_STATUS ? comm->statuses[k].MPI_ERROR : MPI_SUCCESS;
        if (error != MPI_SUCCESS) {
            return failed_message(comm, &comm->slots[i], "MPI_Testsome", error);
        }
        CANTO_TRY(check_length(comm, i, &comm->statuses[k]));
    }
    return CANTO_OK;
}

// MPI_Test makes progress on everything that is open, so one request asked for is enough.
static canto_status mpi_poll(canto_comm *base, canto_request *request, bool *done)
{
    mpi_comm *comm = (mpi_comm *)base;
    if (!request) return poll_all(comm);
    *done = false;
    int first = NO_SLOT;
    CANTO_TRY(pool_find(comm, *request, &first));
    for (int i = first; i != NO_SLOT; i = comm->slots[i].next) {
        if (comm->requests[i] == MPI_REQUEST_NULL) continue;
        MPI_Status status;
        int finished;
        const int rc = MPI_Test(&comm->requests[i], &finished, &status);
        if (rc != MPI_SUCCESS) return failed_message(comm, &comm->slots[i], "MPI_Test", rc);
        if (!finished) return CANTO_OK;
        CANTO_TRY(check_length(comm, i, &status));
    }
    pool_give(comm, first);
    *request = CANTO_REQUEST_NONE;
    *done = true;
    return CANTO_OK;
}

static canto_status mpi_reserve(canto_comm *base, int messages)
{
    mpi_comm *comm = (mpi_comm *)base;
    return messages > comm->slots_n ? pool_grow(comm, messages) : CANTO_OK;
}

static canto_status mpi_group(canto_comm *comm)
{
    (void)comm;
    return CANTO_OK;
}

// --- collectives ---

static canto_status mpi_bcast(canto_comm *base, int root, canto_tensor data)
{
    mpi_comm *comm = (mpi_comm *)base;
    const size_t bytes = canto_tensor_bytes(&data);
    for (size_t done = 0; done < bytes;) {
        const size_t piece = bytes - done < comm->limit ? bytes - done : comm->limit;
        const int rc =
            MPI_Bcast((char *)data.data + done, (int)piece, MPI_BYTE, root, comm->handle);
        if (rc != MPI_SUCCESS) return failed_call(comm, "MPI_Bcast", rc);
        done += piece;
    }
    return CANTO_OK;
}

static canto_status mpi_gather_small(canto_comm *base, size_t bytes, const void *mine, void *all)
{
    mpi_comm *comm = (mpi_comm *)base;
    const int n = (int)bytes;
    const int rc = MPI_Allgather(mine, n, MPI_BYTE, all, n, MPI_BYTE, comm->handle);
    return rc == MPI_SUCCESS ? CANTO_OK : failed_call(comm, "MPI_Allgather", rc);
}

// --- opening and closing ---

static canto_status adopt(const char *lane, MPI_Comm handle, size_t limit, canto_comm **out);

static canto_status mpi_split(canto_comm *base, const char *lane, int color, canto_comm **out)
{
    mpi_comm *comm = (mpi_comm *)base;
    MPI_Comm handle;
    const int rc = MPI_Comm_split(comm->handle, color, base->rank, &handle);
    if (rc != MPI_SUCCESS) return failed_call(comm, "MPI_Comm_split", rc);
    return adopt(lane, handle, comm->limit, out);
}

static bool running(void)
{
    int started;
    int ended;
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    return started && !ended;
}

// Open messages are dropped, never waited for: a receive is cancelled, a send is left to MPI.
static void drop_open(mpi_comm *comm)
{
    for (int i = 0; i < comm->touched_n; i++) {
        if (comm->requests[i] == MPI_REQUEST_NULL) continue;
        if (!comm->slots[i].sending) MPI_Cancel(&comm->requests[i]);
        int finished;
        int rc = MPI_Test(&comm->requests[i], &finished, MPI_STATUS_IGNORE);
        if (rc == MPI_SUCCESS && !finished) MPI_Request_free(&comm->requests[i]);
    }
}

static void free_memory(mpi_comm *comm)
{
    free(comm->slots);
    free(comm->requests);
    free(comm->statuses);
    free(comm->indices);
    canto_comm_base_free(&comm->base);
}

static void mpi_destroy(canto_comm *base)
{
    mpi_comm *comm = (mpi_comm *)base;
    if (running()) {
        drop_open(comm);
        // Freeing is collective. After an error the others may not come, and a stray message must
        // never meet a later communicator that got the same number, so the handle is left to MPI.
        if (base->failed == CANTO_OK) MPI_Comm_free(&comm->handle);
    }
    free_memory(comm);
}

static void mpi_abort(canto_comm *base, int code)
{
    (void)base;
    if (running()) MPI_Abort(MPI_COMM_WORLD, code);
    exit(code);
}

static const canto_comm_ops mpi_ops = {
    .name = "mpi",
    .send = mpi_send,
    .recv = mpi_recv,
    .wait = mpi_wait,
    .poll = mpi_poll,
    .reserve = mpi_reserve,
    .group_begin = mpi_group,
    .group_end = mpi_group,
    .bcast = mpi_bcast,
    .gather_small = mpi_gather_small,
    .split = mpi_split,
    .destroy = mpi_destroy,
    .abort = mpi_abort,
};

static canto_status create(const char *lane, MPI_Comm handle, size_t limit, mpi_comm **out)
{
    int rank;
    int size;
    MPI_Comm_rank(handle, &rank);
    MPI_Comm_size(handle, &size);
    canto_comm *base;
    CANTO_TRY(canto_comm_base_create(sizeof(mpi_comm), &mpi_ops, lane, rank, size, &base));
    *out = (mpi_comm *)base;
    (*out)->handle = handle;
    (*out)->limit = limit;
    (*out)->free = NO_SLOT;
    return pool_grow(*out, SLOTS_FIRST);
}

// Takes `handle`, also when it fails. Collective on it: all ranks have the memory, or none opens.
static canto_status adopt(const char *lane, MPI_Comm handle, size_t limit, canto_comm **out)
{
    MPI_Comm_set_errhandler(handle, MPI_ERRORS_RETURN);
    mpi_comm *comm = NULL;
    int worst = (int)create(lane, handle, limit, &comm);
    const int rc = MPI_Allreduce(MPI_IN_PLACE, &worst, 1, MPI_INT, MPI_MAX, handle);
    if (rc != MPI_SUCCESS || worst != CANTO_OK) {
        if (comm) free_memory(comm);
        MPI_Comm_free(&handle);
        CANTO_FAIL(rc != MPI_SUCCESS ? CANTO_ERROR_COMM : (canto_status)worst,
                   "lane %s: a rank could not open it", lane);
    }
    *out = &comm->base;
    return CANTO_OK;
}

// MPI is one per process, so whether we started it is, too.
static bool started_here;

static canto_status start_library(void)
{
    int started;
    MPI_Initialized(&started);
    if (started) {
        if (running()) return CANTO_OK;
        CANTO_FAIL(CANTO_ERROR_COMM, "MPI has ended in this process and cannot be started again");
    }
    int level;
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level) != MPI_SUCCESS) {
        CANTO_FAIL(CANTO_ERROR_COMM, "MPI_Init_thread failed");
    }
    started_here = true;
    if (level < MPI_THREAD_FUNNELED) {
        CANTO_FAIL(CANTO_ERROR_COMM,
                   "this MPI allows no threads beside the one that calls it; build one with "
                   "MPI_THREAD_FUNNELED");
    }
    return CANTO_OK;
}

canto_status canto_comm_mpi_open(canto_comm **out)
{
    *out = NULL;
    CANTO_TRY(start_library());
    MPI_Comm handle;
    // The caller's handler is still in force here: it decides what an error of this call does.
    MPI_Comm_dup(MPI_COMM_WORLD, &handle);
    return adopt("world", handle, INT_MAX, out);
}

void canto_comm_mpi_limit(canto_comm *comm, size_t bytes)
{
    ((mpi_comm *)comm)->limit = bytes < 1 ? 1 : bytes > INT_MAX ? INT_MAX : bytes;
}

void canto_comm_mpi_finalize(void)
{
    if (started_here && running()) MPI_Finalize();
    started_here = false;
}
