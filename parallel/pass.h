// What travels in a run of a schedule, what follows it, and what stays: a const table.
//
//     pass          travels   follows, joined at each visit   stays
//     kv forward    k, v      -                                o, lse (merged)
//     kv backward   k, v      dk, dv in fp32 (added)           dq (added)
//
// Internal to parallel/: users see attend.h. All functions are local.
#ifndef CANTO_PARALLEL_PASS_H
#define CANTO_PARALLEL_PASS_H

#include "runtime/device.h"

// The arrays of one run, my tokens in shard order; shapes as in runtime/backend.h.
typedef struct canto_operands {
    const canto_device *device;         // borrowed
    const canto_attention_shape *shape; // borrowed
    int64_t tokens;
    const float *q, *kv, *dout; // borrowed
    float *o, *lse, *delta;     // borrowed
    float *dq, *dkv;            // borrowed
} canto_operands;

typedef struct canto_pass {
    const char *name;
    bool sums;     // a sum follows each part, and the last visit of a chain sends it home
    bool own_last; // own tiles run in the last step, where they hide the homecoming, else in the
                   // first
    // What stays and what comes home, before the first tile.
    void (*start)(const canto_operands *operands);
    // One banded rectangle: q_row is my token at tile->q0; part and sum point at the row of
    // tile->k0. sum is NULL in a pass without sums.
    void (*tile)(const canto_operands *operands, const canto_band *tile, int64_t q_row,
                 const float *part, float *sum);
    // The sum of a visit starts from zero; NULL in a pass without sums.
    void (*zero)(const canto_operands *operands, int64_t rows, float *sum);
    // sum += incoming, in a visit's sum.
    void (*join)(const canto_operands *operands, int64_t rows, const float *incoming, float *sum);
    // A finished sum comes home; row is the first of my tokens it belongs to.
    void (*home)(const canto_operands *operands, int64_t rows, const float *incoming, int64_t row);
} canto_pass;

extern const canto_pass canto_pass_kv_forward, canto_pass_kv_backward;

#endif
