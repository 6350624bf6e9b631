// Double of NCCL over MPI: communicators, groups, and calls that take their time.
#include "tests/doubles/nccl_double.h"

#include "runtime/rng.h"

#include <nccl.h>
#include <stdlib.h>
#include <string.h>

enum { TAG_FIRST = 4096, MAGIC = 0x0ca4790, POLLS_MAX = 4 };

typedef struct unique_id {
    int magic, root, serial;
} unique_id;

// Between ncclGroupStart and ncclGroupEnd; messages of one communicator, which is all we need.
static int depth;
static ncclResult_t group_error;
static _Alignas(64) char grouped_bytes[DOUBLE_GROUP_BYTES];
static double_group *const grouped = (double_group *)grouped_bytes;
static struct CUstream_st *grouped_stream;

#define REFUSE(code, ...) return (ncclResult_t)canto_doubles_refuse((code), __VA_ARGS__)

static int world_rank(void)
{
    int rank;
    PMPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return rank;
}

static int draw(int n)
{
    static uint64_t drawn;
    const uint64_t seed = canto_rng_seed(canto_shadow_seed(), "nccl") + (uint64_t)world_rank();
    return (int)canto_rng_below(seed, CANTO_RNG_TEST, drawn++, n);
}

const char *ncclGetErrorString(ncclResult_t result)
{
    return result == ncclSuccess ? "no error" : "an error of NCCL's double";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    (void)comm;
    return canto_doubles_state.sentence;
}

// --- communicators ---

ncclResult_t ncclGetUniqueId(ncclUniqueId *out)
{
    CANTO_DOUBLE(ncclResult_t);
    static int serial;
    const unique_id id = {MAGIC, world_rank(), serial++};
    memset(out, 0, sizeof *out);
    memcpy(out, &id, sizeof id);
    return ncclSuccess;
}

static ncclComm_t make(int size, int rank, const unique_id *id)
{
    ncclComm_t comm = calloc(1, sizeof *comm); // kept, so that a stale one is known
    int ranks;
    PMPI_Comm_size(MPI_COMM_WORLD, &ranks);
    comm->open = true;
    comm->rank = rank;
    comm->size = size;
    comm->root = id->root;
    comm->me = world_rank();
    comm->tag = TAG_FIRST + (id->serial * ranks + id->root) * TAGS;
    comm->members = calloc((size_t)size, sizeof *comm->members);
    comm->requests = malloc(2 * (size_t)size * sizeof *comm->requests);
    for (int i = 0; i < 2 * size; i++) comm->requests[i] = MPI_REQUEST_NULL;
    comm->greeted = calloc((size_t)size, sizeof *comm->greeted);
    comm->heard = calloc((size_t)size, 1);
    comm->pending = malloc(DOUBLE_GROUP_BYTES);
    canto_doubles_state.objects++;
    return comm;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int size, ncclUniqueId bytes, int rank,
                                    ncclConfig_t *config)
{
    CANTO_DOUBLE(ncclResult_t);
    unique_id id;
    memcpy(&id, &bytes, sizeof id);
    if (config->blocking != 0) REFUSE(ncclInvalidArgument, "a communicator that blocks");
    if (id.magic != MAGIC || rank < 0 || rank >= size)
        REFUSE(ncclInvalidArgument, "rank %d of %d, or an id that nobody made", rank, size);
    *out = make(size, rank, &id);
    (*out)->polls = draw(POLLS_MAX);
    return ncclInProgress;
}

static bool usable(ncclComm_t comm)
{
    return comm && comm->open && comm->state == STATE_READY && comm->error == ncclSuccess;
}

static ncclResult_t put_pending(ncclComm_t comm)
{
    const double_group *g = comm->pending;
    const size_t bytes = sizeof *g + (size_t)g->n * sizeof *g->messages;
    comm->state = STATE_READY;
    comm->outstanding++;
    if (canto_shadow_put(canto_doubles_state.streams, comm->stream->number, "messages",
                         canto_double_run_group, bytes, g) == CANTO_OK)
        return ncclSuccess;
    return (ncclResult_t)canto_doubles_take_error(ncclInternalError);
}

// A step of what the last call has begun.
static ncclResult_t advance(ncclComm_t comm)
{
    bool ready = true;
    if (comm->state == STATE_JOINING) canto_double_join(comm, &ready);
    if (comm->state == STATE_LAUNCHING) canto_double_greet(comm, &ready);
    if (comm->state == STATE_FINALIZING) ready = comm->outstanding == 0;
    if (!ready || comm->polls-- > 0) return ncclSuccess;
    if (comm->state == STATE_LAUNCHING) return put_pending(comm);
    if (comm->state == STATE_JOINING) comm->state = STATE_READY;
    if (comm->state == STATE_FINALIZING) comm->state = STATE_FINALIZED;
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *state)
{
    CANTO_DOUBLE(ncclResult_t);
    if (!comm || !comm->open) REFUSE(ncclInvalidArgument, "ncclCommGetAsyncError: no communicator");
    int injected;
    canto_doubles_let_run();
    if (canto_doubles_injected("ncclCommGetAsyncError:state", &injected)) comm->error = injected;
    const bool busy = comm->state != STATE_READY && comm->state != STATE_FINALIZED;
    if (comm->error == ncclSuccess && busy) comm->error = advance(comm);
    *state = comm->error != ncclSuccess                                     ? comm->error
             : comm->state == STATE_READY || comm->state == STATE_FINALIZED ? ncclSuccess
                                                                            : ncclInProgress;
    return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm)
{
    CANTO_DOUBLE(ncclResult_t);
    if (!usable(comm) || depth > 0)
        REFUSE(ncclInvalidUsage, "ncclCommFinalize: no idle communicator, or a group is open");
    comm->state = STATE_FINALIZING;
    comm->polls = draw(POLLS_MAX);
    return ncclInProgress;
}

