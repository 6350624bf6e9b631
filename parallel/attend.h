// Runs a schedule for softmax attention: sends parts, computes tiles, joins sums. One executor, two
// passes:
//
//     pass          travels   follows                stays
//     kv forward    k, v      -                      o, lse (merged)
//     kv backward   k, v      dk, dv in fp32         dq (added)
//
// The backward pass is derived from the same schedule. The owner's own contribution never travels.
#ifndef CANTO_PARALLEL_ATTEND_H
#define CANTO_PARALLEL_ATTEND_H

#include "parallel/schedule.h"
#include "runtime/backend.h"
#include "runtime/comm.h"

// One rank's messages and buffer slots of a schedule, forward and backward.
typedef struct canto_compiled canto_compiled;

// Sized for any mask of at most bands_max bands. part_rows and sum_rows are the buffer rows that
// compiled schedules may use; the bounds (two blocks of parts, four of sums, in units of the
// largest shard) hold for ring and gather and any mask.
canto_status canto_compiled_create(canto_arena *arena, const canto_shards *shards, int bands_max,
                                   int rank, canto_compiled **out);
// No allocation. The schedule is this rank's (schedule->rank == rank). Keeps pointers to mask,
// shards and schedule.
canto_status canto_compiled_make(canto_compiled *compiled, const canto_schedule *schedule,
                                 const canto_mask *mask, const canto_shards *shards);

// Work memory of one run: receive buffers and sums.
size_t canto_attend_work_bytes(const canto_compiled *compiled, const canto_attention_shape *shape);

// Collective on comm (a lane of its own). My tokens in shard order; shapes as in runtime/backend.h:
// q [T, heads, key_dim], kv [T, kv_width], o [T, heads, value_dim], lse [T, heads]. o and lse are
// overwritten; rows without keys get 0 and -inf.
canto_status canto_attend_forward(const canto_compiled *compiled, canto_comm *comm,
                                  const canto_kernels *kernels, const canto_attention_shape *shape,
                                  const float *q, const float *kv, float *o, float *lse,
                                  void *work);
// delta [T, heads] is scratch. dq and dkv are overwritten.
canto_status canto_attend_backward(const canto_compiled *compiled, canto_comm *comm,
                                   const canto_kernels *kernels, const canto_attention_shape *shape,
                                   const float *q, const float *kv, const float *o,
                                   const float *lse, const float *dout, float *delta, float *dq,
                                   float *dkv, void *work);

#endif
