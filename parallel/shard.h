// Who holds which global positions. A span is a run of positions held by one rank; a shard is a
// rank's list of spans. Every position has exactly one holder; any length, any number of ranks,
// ranks without tokens included. Pure functions, local.
#ifndef CANTO_PARALLEL_SHARD_H
#define CANTO_PARALLEL_SHARD_H

#include "runtime/arena.h"

typedef struct canto_span {
    int64_t begin, end; // global positions, never empty
    int64_t local;      // index of `begin` among its rank's tokens
} canto_span;

typedef enum canto_layout {
    CANTO_LAYOUT_CONTIGUOUS, // rank r holds [n r / W, n (r+1) / W) of each sequence
    CANTO_LAYOUT_ZIGZAG,     // 2W chunks a sequence, rank r holds chunks r and 2W-1-r: equal causal
                             // work
    CANTO_LAYOUT_UNEVEN,     // contiguous, in proportion to given weights
} canto_layout;

// The numbers are valid after creation on a measuring arena too; the arrays must not be read then.
typedef struct canto_shards {
    int size;       // ranks
    int64_t length; // tokens of all ranks
    int spans_n;
    int spans_max;              // most spans of one rank
    int64_t tokens_max;         // most tokens of one rank
    int64_t span_min, span_max; // tokens of the shortest and the longest span; 0 without tokens
    // Owned by the arena:
    canto_span *spans; // by rank, then by position; a rank's spans are maximal runs
    int *first;        // [size + 1]: spans of rank r are [first[r], first[r+1])
    int *by_position;  // [spans_n]: indices of spans in order of position
    int *owner;        // [spans_n]: rank of each span
} canto_shards;

// Each of the `sequences_n` sequences [bounds[i], bounds[i+1]) of the stream is divided over all
// ranks by the layout (bounds[0] = 0). weights [size] for CANTO_LAYOUT_UNEVEN, each >= 0, not all
// 0; else NULL. Spans of different sequences are never joined.
canto_status canto_shards_create(canto_arena *arena, canto_layout layout, int size, int sequences_n,
                                 const int64_t *bounds, const int *weights, canto_shards *out);

// What one rank will hold, from the inputs of canto_shards_create alone: sizes for a measuring
// pass.
typedef struct canto_share {
    int64_t tokens;
    int spans;
} canto_share;
canto_share canto_shards_share(canto_layout layout, int size, int sequences_n,
                               const int64_t *bounds, const int *weights, int rank);

int64_t canto_shards_tokens(const canto_shards *shards, int rank);
// The span that holds `position` (index into spans); 0 <= position < length.
int canto_shards_find(const canto_shards *shards, int64_t position);
uint64_t canto_shards_digest(const canto_shards *shards);

// "contiguous", "zigzag", "uneven"; NULL for a number that is no layout.
const char *canto_layout_name(int layout);

#endif
