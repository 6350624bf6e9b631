// Reduce-scatter and all-gather of the flat gradient and parameters, bucket by bucket, on a lane of
// its own. In hop h a rank sends to the one h further and receives from the one h back, so that all
// pairs are busy and nobody is flooded.
//
// The gather of parameters is started when they are updated and goes on under the next forward
// pass, which asks for a bucket when it comes to it.
//
// Sends per bucket of n numbers and rank, each way: W-1 messages, n (W-1)/W numbers (a rank without
// a piece, in a bucket smaller than W, gets no message). Keeps three buckets' worth of received
// pieces: 3 (W-1)/W of the largest bucket. Cutting optimizer state this way is ZeRO's first two
// stages (Rajbhandari et al., SC 2020).
#include "parallel/grad.h"

#include "runtime/trace.h"

typedef struct range {
    int64_t begin, count;
} range;

static range piece_of(const canto_grad *grad, int bucket, int rank)
{
    int64_t begin, end;
    canto_grad_piece(grad, bucket, rank, &begin, &end);
    return (range){begin, end - begin};
}

// Piece `rank` of `size` of the run [first, first + count).
static range cut(int64_t first, int64_t count, int rank, int size)
{
    const int64_t begin = count * rank / size;
    return (range){first + begin, count * (rank + 1) / size - begin};
}

void canto_grad_piece(const canto_grad *grad, int bucket, int rank, int64_t *begin, int64_t *end)
{
    const int64_t *bounds = &grad->bounds[bucket];
    const range piece = cut(bounds[0], bounds[1] - bounds[0], rank, grad->comm->size);
    *begin = piece.begin;
    *end = piece.begin + piece.count;
}

// How often `rank` (-1: all ranks together) sends a piece of `owner`: all others send it to the
// owner, and the owner sends it to all others.
static int sends(int rank, int owner, int size)
{
    if (rank < 0) return 2 * (size - 1);
    return rank == owner ? size - 1 : 1;
}

void canto_grad_price(int rank, int size, int buckets_n, const int64_t *bounds, int64_t *messages,
                      int64_t *bytes)
{
    *messages = *bytes = 0;
    for (int b = 0; b < buckets_n; b++) {
        for (int r = 0; r < size; r++) {
            const range piece = cut(bounds[b], bounds[b + 1] - bounds[b], r, size);
            if (piece.count == 0) continue;
            *messages += sends(rank, r, size);
            *bytes += sends(rank, r, size) * piece.count * (int64_t)sizeof(float);
        }
    }
}

static int further(const canto_grad *grad, int hop)
{
    return (grad->comm->rank + hop) % grad->comm->size;
}

static int back(const canto_grad *grad, int hop)
{
    return (grad->comm->rank + grad->comm->size - hop) % grad->comm->size;
}

static canto_tensor floats(float *data, range piece)
{
    return canto_tensor_vector(CANTO_F32, data, piece.count);
}

canto_status canto_grad_create(canto_arena *tables, canto_arena *memory, canto_comm *comm,
                               const canto_device *device, int buckets_n, const int64_t *bounds,
                               float *grads, canto_grad *out)
{
    *out = (canto_grad){
        .comm = comm, .device = device, .buckets_n = buckets_n, .bounds = bounds, .grads = grads};
    for (int b = 0; b < buckets_n; b++) {
        const int64_t largest = (bounds[b + 1] - bounds[b] + comm->size - 1) / comm->size;
        if (largest > out->piece_max) out->piece_max = largest;
    }
    const int others = comm->size - 1;
    const int at_once = buckets_n > CANTO_GRAD_WINDOW ? buckets_n : CANTO_GRAD_WINDOW;
    CANTO_TRY(canto_comm_reserve(comm, 2 * at_once * others));
    CANTO_TRY(canto_arena_array(tables, "parameter messages", (int64_t)2 * buckets_n * others,
                                sizeof *out->gathers, (void **)&out->gathers));
    for (int w = 0; w < CANTO_GRAD_WINDOW; w++) {
        canto_grad_exchange *at = &out->window[w];
        CANTO_TRY(canto_arena_array(tables, "gradient receives", others, sizeof *at->in,
                                    (void **)&at->in));
        CANTO_TRY(canto_arena_array(tables, "gradient sends", others, sizeof *at->out,
                                    (void **)&at->out));
        CANTO_TRY(canto_arena_array(memory, "gradient pieces", others * out->piece_max,
                                    sizeof *at->received, (void **)&at->received));
    }
    CANTO_TRY(canto_arena_array(tables, "gradient order", buckets_n, sizeof *out->order,
                                (void **)&out->order));
    return canto_arena_array(tables, "gradient buckets", buckets_n, sizeof *out->known,
                             (void **)&out->known);
}

