// Linear attention over a divided sequence: the ordered fold of segment summaries, with
// interchangeable transports.
//
// Segments are the spans of all ranks in order of position. Segment s turns an incoming state S
// into A_s S + U_s; what its owner needs is the fold of the segments before it, [0, s). The
// backward pass is the same fold on mirrored numbering: G_s, the gradient of the state that leaves
// segment s, is the fold of the segments after it with W_s (the gradient of the incoming state from
// own tokens) in the place of U_s. With a constant decay A_s = exp(log_decay * tokens) is known to
// everybody and never travels; a document that starts inside a segment makes A_s = 0.
//
//     transport   messages   bytes                      what it is
//     lasp1       W - 1      (W-1) states               a chain, each rank after its predecessor
//     (Sun et al., arXiv 2404.02882) lasp2       W(W-1)     W(W-1) summaries           everybody
//     gets every summary and folds (Sun et al., arXiv 2502.07563)
//
// (contiguous layout, one sequence; zigzag doubles both.) Bytes do not depend on the number of
// tokens.
#ifndef CANTO_PARALLEL_SCAN_H
#define CANTO_PARALLEL_SCAN_H

#include "parallel/mask.h"
#include "parallel/shard.h"
#include "runtime/arena.h"
#include "runtime/comm.h"

// One operation of a fold. from != to: move the value [a, b) from rank to rank. from == to: join
// [a, m) and [m, b) into [a, b).
typedef struct canto_fold_op {
    int step;
    int from, to;
    int a, m, b;
} canto_fold_op;

typedef struct canto_fold {
    int segments;
    int ops_n, ops_capacity;
    const int *owner;   // borrowed, [segments]
    canto_fold_op *ops; // sorted by step
} canto_fold;

typedef struct canto_transport {
    const char *name;
    const char *price; // one line for people
    int (*ops_bound)(int segments, int size);
    // Pure: operations of all ranks after which owner[s] holds [0, s) for every s > 0.
    void (*generate)(canto_fold *fold, int size);
} canto_transport;

extern const canto_transport canto_transport_lasp1, canto_transport_lasp2;
extern const canto_transport *const canto_transports[]; // ended by NULL
const canto_transport *canto_transport_find(const char *name);

// Operands present where they are used, intervals adjacent, goals met, messages in an order that
// ends. No numbers involved.
canto_status canto_fold_verify(const canto_fold *fold, int size);

typedef struct canto_scan canto_scan;

typedef struct canto_scan_desc {
    canto_comm *comm; // borrowed; the lane
    const canto_transport *transport;
    const canto_shards *shards; // borrowed
    int64_t state_count_max;    // floats of the largest state
} canto_scan_desc;

canto_status canto_scan_create(canto_arena *arena, const canto_scan_desc *desc, canto_scan **out);

// Tells where documents start, from now on. Pure, no allocation.
canto_status canto_scan_documents(canto_scan *scan, const canto_documents *documents);
uint64_t canto_scan_digest(const canto_scan *scan); // of fold and resets

// What one run folds. Arrays live until the finish. rows: a state is [heads, rows * columns] for
// the decay's purposes.
typedef struct canto_scan_run {
    int heads;              // states decay per head
    int64_t head_count;     // floats of one head's state
    const float *log_decay; // [heads] or NULL (no decay)
    bool backward;          // fold the segments after each of mine instead of those before
    const float *summaries; // [my segments, heads * head_count]: U, or W in the backward pass
    float *states; // [my segments, heads * head_count]: the incoming state, or G; zero where
                   // nothing comes in
} canto_scan_run;

// Collective on the lane: start, then poll between pieces of work, then finish. One run at a time.
canto_status canto_scan_start(canto_scan *scan, const canto_scan_run *run);
canto_status canto_scan_poll(canto_scan *scan);
canto_status canto_scan_finish(canto_scan *scan);

#endif
