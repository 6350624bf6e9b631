// The executor: runs one rank's compiled schedule with a pass. For each step: start this step's
// messages, compute what this step has, finish the messages that end here, join their sums.
//
// Sends what the schedule says, in the order (step, kind, visit), from and into rows that do not
// move: nothing is packed and nothing allocated. Nothing depends on the order of arrival, so two
// runs give the same bits. The messages have no progress of their own, so big tiles are cut and all
// open messages polled between the pieces, by time. Ring attention: Liu et al., arXiv 2310.01889.
#include "parallel/attend.h"

#include "parallel/compiled.h"
#include "parallel/pass.h"
#include "runtime/clock.h"
#include "runtime/trace.h"

// A poll moves a bounded number of fragments, so it must come often to hide a message under the
// work; but small tiles poll no more often than this.
static const double poll_interval_s = 50e-6;

// Work between two polls while messages are open: about 32 M multiply-adds, a millisecond or less
// on one core, within limits. Kernels like long rows of keys: compared with a whole tile, pieces of
// 64 queries by 64 keys cost a third more, by 256 keys a tenth, by 1024 next to nothing.
enum {
    PIECE_WORK = 1 << 25,
    PIECE_QUERIES_MIN = 64,
    PIECE_QUERIES_MAX = 256,
    PIECE_KEYS_MIN = 256,
    PIECE_KEYS_MAX = 1024,
};

typedef struct canto_execution {
    const canto_pass *pass;
    const canto_operands *operands;
    canto_compiled *compiled;
    canto_comm *comm;
    int64_t width;             // of a row that travels
    int64_t piece_q, piece_k;  // largest piece of a tile
    float *parts, *sums;       // buffers
    int started, finished;     // messages, as indices into messages and by_end
    int own_done, visits_done; // stops
    int open;                  // messages started and not finished
    double polled_s;           // when
} canto_execution;

