// What one context group reads in one pass of forward and backward: stretches of documents, and my
// share of their tokens and targets. Local; no allocation after canto_batch_create.
#ifndef CANTO_LAUNCH_BATCH_H
#define CANTO_LAUNCH_BATCH_H

#include "launch/data.h"
#include "parallel/plan.h"

typedef struct canto_batch {
    const canto_corpus *corpus; // borrowed: where the stretches lie
    canto_stretch *stretches;   // [max_documents]: of each document of the stream
    int64_t *starts;            // [max_documents + 1]
    canto_documents documents;
    int32_t *tokens;   // [my tokens]
    int32_t *targets;  // [my tokens], -1: none
    int64_t targets_n; // targets of the whole stream, all ranks
} canto_batch;

// Arrays are taken from the arena.
canto_status canto_batch_create(canto_arena *arena, const canto_data *data, int64_t tokens,
                                canto_batch *out);

// The documents of samples [first, first + sequences). CANTO_ERROR_CONFIG if they are more than
// max_documents, and as canto_sequence_next; then the batch is one document a sequence with nothing
// in it, so that a rank can go on to the next message and tell there.
canto_status canto_batch_train(const canto_data *data, int64_t first, canto_batch *batch);
// Sequences [first, first + sequences) of the first `tokens` held-out tokens, read in order, each
// seq_len tokens after the other; what lies past the end is empty. Failures as above.
canto_status canto_batch_held_out(const canto_data *data, int64_t first, int64_t tokens,
                                  canto_batch *batch);
// Fills tokens and targets of the positions that this rank holds. The plan must already know the
// documents. Failures as canto_corpus_read; the arrays are then filled all the same, with tokens
// that are in the vocabulary.
canto_status canto_batch_fill(const canto_plan *plan, canto_batch *batch);

#endif
