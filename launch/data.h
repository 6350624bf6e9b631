// The data of a run: which tokens its samples read.
//
// Sample i of a run is a sequence of seq_len tokens, a pure function of (corpus, run.seed, i): the
// same on any mesh, so a checkpoint holds no position but the step. What it reads depends on
// data.order:
//
// windows  seq_len tokens at a place drawn from (seed, i), of however many documents.
// packed   tokens [i * seq_len, (i + 1) * seq_len) of all documents in a seeded order, epoch after
//          epoch: a document that does not fit is cut, and its rest begins the next sequence.
// cut      one piece of one document, see launch/order.h.
//
// A document starts at a file's first token and after every separator (text) or eot (shards).
// Inside a sequence documents do not see each other. The target of a token is the next token of its
// document; a document's last token has none (-1). At the end of a window the target is the next
// token of the file, even if a separator has ended the document there.
#ifndef CANTO_LAUNCH_DATA_H
#define CANTO_LAUNCH_DATA_H

#include "launch/config.h"
#include "launch/corpus.h"
#include "launch/order.h"

typedef struct canto_data {
    canto_corpus corpus;    // owned
    canto_corpus held_path; // owned: data.held_out_path; zero without
    canto_order order;      // owned
    int64_t train_size;     // tokens [0, train_size) of the corpus are for training
    int64_t seed;
    int64_t seq_len;
    int64_t batch;     // sequences of one stream of every replica together
    int64_t first;     // my replica's are [first, first + sequences) of these
    int sequences;     // in one stream of my context group
    int max_documents; // in one stream of my context group
} canto_data;

// Where the held-out text stands: tokens (before, end) of the corpus, each the target of the one
// before it.
typedef struct canto_held_out {
    const canto_corpus *corpus;
    int64_t before, end;
} canto_held_out;

// Local. Makes data.path and data.held_out_path absolute, so that a run can be continued and
// evaluated in any working directory; left alone if there is no such file (canto_data_open tells
// that).
canto_status canto_data_anchor(canto_config *config);
// Local. For replica dp_rank of dp. CANTO_ERROR_CONFIG naming the key if the corpus cannot be read
// or is too short for one sequence, or if a replica would have no sequence. Orders other than
// windows read the whole corpus once. Strings are borrowed from `config`.
canto_status canto_data_open(const canto_config *config, int dp, int dp_rank, canto_data *out);
// Local. The same without a text: numbers alone, for plans. Unless data.max_documents tells, a
// stream then has as many documents as a step has sequences.
canto_status canto_data_sizes(const canto_config *config, int dp, int dp_rank, canto_data *out);
void canto_data_close(canto_data *data); // also of a zeroed one
// Documents that a stream of my context group may hold: `configured`, or if that is 0 as many as
// can occur; with separators in windows, where that would mean to read the whole corpus,
// data->batch.
canto_status canto_data_count_documents(const canto_data *data, int64_t configured, int *out);
// Of all corpora and of the documents found in them: tells two apart, not every change.
canto_status canto_data_digest(const canto_data *data, uint64_t *out);

// Tokens that an evaluation of at most `tokens` held-out tokens reads (0: all of them), as targets.
int64_t canto_data_held_out_tokens(const canto_data *data, int64_t tokens);
canto_held_out canto_data_held_out(const canto_data *data);

// A run of tokens of one document within a sequence.
typedef struct canto_stretch {
    int64_t source;                     // its first token in the corpus
    int64_t tokens;                     // positions past these hold token 0
    int64_t targets_begin, targets_end; // which of its positions have a target
} canto_stretch;

// The stretches of one sample, one after the other.
typedef struct canto_sequence {
    const canto_data *data;  // borrowed
    int64_t left;            // tokens of the sequence still to come
    int64_t at, end;         // windows: in the corpus
    canto_order_place place; // packed
    int64_t index;           // cut
} canto_sequence;

void canto_sequence_begin(const canto_data *data, int64_t index, canto_sequence *out);
// The next stretch, while sequence->left > 0. CANTO_ERROR_CONFIG, CANTO_ERROR_IO as
// canto_corpus_next. No allocation.
canto_status canto_sequence_next(canto_sequence *sequence, canto_stretch *out);
// The first stretch of tokens [at, end) of a corpus.
canto_status canto_stretch_find(const canto_corpus *corpus, int64_t at, int64_t end,
                                canto_stretch *out);

// Targets of samples [first, first + n): what the loss of a step is divided by. No allocation.
canto_status canto_data_targets(const canto_data *data, int64_t first, int64_t n, int64_t *out);

#endif