static void close(ncclComm_t comm)
{
    canto_double_drop(comm);
    comm->open = false;
    canto_doubles_state.objects--;
}

ncclResult_t ncclCommDestroy(ncclComm_t comm)
{
    CANTO_DOUBLE(ncclResult_t);
    if (!comm || !comm->open || comm->state != STATE_FINALIZED)
        REFUSE(ncclInvalidUsage, "ncclCommDestroy of a communicator that is not finalized");
    close(comm);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t comm)
{
    CANTO_DOUBLE(ncclResult_t);
    if (!comm || !comm->open) REFUSE(ncclInvalidUsage, "ncclCommAbort of no communicator");
    comm->aborted = true;
    close(comm);
    return ncclSuccess;
}

// --- groups ---

static void empty_group(void)
{
    *grouped = (double_group){.n = 0};
    group_error = ncclSuccess;
}

ncclResult_t ncclGroupStart(void)
{
    CANTO_DOUBLE(ncclResult_t);
    if (depth++ == 0) empty_group();
    return ncclSuccess;
}

static ncclResult_t launch(void)
{
    ncclComm_t comm = grouped->comm;
    if (!usable(comm))
        REFUSE(ncclInvalidUsage, "a group for a communicator that is still at its last call");
    grouped->number = comm->groups++;
    memcpy(comm->pending, grouped,
           sizeof *grouped + (size_t)grouped->n * sizeof *grouped->messages);
    comm->stream = grouped_stream;
    comm->state = STATE_LAUNCHING;
    comm->polls = draw(POLLS_MAX);
    comm->error = advance(comm);
    if (comm->error != ncclSuccess) return (ncclResult_t)comm->error;
    return comm->state == STATE_READY ? ncclSuccess : ncclInProgress;
}

ncclResult_t ncclGroupEnd(void)
{
    if (depth == 0) REFUSE(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    depth--;
    CANTO_DOUBLE(ncclResult_t);
    if (depth > 0 || group_error != ncclSuccess) return group_error;
    return grouped->n > 0 ? launch() : ncclSuccess;
}

static size_t bytes_of(ncclDataType_t type)
{
    switch (type) {
    case ncclUint8:
        return 1;
    case ncclInt32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
    case ncclFloat64:
        return 8;
    default:
        return 0;
    }
}

static ncclResult_t add(bool sends, const void *data, size_t count, ncclDataType_t type, int peer,
                        ncclComm_t comm, cudaStream_t stream)
{
    const char *call = sends ? "ncclSend" : "ncclRecv";
    void *place = NULL;
    if (!comm || !comm->open) REFUSE(ncclInvalidArgument, "%s: no communicator", call);
    if (!canto_doubles_is_stream(stream)) REFUSE(ncclInvalidArgument, "%s: no stream", call);
    if (peer < 0 || peer >= comm->size || peer == comm->rank)
        REFUSE(ncclInvalidArgument, "%s: rank %d of %d with rank %d", call, comm->rank, comm->size,
               peer);
    if (count == 0 || bytes_of(type) == 0)
        REFUSE(ncclInvalidArgument, "%s: %zu elements of type %d", call, count, (int)type);
    if (canto_shadow_translate(&canto_doubles_state.memory, call, data, count * bytes_of(type),
                               &place) != CANTO_OK)
        return (ncclResult_t)canto_doubles_take_error(ncclInvalidArgument);
    if (grouped->n > 0 && (grouped->comm != comm || grouped_stream != stream))
        REFUSE(ncclInvalidUsage, "%s: two communicators or streams in a group", call);
    if (sizeof *grouped + (size_t)(grouped->n + 1) * sizeof *grouped->messages > DOUBLE_GROUP_BYTES)
        REFUSE(ncclInternalError, "%s: more than %d messages in a group", call, grouped->n);
    grouped->comm = comm;
    grouped_stream = stream;
    grouped->messages[grouped->n++] =
        (double_message){.sends = sends,
                         .peer = peer,
                         .bytes = count * bytes_of(type),
                         .place = place,
                         .mine = {.count = (int64_t)count, .type = (int32_t)type}};
    return ncclSuccess;
}

// Alone it is a group of one.
static ncclResult_t add_grouped(bool sends, const void *data, size_t count, ncclDataType_t type,
                                int peer, ncclComm_t comm, cudaStream_t stream)
{
    if (depth == 0) empty_group();
    const ncclResult_t result = add(sends, data, count, type, peer, comm, stream);
    if (group_error == ncclSuccess) group_error = result;
    return depth > 0 || result != ncclSuccess ? result : launch();
}

ncclResult_t ncclSend(const void *data, size_t count, ncclDataType_t type, int peer,
                      ncclComm_t comm, cudaStream_t stream)
{
    CANTO_DOUBLE(ncclResult_t);
    return add_grouped(true, data, count, type, peer, comm, stream);
}

ncclResult_t ncclRecv(void *data, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream)
{
    CANTO_DOUBLE(ncclResult_t);
    return add_grouped(false, data, count, type, peer, comm, stream);
}
