// Bytes of one rank from its schedule's visits, its scan's actions and its pieces of the buckets.
#include "parallel/traffic.h"

// A part goes out with every visit it is taken from here for; backwards, the sum of every visit
// here goes out once, to the next visit of the chain or home.
canto_traffic canto_schedule_traffic(const canto_schedule *schedule, size_t row_bytes,
                                     bool backward)
{
    canto_traffic sum = {0};
    for (int64_t i = 0; i < schedule->visits_n; i++) {
        const canto_visit *visit = &schedule->visits[i];
        const canto_part *part = &schedule->parts[visit->part];
        const int sends =
            (visit->from == schedule->rank) + (backward && visit->to == schedule->rank);
        sum.messages += sends;
        sum.bytes += sends * (part->end - part->begin) * (int64_t)row_bytes;
    }
    return sum;
}

canto_traffic canto_plan_attend_traffic(const canto_plan *plan, int mask,
                                        const canto_attention_shape *shape, bool backward)
{
    const size_t row_bytes = sizeof(float) * (size_t)canto_attention_kv_width(shape);
    return canto_schedule_traffic(&plan->masks[mask].schedule, row_bytes, backward);
}

canto_traffic canto_plan_recur_traffic(const canto_plan *plan, const canto_linear_shape *shape,
                                       bool backward)
{
    canto_traffic sum = {0};
    if (plan->shards.size > 1)
        canto_scan_sends(plan->scan, canto_linear_state_count(shape),
                         canto_linear_transition_count(shape), backward, &sum.messages, &sum.bytes);
    return sum;
}

canto_traffic canto_grad_traffic(const canto_grad *grad)
{
    canto_traffic sum;
    canto_grad_price(grad->comm->rank, grad->comm->size, grad->buckets_n, grad->bounds,
                     &sum.messages, &sum.bytes);
    return sum;
}
