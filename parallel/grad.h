// Gradient reduction with sharded optimizer state: every bucket of the flat gradient (one block of
// the model) is cut into one piece a rank; a rank gets the sum of its piece over all ranks, updates
// its piece of the parameters, and sends it to all. Reduce-scatter and all-gather over
// point-to-point, W-1 messages a bucket and rank each, P(W-1)/W floats sent each way; sums in a
// fixed order.
#ifndef CANTO_PARALLEL_GRAD_H
#define CANTO_PARALLEL_GRAD_H

#include "runtime/arena.h"
#include "runtime/backend.h"
#include "runtime/comm.h"

typedef struct canto_grad canto_grad;

// Buckets are [bounds[i], bounds[i+1]) of the flat array `grads`. comm: the lane, borrowed.
canto_status canto_grad_create(canto_arena *arena, canto_comm *comm, const canto_kernels *kernels,
                               int buckets_n, const int64_t *bounds, float *grads,
                               canto_grad **out);
// The piece of `bucket` that `rank` owns, as a range of the flat array. Pure.
void canto_grad_piece(const canto_grad *grad, int bucket, int rank, int64_t *begin, int64_t *end);

// Starts the reduction of one bucket; all ranks start buckets in the same order. Poll between
// pieces of work.
canto_status canto_grad_start(canto_grad *grad, int bucket);
canto_status canto_grad_poll(canto_grad *grad);
// All started buckets: my pieces of `grads` then hold the sums over all ranks (the rest of `grads`
// is undefined).
canto_status canto_grad_finish(canto_grad *grad);
// Every rank's pieces of `params` (same layout) to every rank.
canto_status canto_grad_gather(canto_grad *grad, float *params);

#endif
