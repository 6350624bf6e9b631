// Linear attention over a divided sequence: the ordered fold of segment summaries, with
// interchangeable transports.
//
// Segments are the spans of all ranks in order of position. Segment s turns an incoming state S
// into A_s S + U_s; what its owner needs is the fold of the segments before it, [0, s). The
// backward pass is the same fold on mirrored numbering: G_s, the gradient of the state that leaves
// segment s, is the fold of the segments after it with W_s (the gradient of the incoming state from
// own tokens) in the place of U_s. With a constant decay A_s = exp(log_decay * tokens) is known to
// everybody and never travels. Where the data decide, A_s = diag(exp(transition)) is the sum of the
// segment's gates, kept as a logarithm, and travels beside U_s, or beside W_s in the backward pass
// (its transpose is itself): to keep what the forward pass has sent would spare one part in the
// columns of a state. A document that starts inside a segment makes A_s = 0, which is a flag and no
// number, and nothing crosses a boundary where a document starts.
//
// A value that folds [a, b) is a state if a = 0, otherwise a state with its transition: what a
// message holds follows from its name.
//
//     lasp1    W-1 messages, (W-1) states           a chain, each rank after its predecessor
//                                                   (Sun et al., arXiv 2404.02882)
//     lasp2    W(W-1) messages, W(W-1) states,      everybody gets every summary and folds
//              (W-1)(W-1) transitions               (Sun et al., arXiv 2502.07563)
//
// (One sequence, contiguous; zigzag has up to twice the segments.) Bytes do not depend on the
// number of tokens. A chain is not continued where a document starts at the segment's first token,
// so that several sequences make independent chains; the all-gather sends every summary always.
#ifndef CANTO_PARALLEL_SCAN_H
#define CANTO_PARALLEL_SCAN_H

#include "parallel/mask.h"
#include "parallel/shard.h"
#include "runtime/arena.h"

// One operation of a fold. from != to: move the value [a, b) from rank to rank. from == to: join
// [a, m) and [m, b) into [a, b).
typedef struct canto_fold_op {
    int step;
    int from, to;
    int a, m, b;
} canto_fold_op;

typedef struct canto_fold {
    int segments, size;
    int rank; // whose operations are stored; -1: everybody's
    int ops_n, ops_capacity;
    const int *owner;   // borrowed, [segments]
    int *last;          // [size]: last segment of each rank, -1: none
    canto_fold_op *ops; // sorted by step; the operations of one step happen in this order
} canto_fold;

typedef struct canto_transport {
    const char *name;
    const char *price; // one line for people
    // A value that ends where a document starts is not moved. Needed by every transport that moves
    // anything but the summaries themselves.
    bool prunes;
    // Upper bounds of one rank with `mine` of the segments: its operations, and the values that are
    // neither its own summaries nor its goals.
    void (*bound)(int segments, int mine, int size, int *ops, int *buffers);
    // Pure: operations of all ranks after which owner[s] holds [0, s) for every s > 0. No value is
    // moved to or made on a rank that holds it already.
    void (*generate)(canto_fold *fold);
} canto_transport;

extern const canto_transport canto_transport_lasp1, canto_transport_lasp2;
extern const canto_transport *const canto_transports[]; // ended by NULL
const canto_transport *canto_transport_find(const char *name);

// Room for the operations of a fold whose segments, size, rank and owner are set (owner need not be
// filled yet). mine: segments of the rank, or with rank -1 the most that any rank has.
canto_status canto_fold_create(canto_arena *arena, const canto_transport *transport, int mine,
                               canto_fold *fold);
canto_status canto_fold_make(canto_fold *fold, const canto_transport *transport);
// What generators write with. Operations that do not concern fold->rank are left out; a move from a
// rank to itself is none.
void canto_fold_move(canto_fold *fold, int step, int from, int to, int a, int b);
void canto_fold_join(canto_fold *fold, int step, int rank, int a, int m, int b);

// Checks a fold of all ranks: operands present where they are used, intervals adjacent, steps in
// order, no value moved or made where it is already, goals met. Because both ends keep this order,
// the messages of an accepted fold meet and end. No numbers involved. CANTO_ERROR_MISMATCH with a
// sentence that names the operation. Uses memory of its own.
canto_status canto_fold_verify(const canto_fold *fold);

// What one layer's scan sends, all ranks together; a message is one state.
typedef struct canto_scan_price {
    int64_t messages, backward_messages;
    int64_t transitions, backward_transitions; // messages that hold a transition, too, if there are
                                               // any
    int buffers; // states that the rank with most segments keeps for others
} canto_scan_price;
// Pure; local; memory of its own. The shards are real.
canto_status canto_scan_price_make(const canto_transport *transport, const canto_shards *shards,
                                   const canto_documents *documents, canto_scan_price *out);

typedef struct canto_scan canto_scan;

typedef struct canto_scan_desc {
    const canto_device *device; // borrowed
    canto_comm *comm;           // borrowed; the lane, of the device
    const canto_transport *transport;
    const canto_shards *shards; // borrowed; real even when the arena is measuring
    int64_t state_count_max;    // floats of the largest state with its transition
} canto_scan_desc;

// tables: the host's memory; memory: the device's.
canto_status canto_scan_create(canto_arena *tables, canto_arena *memory,
                               const canto_scan_desc *desc, canto_scan **out);

// Tells where documents start, from now on. Pure, no allocation.
canto_status canto_scan_documents(canto_scan *scan, const canto_documents *documents);
uint64_t canto_scan_digest(const canto_scan *scan); // of fold and resets
// What one run sends from this rank under the current documents, for states of `state_count` floats
// with transitions of `transition_count`. Pure.
void canto_scan_sends(const canto_scan *scan, int64_t state_count, int64_t transition_count,
                      bool backward, int64_t *messages, int64_t *bytes);

// What one run folds. Arrays live until the finish.
typedef struct canto_scan_run {
    int heads;              // states decay per head
    int64_t head_count;     // floats of one head's state
    const float *log_decay; // [heads] of the device, or NULL (no decay)
    int transition_count;   // 0, or the number of equal parts of a state (rows of all heads)
                            // whose decays the data decide; then log_decay is NULL
    bool backward;          // fold the segments after each of mine instead of those before
    const float *summaries; // [my segments, heads * head_count | transition_count]: U, or W in the
                            // backward pass, and the logarithm of A
    float *states; // [my segments, heads * head_count]: the incoming state, or G; zero where
                   // nothing comes in
} canto_scan_run;

// Collective on the lane: start, then poll between pieces of work, then finish. One run at a time.
// All three go on in the order of the fold, start and poll up to what needs a message that is not
// there yet. A poll tests one message at most if nothing has become possible, and does nothing when
// no run is under way.
canto_status canto_scan_start(canto_scan *scan, const canto_scan_run *run);
canto_status canto_scan_poll(canto_scan *scan);
canto_status canto_scan_finish(canto_scan *scan);

#endif