// --- one bucket ---

static canto_grad_exchange *exchange_at(canto_grad *grad, int place)
{
    return &grad->window[place % CANTO_GRAD_WINDOW];
}

static float *received(const canto_grad *grad, const canto_grad_exchange *at, int hop)
{
    return at->received + (hop - 1) * grad->piece_max;
}

static canto_status begin_reduce(canto_grad *grad, canto_grad_exchange *at, int bucket)
{
    at->bucket = bucket;
    at->added = 0;
    const range mine = piece_of(grad, bucket, grad->comm->rank);
    CANTO_TRY(canto_comm_group_begin(grad->comm));
    for (int hop = 1; hop < grad->comm->size; hop++) {
        at->in[hop - 1] = at->out[hop - 1] = CANTO_REQUEST_NONE;
        const range theirs = piece_of(grad, bucket, further(grad, hop));
        if (mine.count > 0) {
            CANTO_TRY(canto_comm_recv(grad->comm, back(grad, hop),
                                      floats(received(grad, at, hop), mine), &at->in[hop - 1]));
        }
        if (theirs.count > 0) {
            CANTO_TRY(canto_comm_send(grad->comm, further(grad, hop),
                                      floats(grad->grads + theirs.begin, theirs),
                                      &at->out[hop - 1]));
        }
    }
    return canto_comm_group_end(grad->comm);
}

static void add_next(canto_grad *grad, canto_grad_exchange *at)
{
    const range mine = piece_of(grad, at->bucket, grad->comm->rank);
    at->added++;
    canto_trace_begin(grad->comm->trace, CANTO_TRACE_COMPUTE, "add gradients", "bucket",
                      at->bucket);
    grad->device->kernels->add(grad->device, mine.count, received(grad, at, at->added),
                               grad->grads + mine.begin);
    canto_trace_end(grad->comm->trace);
}

// Adds what has come, in order of hops; done when all is added and sent.
static canto_status poll_reduce(canto_grad *grad, canto_grad_exchange *at, bool *done)
{
    *done = false;
    while (at->added < grad->comm->size - 1) {
        bool came;
        CANTO_TRY(canto_comm_poll(grad->comm, &at->in[at->added], &came));
        if (!came) return CANTO_OK;
        add_next(grad, at);
    }
    for (int i = 0; i < grad->comm->size - 1; i++) {
        bool sent;
        CANTO_TRY(canto_comm_poll(grad->comm, &at->out[i], &sent));
        if (!sent) return CANTO_OK;
    }
    *done = true;
    return CANTO_OK;
}

static canto_status finish_reduce(canto_grad *grad, canto_grad_exchange *at)
{
    while (at->added < grad->comm->size - 1) {
        CANTO_TRY(canto_comm_wait(grad->comm, &at->in[at->added]));
        add_next(grad, at);
    }
    for (int i = 0; i < grad->comm->size - 1; i++) {
        CANTO_TRY(canto_comm_wait(grad->comm, &at->out[i]));
    }
    return CANTO_OK;
}

// --- all of them: order[done .. begun) are under way, order[begun .. started) wait for a place ---

static canto_status begin_waiting(canto_grad *grad)
{
    while (grad->begun < grad->started && grad->begun - grad->done < CANTO_GRAD_WINDOW) {
        const int place = grad->begun++;
        CANTO_TRY(begin_reduce(grad, exchange_at(grad, place), grad->order[place]));
    }
    return CANTO_OK;
}