static int64_t clamp(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

static void choose_pieces(canto_execution *run, const canto_attention_shape *shape)
{
    const int64_t pair = (int64_t)shape->heads * (shape->key_dim + shape->value_dim);
    const int64_t pairs = PIECE_WORK / pair;
    run->piece_k = clamp(pairs / PIECE_QUERIES_MIN, PIECE_KEYS_MIN, PIECE_KEYS_MAX);
    run->piece_q = clamp(pairs / run->piece_k, PIECE_QUERIES_MIN, PIECE_QUERIES_MAX);
}

// --- messages ---

static float *message_rows(const canto_execution *run, const canto_message *message)
{
    // Only parts are sent from own rows, and a send does not write.
    float *const places[] = {
        [CANTO_PLACE_OWN] = (float *)run->operands->kv,
        [CANTO_PLACE_PARTS] = run->parts,
        [CANTO_PLACE_SUMS] = run->sums,
    };
    return places[message->place] + message->row * run->width;
}

static float *visit_sum(const canto_execution *run, const canto_stop *visit)
{
    return run->sums + visit->sum_row * run->width;
}

static bool takes_part(const canto_execution *run, const canto_message *message)
{
    return run->pass->sums || message->kind == CANTO_MOVE_PART;
}

static canto_status start_message(canto_execution *run, int index)
{
    const canto_message *message = &run->compiled->messages[index];
    const int64_t dims[] = {message->rows, run->width};
    const canto_tensor rows = canto_tensor_view(CANTO_F32, message_rows(run, message), 2, dims);
    canto_request *request = &run->compiled->requests[index];
    run->open++;
    return message->sends ? canto_comm_send(run->comm, message->peer, rows, request)
                          : canto_comm_recv(run->comm, message->peer, rows, request);
}

static canto_status start_messages(canto_execution *run, int step)
{
    const canto_compiled *compiled = run->compiled;
    if (run->started == compiled->messages_n || compiled->messages[run->started].step > step)
        return CANTO_OK;
    CANTO_TRY(canto_comm_group_begin(run->comm));
    while (run->started < compiled->messages_n && compiled->messages[run->started].step == step) {
        if (takes_part(run, &compiled->messages[run->started]))
            CANTO_TRY(start_message(run, run->started));
        run->started++;
    }
    return canto_comm_group_end(run->comm);
}

static void take_in(canto_execution *run, const canto_message *message)
{
    const float *rows = message_rows(run, message);
    if (message->kind == CANTO_MOVE_SUM)
        run->pass->join(run->operands, message->rows, rows,
                        visit_sum(run, &run->compiled->visits[message->joins]));
    if (message->kind == CANTO_MOVE_HOME)
        run->pass->home(run->operands, message->rows, rows, message->home_row);
}

static canto_status finish_messages(canto_execution *run, int step)
{
    const canto_compiled *compiled = run->compiled;
    for (; run->finished < compiled->messages_n; run->finished++) {
        const int index = compiled->by_end[run->finished];
        const canto_message *message = &compiled->messages[index];
        if (message->end > step) break;
        if (!takes_part(run, message)) continue;
        CANTO_TRY(canto_comm_wait(run->comm, &run->compiled->requests[index]));
        run->open--;
        if (!message->sends) take_in(run, message);
    }
    return CANTO_OK;
}

static canto_status poll_when_due(canto_execution *run)
{
    if (run->open == 0) return CANTO_OK;
    const double now = canto_clock_s();
    if (now - run->polled_s < poll_interval_s) return CANTO_OK;
    CANTO_TRY(canto_comm_poll(run->comm, NULL, NULL));
    run->polled_s = canto_clock_s();
    return CANTO_OK;
}

// --- tiles ---

// Keys and sums of one stop; row 0 is key position `begin`.
typedef struct canto_keys {
    int64_t begin, end;
    const float *part;
    float *sum;
} canto_keys;

// The piece lies inside the span and the keys.
static canto_status compute_piece(canto_execution *run, const canto_span *span,
                                  const canto_keys *keys, const canto_band *piece)
{
    const int64_t offset = (piece->k0 - keys->begin) * run->width;
    run->pass->tile(run->operands, piece, span->local + piece->q0 - span->begin,
                    keys->part + offset, keys->sum ? keys->sum + offset : NULL);
    return poll_when_due(run);
}

// Which tiles are cut depends on the schedule alone, so it is the same in every run.
static canto_status compute_tile(canto_execution *run, const canto_span *span,
                                 const canto_keys *keys, const canto_band *tile)
{
    if (run->open == 0) return compute_piece(run, span, keys, tile);
    for (int64_t q = tile->q0; q < tile->q1; q += run->piece_q) {
        for (int64_t k = tile->k0; k < tile->k1; k += run->piece_k) {
            canto_band piece;
            if (canto_band_clip(tile, q, q + run->piece_q, k, k + run->piece_k, &piece))
                CANTO_TRY(compute_piece(run, span, keys, &piece));
        }
    }
    return CANTO_OK;
}

// First of my spans that ends after `position`.
static int first_span(const canto_shards *shards, int rank, int64_t position)
{
    int low = shards->first[rank];
    int high = shards->first[rank + 1];
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (shards->spans[middle].end > position) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// First band from which on keys after `begin` can occur: key_end grows.
static int first_band(const canto_compiled *compiled, int64_t begin)
{
    int low = 0;
    int high = compiled->mask->bands_n;
    while (low < high) {
        const int middle = low + (high - low) / 2;
        if (compiled->key_end[middle] > begin) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// Tiles are mask x my spans x keys, clipped; they are found by bisection and stored nowhere.
static canto_status compute_keys(canto_execution *run, const canto_keys *keys)
{
    const canto_compiled *compiled = run->compiled;
    const canto_shards *shards = compiled->shards;
    const int spans_end = shards->first[compiled->rank + 1];
    for (int b = first_band(compiled, keys->begin);
         b < compiled->mask->bands_n && compiled->key_begin[b] < keys->end; b++) {
        const canto_band *band = &compiled->mask->bands[b];
        for (int s = first_span(shards, compiled->rank, band->q0);
             s < spans_end && shards->spans[s].begin < band->q1; s++) {
            const canto_span *span = &shards->spans[s];
            canto_band tile;
            if (canto_band_clip(band, span->begin, span->end, keys->begin, keys->end, &tile))
                CANTO_TRY(compute_tile(run, span, keys, &tile));
        }
    }
    return CANTO_OK;
}

static canto_status compute_visit(canto_execution *run, const canto_stop *stop)
{
    const int64_t rows = stop->end - stop->begin;
    canto_keys keys = {stop->begin, stop->end, run->parts + stop->row * run->width, NULL};
    if (run->pass->sums) {
        keys.sum = visit_sum(run, stop);
        run->pass->zero(run->operands, rows, keys.sum);
    }
    return compute_keys(run, &keys);
}

static canto_status compute_own(canto_execution *run, const canto_stop *stop)
{
    const int64_t offset = stop->row * run->width;
    const canto_keys keys = {stop->begin, stop->end, run->operands->kv + offset,
                             run->pass->sums ? run->operands->dkv + offset : NULL};
    return compute_keys(run, &keys);
}

static canto_status compute(canto_execution *run, int step, int last)
{
    const canto_compiled *compiled = run->compiled;
    for (; run->visits_done < compiled->visits_n; run->visits_done++) {
        if (compiled->visits[run->visits_done].step > step) break;
        canto_trace_begin(run->comm->trace, CANTO_TRACE_COMPUTE, "tiles", "step", step);
        CANTO_TRY(compute_visit(run, &compiled->visits[run->visits_done]));
        canto_trace_end(run->comm->trace);
    }
    for (; run->own_done < compiled->own_n; run->own_done++) {
        const canto_stop *stop = &compiled->own[run->own_done];
        if ((run->pass->own_last ? last : stop->step) > step) break;
        canto_trace_begin(run->comm->trace, CANTO_TRACE_COMPUTE, "own tiles", "step", step);
        CANTO_TRY(compute_own(run, stop));
        canto_trace_end(run->comm->trace);
    }
    return CANTO_OK;
}

// --- runs ---

static canto_status run_pass(const canto_pass *pass, const canto_operands *operands,
                             canto_compiled *compiled, canto_comm *comm, void *work)
{
    CANTO_CHECK(comm->rank == compiled->rank && comm->size == compiled->size,
                "%s: the schedule is rank %d's of %d, the communicator says rank %d of %d",
                pass->name, compiled->rank, compiled->size, comm->rank, comm->size);
    const int64_t width = canto_attention_kv_width(operands->shape);
    canto_execution run = {.pass = pass,
                           .operands = operands,
                           .compiled = compiled,
                           .comm = comm,
                           .width = width,
                           .parts = work,
                           .sums =
                               (float *)work + canto_compiled_part_rows(compiled->shards) * width};
    choose_pieces(&run, operands->shape);
    pass->start(operands);
    const int last = pass->sums ? compiled->last_backward : compiled->last_forward;
    for (int step = 0; step <= last; step++) {
        CANTO_TRY(start_messages(&run, step));
        CANTO_TRY(compute(&run, step, last));
        CANTO_TRY(finish_messages(&run, step));
    }
    return CANTO_OK;
}

size_t canto_attend_work_bytes(const canto_shards *shards, const canto_attention_shape *shape)
{
    const int64_t rows = canto_compiled_part_rows(shards) + canto_compiled_sum_rows(shards);
    return (size_t)(rows * canto_attention_kv_width(shape)) * sizeof(float);
}

canto_status canto_attend_forward(canto_compiled *compiled, canto_comm *comm,
                                  const canto_device *device, const canto_attention_shape *shape,
                                  const float *q, const float *kv, float *o, float *lse, void *work)
{
    const canto_operands operands = {
        .device = device,
        .shape = shape,
        .tokens = compiled->tokens,
        .q = q,
        .kv = kv,
        .o = o,
        .lse = lse,
    };
    return run_pass(&canto_pass_kv_forward, &operands, compiled, comm, work);
}

canto_status canto_attend_backward(canto_compiled *compiled, canto_comm *comm,
                                   const canto_device *device, const canto_attention_shape *shape,
                                   const float *q, const float *kv, const float *o,
                                   const float *lse, const float *dout, float *delta, float *dq,
                                   float *dkv, void *work)
{
    const canto_operands operands = {
        .device = device,
        .shape = shape,
        .tokens = compiled->tokens,
        .q = q,
        .kv = kv,
        .dout = dout,
        .o = (float *)o, // only read, as is lse
        .lse = (float *)lse,
        .delta = delta,
        .dq = dq,
        .dkv = dkv,
    };
    return run_pass(&canto_pass_kv_backward, &operands, compiled, comm, work);
}
