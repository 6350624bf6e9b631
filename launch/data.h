// The text of a run and which bytes of it a step reads.
//
// Sample i of a run is a window of seq_len bytes at a place drawn from (run.seed, i): the same
// sample on any mesh, so a checkpoint holds no position but the step. A step's stream on a context
// group is `sequences` windows one after the other; a document starts at every window, and after
// every data.separator inside one. The target of a byte is the next byte of the same document; the
// last byte of a document has none (-1), except at a window's end, where the next byte of the text
// is known.
#ifndef CANTO_LAUNCH_DATA_H
#define CANTO_LAUNCH_DATA_H

#include "launch/config.h"
#include "parallel/mask.h"
#include "parallel/plan.h"

typedef struct canto_data {
    const uint8_t *text; // owned: a read-only mapping
    int64_t size;
    int64_t train_size; // text[train_size ...) is held out
    int64_t seed;
    int64_t seq_len;
    int sequences;         // in one stream of a context group
    int max_documents;     // in one stream
    const char *separator; // borrowed from the configuration
} canto_data;

// What one context group reads in one pass of forward and backward. Arrays are taken from an arena
// once.
typedef struct canto_batch {
    int64_t *begins; // [sequences]: first byte of each window; its end if there is no such window
    int64_t *ends;   // [sequences]: where predicted bytes end (evaluation's last window is short)
    int64_t *starts; // [max_documents + 1]
    canto_documents documents;
    int32_t *tokens;   // [my tokens]
    int32_t *targets;  // [my tokens], -1: none
    int64_t targets_n; // targets of the whole stream, all ranks
} canto_batch;

// Local. Makes data.path absolute, so that a run can be continued and evaluated in any working
// directory; left alone if there is no such file (canto_data_open tells that).
canto_status canto_data_anchor(canto_config *config);
// Local. CANTO_ERROR_CONFIG naming data.path if it cannot be read, or is too short for one window.
canto_status canto_data_open(const canto_config *config, int dp, canto_data *out);
// Local. The same without a text: numbers alone, for plans.
canto_status canto_data_sizes(const canto_config *config, int dp, canto_data *out);
void canto_data_close(canto_data *data);
// Of the text's size and 4096 bytes spread evenly over it: tells two texts apart, not every change.
uint64_t canto_data_digest(const canto_data *data);

canto_status canto_batch_create(canto_arena *arena, const canto_data *data, int64_t tokens,
                                canto_batch *out);

// Windows [first_sample, first_sample + sequences) of training. Local, no allocation.
canto_status canto_batch_train(const canto_data *data, int64_t first_sample, canto_batch *batch);
// Windows [first, first + sequences) of the first `bytes` of the held-out text, read in order,
// each seq_len bytes after the other.
canto_status canto_batch_held_out(const canto_data *data, int64_t first, int64_t bytes,
                                  canto_batch *batch);
// Bytes and windows that an evaluation of at most `tokens` held-out bytes reads (0: all of them).
int64_t canto_data_held_out_bytes(const canto_data *data, int64_t tokens);
int64_t canto_data_held_out_windows(const canto_data *data, int64_t tokens);
// Fills tokens and targets of the positions that this rank holds. The plan must already know the
// documents.
void canto_batch_fill(const canto_data *data, const canto_plan *plan, canto_batch *batch);

// Targets of windows [first_sample, first_sample + n) of training: what the loss of a step is
// divided by.
int64_t canto_data_targets(const canto_data *data, int64_t first_sample, int64_t n);

#endif
