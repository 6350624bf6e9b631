// A stand-in for the kernels that adds small integers, so that every sum is exact and a run on any
// division can be compared bit by bit with a loop over all pairs. A pair that is computed twice or
// never, a part read from the wrong rows, a sum that stays away, goes home twice or is overwritten
// on its way: each changes a number. Ranks are threads.
#ifndef CANTO_TESTS_PARALLEL_COUNTING_H
#define CANTO_TESTS_PARALLEL_COUNTING_H

#include "parallel/attend.h"
#include "parallel/strategy.h"
#include "tests/parallel/world.h"

enum { COUNTING_TOKENS_MAX = 1800, COUNTING_BANDS = 24, COUNTING_WIDTH = 2 };

extern const canto_attention_shape counting_shape; // one head of one number each
extern const canto_kernels counting_kernels;
extern const canto_device counting_device;

typedef struct counting_tokens {
    float q[COUNTING_TOKENS_MAX], kv[COUNTING_WIDTH * COUNTING_TOKENS_MAX];
    float dout[COUNTING_TOKENS_MAX], o[COUNTING_TOKENS_MAX], lse[COUNTING_TOKENS_MAX];
    float delta[COUNTING_TOKENS_MAX], dq[COUNTING_TOKENS_MAX];
    float dkv[COUNTING_WIDTH * COUNTING_TOKENS_MAX];
} counting_tokens;

typedef struct counting_problem {
    world_desc desc;
    const canto_strategy *strategy;
    const canto_device *device;
    int bands_n;
    canto_band bands[COUNTING_BANDS];
    counting_tokens expected, found; // of the whole stream
} counting_problem;

void counting_roll_inputs(dice *d, counting_tokens *x);

// One rank's objects. Opening measures, creates; making compiles the problem's mask and strategy.
// These return a status because they run inside threads.
typedef struct counting_rank {
    canto_arena arena;
    canto_shards shards;
    canto_mask mask;
    canto_needs needs;
    canto_schedule schedule;
    canto_compiled *compiled;
    void *work;
} counting_rank;

canto_status counting_rank_open(const counting_problem *p, int rank, counting_rank *it);
canto_status counting_rank_make(const counting_problem *p, counting_rank *it);
// Forward and backward on this rank's tokens; results go to p->found.
canto_status counting_rank_run(counting_problem *p, canto_comm *comm, counting_rank *it);
void counting_rank_close(counting_rank *it);

// All of the above on one rank; a canto_test_body whose context is the problem.
canto_status counting_run_rank(canto_comm *comm, void *problem);
// On all ranks, then compares.
void counting_run_and_compare(counting_problem *p);

// A random layout of at most 120 tokens over `size` ranks, and a random mask. bounds [3] and
// weights [size] are filled and borrowed.
void counting_roll_problem(dice *d, int size, counting_problem *p, int64_t *bounds, int *weights);

#endif
