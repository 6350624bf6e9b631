// The price of one rank's part of a step, in messages and bytes that it sends: read from the plan,
// before or without anything being sent. What the lanes count afterwards must be the same. All
// functions are pure and local.
#ifndef CANTO_PARALLEL_TRAFFIC_H
#define CANTO_PARALLEL_TRAFFIC_H

#include "parallel/grad.h"
#include "parallel/plan.h"

typedef struct canto_traffic {
    int64_t messages, bytes;
} canto_traffic;

static inline canto_traffic canto_traffic_add(canto_traffic a, canto_traffic b)
{
    return (canto_traffic){a.messages + b.messages, a.bytes + b.bytes};
}

// One pass of softmax attention by a schedule of one rank. row_bytes: of a token's keys and values,
// and of their gradients.
canto_traffic canto_schedule_traffic(const canto_schedule *schedule, size_t row_bytes,
                                     bool backward);
// One pass of a layer under the plan's documents: attention under `mask`, or linear attention.
canto_traffic canto_plan_attend_traffic(const canto_plan *plan, int mask,
                                        const canto_attention_shape *shape, bool backward);
canto_traffic canto_plan_recur_traffic(const canto_plan *plan, const canto_linear_shape *shape,
                                       bool backward);
// Reduction of all buckets once, and the gathering of all parameters.
canto_traffic canto_grad_traffic(const canto_grad *grad);

#endif