canto_status canto_grad_start(canto_grad *grad, int bucket)
{
    CANTO_CHECK(!grad->params, "gradients: reduction before the gather is finished");
    CANTO_CHECK(bucket >= 0 && bucket < grad->buckets_n && !grad->known[bucket],
                "gradients: bucket %d of %d does not exist or is started already", bucket,
                grad->buckets_n);
    grad->known[bucket] = true;
    grad->order[grad->started++] = bucket;
    return begin_waiting(grad);
}

canto_status canto_grad_finish(canto_grad *grad)
{
    while (grad->done < grad->started) {
        CANTO_TRY(finish_reduce(grad, exchange_at(grad, grad->done)));
        grad->done++;
        CANTO_TRY(begin_waiting(grad));
    }
    for (int i = 0; i < grad->started; i++) grad->known[grad->order[i]] = false;
    grad->started = grad->begun = grad->done = 0;
    return CANTO_OK;
}

canto_status canto_grad_poll(canto_grad *grad)
{
    if (grad->params) return canto_comm_poll(grad->comm, NULL, NULL);
    for (int place = grad->done; place < grad->begun; place++) {
        bool done;
        CANTO_TRY(poll_reduce(grad, exchange_at(grad, place), &done));
        if (done && place == grad->done) grad->done++;
    }
    return begin_waiting(grad);
}

// --- gather: all buckets are under way at once, because pieces arrive where they belong ---

// The last bucket surrounds the others, so a forward pass begins with it.
static int bucket_at(const canto_grad *grad, int place)
{
    return place == 0 ? grad->buckets_n - 1 : place - 1;
}

static int place_of(const canto_grad *grad, int bucket)
{
    return bucket == grad->buckets_n - 1 ? 0 : bucket + 1;
}

static canto_status begin_gather(canto_grad *grad, int bucket)
{
    const range mine = piece_of(grad, bucket, grad->comm->rank);
    canto_request *requests = grad->gathers + (int64_t)bucket * 2 * (grad->comm->size - 1);
    CANTO_TRY(canto_comm_group_begin(grad->comm));
    for (int hop = 1; hop < grad->comm->size; hop++, requests += 2) {
        const range theirs = piece_of(grad, bucket, back(grad, hop));
        requests[0] = requests[1] = CANTO_REQUEST_NONE;
        if (theirs.count > 0) {
            CANTO_TRY(canto_comm_recv(grad->comm, back(grad, hop),
                                      floats(grad->params + theirs.begin, theirs), &requests[0]));
        }
        if (mine.count > 0) {
            CANTO_TRY(canto_comm_send(grad->comm, further(grad, hop),
                                      floats(grad->params + mine.begin, mine), &requests[1]));
        }
    }
    return canto_comm_group_end(grad->comm);
}

static canto_status finish_gather(canto_grad *grad, int bucket)
{
    const int64_t n = 2 * (grad->comm->size - 1);
    for (int64_t i = 0; i < n; i++) {
        CANTO_TRY(canto_comm_wait(grad->comm, &grad->gathers[bucket * n + i]));
    }
    return CANTO_OK;
}

canto_status canto_grad_gather_start(canto_grad *grad, float *params)
{
    CANTO_CHECK(grad->started == 0 && !grad->params,
                "gradients: gather before the reduction, or the last gather, is finished");
    grad->params = params;
    grad->gathered = 0;
    for (int place = 0; place < grad->buckets_n; place++) {
        CANTO_TRY(begin_gather(grad, bucket_at(grad, place)));
    }
    return CANTO_OK;
}

canto_status canto_grad_gather_need(canto_grad *grad, int bucket)
{
    if (!grad->params) return CANTO_OK;
    canto_trace_begin(grad->comm->trace, CANTO_TRACE_COMPUTE, "gather parameters", "bucket",
                      bucket);
    for (; grad->gathered <= place_of(grad, bucket); grad->gathered++) {
        CANTO_TRY(finish_gather(grad, bucket_at(grad, grad->gathered)));
    }
    canto_trace_end(grad->comm->trace);
    if (grad->gathered == grad->buckets_n) grad->params = NULL;
    return CANTO_OK;
}

canto_status canto_grad_gather_finish(canto_grad *grad)
{
    return canto_grad_gather_need(grad, bucket_at(grad, grad->buckets_n - 1));
}
