// Runs a schedule for softmax attention: sends parts, computes tiles, joins sums. One executor, two
// passes:
//
//     pass          travels   follows                stays
//     kv forward    k, v      -                      o, lse (merged)
//     kv backward   k, v      dk, dv in fp32         dq (added)
//
// The backward pass is derived from the same schedule. The owner's own contribution never travels.
// A fixed schedule gives the same bits in every run: nothing depends on the order of arrival.
#ifndef CANTO_PARALLEL_ATTEND_H
#define CANTO_PARALLEL_ATTEND_H

#include "parallel/schedule.h"
#include "runtime/device.h"

// One rank's messages and buffer slots of a schedule, forward and backward.
typedef struct canto_compiled canto_compiled;

// Sized for any mask of at most bands_max bands. Buffers hold two blocks of parts and four of sums,
// a block being the largest shard; that is enough for ring and gather and any mask.
canto_status canto_compiled_create(canto_arena *arena, const canto_shards *shards, int bands_max,
                                   int rank, canto_compiled **out);
// No allocation. The schedule is this rank's (schedule->rank == rank). Keeps pointers to mask and
// shards, and copies what it needs of the schedule. CANTO_ERROR_CAPACITY if the schedule needs
// larger buffers.
canto_status canto_compiled_make(canto_compiled *compiled, const canto_schedule *schedule,
                                 const canto_mask *mask, const canto_shards *shards);

// Most messages that a run has open at one time, for any mask of at most bands_max bands.
int canto_attend_messages(const canto_shards *shards, int bands_max);

// Work memory of one run, for any mask: receive buffers and sums. 0 on a single rank. Reads the
// numbers of `shards` only, so a measuring pass may ask.
size_t canto_attend_work_bytes(const canto_shards *shards, const canto_attention_shape *shape);

// Collective on comm (a lane of the device, of its own). My tokens in shard order; shapes as in
// runtime/backend.h: q [T, heads, key_dim], kv [T, kv_width], o [T, heads, value_dim], lse [T,
// heads]. o and lse are overwritten; rows without keys get 0 and -inf. A compiled schedule runs
// once at a time. No allocation.
canto_status canto_attend_forward(canto_compiled *compiled, canto_comm *comm,
                                  const canto_device *device, const canto_attention_shape *shape,
                                  const float *q, const float *kv, float *o, float *lse,
                                  void *work);
// delta [T, heads] is scratch. dq and dkv are overwritten.
canto_status canto_attend_backward(canto_compiled *compiled, canto_comm *comm,
                                   const canto_device *device, const canto_attention_shape *shape,
                                   const float *q, const float *kv, const float *o,
                                   const float *lse, const float *dout, float *delta, float *dq,
                                   float *dkv, void *work);

#endif
