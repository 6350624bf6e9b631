// Who sends which keys and values to whom, and when: data, made by pure functions (strategies) and
// run by one executor.
//
// A *part* is a run of positions inside one span of its owner; it travels as one message and is
// needed whole or not at all, because spans are cut where the set of ranks that need them changes.
// A *visit* says that a rank computes with a part: from whom it gets it, in which step both ends
// start the message, from which step it is usable. Visits of a part form chains: in the backward
// pass the sum of gradients goes from visit to visit along a chain, one step behind, and from the
// last one home to the owner. Steps are labels, not barriers. Both ends start a message in the step
// it names, in the order (step, kind, visit): no tags, no cycle of waits.
//
//     needs      who needs which keys                    canto_needs_make
//     schedule   parts and visits of one rank or of all  canto_schedule_make
//     verify     every rank at once, without messages    canto_schedule_verify
//     price      messages, bytes, memory, seconds        canto_schedule_price
//     moves      one rank's messages, or everybody's     canto_moves_make      (parallel/moves.h)
//     run        with a pass                             canto_attend_forward  (parallel/attend.h)
//
// All functions here are pure and local.
#ifndef CANTO_PARALLEL_SCHEDULE_H
#define CANTO_PARALLEL_SCHEDULE_H

#include "parallel/mask.h"
#include "parallel/shard.h"
#include "runtime/arena.h"

typedef struct canto_part {
    int owner;
    int step; // when the owner computes its own tiles (forward)
    int64_t begin, end;
} canto_part;

typedef struct canto_visit {
    int part, chain; // chains are numbered within their part
    int from, to;    // from: any rank that holds the part
    int step, need;  // both ends start in `step`; usable from `need` > `step`
} canto_visit;

typedef struct canto_run {
    int64_t begin, end;
} canto_run;

// Key positions that rank r has queries for: runs[first[r] .. first[r+1]), sorted, disjoint,
// maximal. All arrays are in the arena.
typedef struct canto_needs {
    int size;
    int runs_n, runs_capacity;
    canto_run *runs;
    int *first; // [size + 1]
    // Where the set of ranks, other than the holder, that need a position changes inside a span:
    // sorted, unique.
    int cuts_n;
    int64_t *cuts; // [2 * runs_capacity]
} canto_needs;

// Parts are sorted by position and divide [0, length). Visits are sorted by (part, chain, need).
// The schedule of one rank has all parts, and the visits of which it needs to know: those that
// bring it a part or take one from it, the visits before and after its own in a chain, and the last
// visit of each chain whose part it owns (it brings the sum home).
typedef struct canto_schedule {
    int size;
    int rank; // whose visits are stored; -1: everybody's
    int parts_n, parts_capacity;
    int64_t visits_n, visits_capacity;
    canto_part *parts;
    canto_visit *visits;
    uint64_t digest; // over all parts and all visits of all ranks: equal on every rank if the plans
                     // agree
} canto_schedule;

typedef struct canto_strategy canto_strategy;

// Bounds for any mask that canto_mask_set makes of at most `bands_max` documents, for one rank or
// for all (rank -1); they read the numbers of `shards` only, so a measuring pass may ask. A rank's
// visits are of the order of the number of spans, unless spans have very different lengths. Masks
// from canto_mask_set_bands fit as long as at most two bands meet any query; others need a larger
// bands_max.
typedef struct canto_schedule_bounds {
    int runs, parts;
    int sent; // parts of one rank that another rank needs
    int64_t visits;
} canto_schedule_bounds;
canto_schedule_bounds canto_schedule_bound(const canto_shards *shards, int bands_max, int rank);

canto_status canto_needs_create(canto_arena *arena, const canto_shards *shards, int bands_max,
                                canto_needs *out);
canto_status canto_schedule_create(canto_arena *arena, const canto_shards *shards, int bands_max,
                                   int rank, canto_schedule *out);

// No allocation; CANTO_ERROR_CAPACITY if the bounds do not hold.
canto_status canto_needs_make(canto_needs *needs, const canto_mask *mask,
                              const canto_shards *shards);
// Whether the rank needs some, or all, of the keys [begin, end).
bool canto_needs_meets(const canto_needs *needs, int rank, int64_t begin, int64_t end);
bool canto_needs_covers(const canto_needs *needs, int rank, int64_t begin, int64_t end);
// CANTO_ERROR_UNSUPPORTED if the strategy is not applicable to this number of ranks.
canto_status canto_schedule_make(canto_schedule *schedule, const canto_strategy *strategy,
                                 const canto_needs *needs, const canto_shards *shards);

// No schedule uses steps beyond this one: a two-level ring needs less than two a rank.
static inline int canto_schedule_step_max(int size)
{
    return 4 * size;
}

// Checks a schedule of all ranks (rank -1; the mask's keys belong to `shards`): parts divide the
// keys; a rank is visited exactly once if it needs a part and never otherwise; the sender holds
// what it sends; step < need; need grows along a chain; playing forward and backward messages of
// all ranks ends. CANTO_ERROR_MISMATCH with a sentence that names the part, the visit and the
// ranks. Uses memory of its own.
canto_status canto_schedule_verify(const canto_schedule *schedule, const canto_mask *mask,
                                   const canto_shards *shards);

typedef struct canto_machine {
    double alpha_s; // seconds a message costs
    double beta_s_per_byte;
    double gamma_s_per_pair; // seconds one (query, key) pair of all heads costs
} canto_machine;

typedef struct canto_price {
    int64_t messages, rows;         // part messages of all ranks, token rows they carry
    int64_t sum_messages, sum_rows; // what the backward pass adds for gradient sums
    int64_t peak_part_rows;         // largest receive buffer of any rank, forward
    int64_t peak_sum_rows;          // largest buffer of sums of any rank, backward
    int64_t pairs_max;              // most (query, key) pairs on one rank
    double seconds;                 // longest path of the forward pass on the given machine
} canto_price;

// row_bytes: bytes of one token's keys and values.
canto_status canto_schedule_price(const canto_schedule *schedule, const canto_mask *mask,
                                  const canto_shards *shards, size_t row_bytes,
                                  const canto_machine *machine, canto_price *out);

#endif
