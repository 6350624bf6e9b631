// Linear attention of a whole divided stream: kernels, scan and pieces put together, without
// weights. A linear layer is: project; features; recur; normalise or gate; project.
//
//     forward    U_s of my segments, start the scan; meanwhile y of every piece from a zero state;
//                finish; y += what the incoming states add
//     backward   W_s of my segments, start the scan backwards; meanwhile the pieces whose document
//                ends before their segment does; finish; the last piece of each segment
//
// Per layer and direction one state of canto_linear_state_count floats, with gates often its
// transition too, is sent for each message of the plan's transport (parallel/scan.h). On one rank
// nothing is scanned, because nothing comes in.
#ifndef CANTO_PARALLEL_RECUR_H
#define CANTO_PARALLEL_RECUR_H

#include "parallel/plan.h"

// Floats of `states`, which the backward pass needs again: [plan->segments, state_count].
int64_t canto_recur_states_count(const canto_plan *plan, const canto_linear_shape *shape);
// Work memory of one forward or backward run, whatever the documents.
size_t canto_recur_work_bytes(const canto_plan *plan, const canto_linear_shape *shape);

// Collective on the context group. My tokens in shard order, shapes as in runtime/backend.h:
// q [T, heads, key_dim], kv [T, kv_width], gates [T, kv_heads, key_dim] (NULL unless gated),
// y [T, heads, columns]; the state starts from zero at every document. y and states (incoming state
// of each segment, zero where nothing comes in) are overwritten.
canto_status canto_recur_forward(canto_plan *plan, const canto_linear_shape *shape, const float *q,
                                 const float *kv, const float *gates, float *y, float *states,
                                 void *work);
// Only y, to the same bits, from the states that a forward run of the same documents left. Local.
canto_status canto_recur_again(canto_plan *plan, const canto_linear_shape *shape, const float *q,
                               const float *kv, const float *gates, const float *states, float *y,
                               void *work);
// The same documents as in the forward run. dq, dkv and dgates are overwritten.
canto_status canto_recur_backward(canto_plan *plan, const canto_linear_shape *shape, const float *q,
                                  const float *kv, const float *gates, const float *states,
                                  const float *dy, float *dq, float *dkv, float *dgates,
                                  void *work);

#endif
