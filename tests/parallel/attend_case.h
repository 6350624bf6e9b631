// One attention problem on one rank: shards, mask, schedule, compiled schedule, and this rank's
// tokens of global inputs that are the same on every rank. Shared by the tests of the executor.
#ifndef CANTO_TESTS_PARALLEL_ATTEND_CASE_H
#define CANTO_TESTS_PARALLEL_ATTEND_CASE_H

#include "tests/canto_test.h"

#include "parallel/attend.h"
#include "parallel/strategy.h"

// The whole sequence's inputs, fp32, from canto_test_fill.
typedef struct canto_test_inputs {
    canto_attention_shape shape;
    int64_t tokens;
    float *q, *kv, *dout;
} canto_test_inputs;

void canto_test_inputs_create(canto_arena *arena, const canto_attention_shape *shape,
                              int64_t tokens, canto_test_inputs *out);

typedef struct canto_test_split {
    const canto_strategy *strategy;
    canto_layout layout;
    const int *weights; // for CANTO_LAYOUT_UNEVEN
    int sequences_n;
    const int64_t *bounds; // [sequences_n + 1]
} canto_test_split;

// Tensors of canto_test_device.
typedef struct canto_test_tensors {
    float *q, *kv, *dout, *o, *lse, *delta, *dq, *dkv;
    void *work;
} canto_test_tensors;

typedef struct canto_test_case {
    canto_comm *comm;                // borrowed, a lane of canto_test_device
    const canto_test_inputs *inputs; // borrowed
    canto_shards shards;
    canto_needs needs;
    canto_schedule schedule;
    canto_compiled *compiled;
    int64_t tokens; // mine
    canto_test_tensors at;
    float *o, *lse, *dq, *dkv; // what the runs have brought, for the host
} canto_test_case;

// Local; the mask must live as long as the case. `memory` is of canto_test_device.
void canto_test_case_create(canto_arena *arena, canto_arena *memory, canto_comm *comm,
                            const canto_test_split *split, const canto_mask *mask,
                            const canto_test_inputs *inputs, canto_test_case *out);
// Collective on the case's communicator.
void canto_test_case_forward(canto_test_case *it);
void canto_test_case_backward(canto_test_case *it);

// all[row] = mine[local row] for each of my tokens; rows are `width` numbers.
void canto_test_case_scatter(const canto_test_case *it, int64_t width, const float *mine,
                             float *all);

#endif
