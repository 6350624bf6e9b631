// Gradient reduction with sharded optimizer state: every bucket of the flat gradient (one block of
// the model) is cut into one piece a rank; a rank gets the sum of its piece over all ranks, updates
// its piece of the parameters, and sends it to all. Reduce-scatter and all-gather over
// point-to-point, W-1 messages a bucket and rank each, P(W-1)/W floats sent each way; sums in a
// fixed order.
#ifndef CANTO_PARALLEL_GRAD_H
#define CANTO_PARALLEL_GRAD_H

#include "runtime/arena.h"

enum { CANTO_GRAD_WINDOW = 3 }; // buckets under way at once

// One bucket under way. Message h - 1 of `in` and `out` goes h ranks far.
typedef struct canto_grad_exchange {
    int bucket;
    int added;          // messages of `in` that are in the sum
    canto_request *in;  // [W - 1], in the tables
    canto_request *out; // [W - 1], in the tables
    float *received;    // [W - 1, largest piece], in the memory
} canto_grad_exchange;

typedef struct canto_grad {
    canto_comm *comm; // borrowed
    const canto_device *device;
    int buckets_n;
    const int64_t *bounds; // borrowed: buckets are [bounds[i], bounds[i + 1]) of `grads`
    float *grads;          // borrowed
    int64_t piece_max;
    canto_grad_exchange window[CANTO_GRAD_WINDOW];
    int *order;  // [buckets_n], in the tables: buckets started since the last finish, in order
    bool *known; // [buckets_n], in the tables: is in `order`
    int started, begun, done; // of `order`: asked for >= under way >= summed
    canto_request *gathers;   // [buckets_n, W - 1, 2], in the tables
    int gathered;             // buckets that have come, in the order of the gather
    float *params;            // borrowed: of the gather under way; NULL: none
} canto_grad;

// comm: the lane, borrowed as bounds and grads are. tables: the host's memory; memory: the
// device's, as is grads. May measure.
canto_status canto_grad_create(canto_arena *tables, canto_arena *memory, canto_comm *comm,
                               const canto_device *device, int buckets_n, const int64_t *bounds,
                               float *grads, canto_grad *out);
// The piece of `bucket` that `rank` owns, as a range of the flat array. Pure; good after measuring.
void canto_grad_piece(const canto_grad *grad, int bucket, int rank, int64_t *begin, int64_t *end);

// What one step's reduction and gathering send: of `rank`, or of all ranks together (-1). Pure.
void canto_grad_price(int rank, int size, int buckets_n, const int64_t *bounds, int64_t *messages,
                      int64_t *bytes);

// Starts the reduction of one bucket, whose gradients must then stay untouched; all ranks start
// buckets in the same order, each once. Poll between pieces of work. Sends nothing yet when
// CANTO_GRAD_WINDOW buckets are under way: a later poll does.
canto_status canto_grad_start(canto_grad *grad, int bucket);
canto_status canto_grad_poll(canto_grad *grad);
// All started buckets: my pieces of `grads` then hold the sums over all ranks (the rest of `grads`
// keeps this rank's own gradients). The sum of rank r's piece is r + (r-1) + ... + (r+1), in this
// order whatever arrives first.
canto_status canto_grad_finish(canto_grad *grad);
// Every rank's pieces of `params` (same layout) to every rank, while other work goes on: start,
// then ask for each bucket before it is read, and poll in between. Buckets come in the order in
// which a forward pass reads them: n - 1 (what surrounds the blocks), 0, 1, ... n - 2. Until `need`
// has returned, a bucket must not be touched, but for reading one's own pieces. Collective, after
// canto_grad_finish and before the next canto_grad_start.
canto_status canto_grad_gather_start(canto_grad *grad, float *params);
// Bucket `bucket`, and those before it in the order above, are complete. Nothing without a gather.
canto_status canto_grad_gather_need(canto_grad *grad, int bucket);
canto_status canto_grad_gather_finish(canto_grad *grad); // all buckets

#endif
