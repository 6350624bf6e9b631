// Checkpoints: one HDF5 shard per writer and a checksummed manifest, published atomically.
//
//     DIR/step-00000100/manifest.json          names, shapes, pieces, XXH3-128 of every dataset and
//                                              file; JSON, itself checksummed
//     DIR/step-00000100/shard-0000-of-0002.h5  contiguous datasets, no filters, no links
//     DIR/latest                               name of the newest committed step, for people
//
// A checkpoint holds *global* tensors: every rank writes the pieces (runs of the flattened tensor)
// it owns, and any number of ranks reads any pieces. Nothing in a checkpoint tells how many ranks
// there were, except the number of shards. A checkpoint is complete or it does not exist: it is
// written under a temporary name, synced, and renamed when every rank agrees.
//
// All functions named collective must be called by every rank of `comm` with the same names, steps
// and directories, and return the same status everywhere. HDF5 is safe from one thread only: at any
// time one thread of a process may be inside this interface. One writer at a time works in a
// directory (the run directory's lock sees to that between jobs).
#ifndef CANTO_RUNTIME_STORE_H
#define CANTO_RUNTIME_STORE_H

#include "runtime/comm.h"
#include "runtime/status.h"
#include "runtime/tensor.h"

typedef struct canto_store_writer canto_store_writer;
typedef struct canto_store_reader canto_store_reader;

// --- writing ---

// Collective. Starts step-N under a temporary name in `dir` (made if missing; one level). What
// attempts that died left behind under our temporary names is removed.
canto_status canto_store_begin(canto_comm *comm, const char *dir, int64_t step,
                               canto_store_writer **out);
// Local, buffered until commit: elements [begin, begin + count) of the flattened global tensor
// `name` with shape `dims`. Names are at most 200 bytes of [A-Za-z0-9._/-]. count 0 is legal and
// writes nothing, but makes the tensor known. `data` is copied. A failure is kept and returned by
// the commit as well, on all ranks.
canto_status canto_store_write(canto_store_writer *writer, const char *name, canto_dtype dtype,
                               int dims_n, const int64_t *dims, int64_t begin, int64_t count,
                               const void *data);
// Local; rank 0's values are the ones stored: a named text (config, state) in UTF-8, kept in the
// manifest, at most 1 MiB.
canto_status canto_store_write_text(canto_store_writer *writer, const char *name, const char *text);
// Collective. Writes shards, syncs, gathers checksums, agrees, publishes, then removes, of the
// committed steps up to this one, all but the newest keep_last and those marked as best (0 = keep
// all; what cannot be removed is tried again by the next commit). Refuses tensors whose pieces
// overlap or leave holes, by name. Never replaces a committed step: an existing step-N is
// CANTO_ERROR_CHECKPOINT. Frees the writer (sets *writer to NULL) in every case; on failure nothing
// is published and the older checkpoints are untouched. Memory: twice this rank's data.
canto_status canto_store_commit(canto_store_writer **writer, int keep_last);
// Local. Gives a writer up before its commit: nothing is published. Sets *writer to NULL.
void canto_store_abandon(canto_store_writer **writer);

// --- reading ---

// Collective. step < 0: the newest committed step that verifies; damaged newer ones are named
// through `note` on every rank, if not NULL; if all are damaged, one sentence names the newest.
// *out = NULL and CANTO_OK when there is no committed checkpoint at all (or dir does not exist).
// Manifest and the checksum of every file are verified before HDF5 opens it, the shards divided
// over the ranks.
typedef void (*canto_store_note)(void *context, const char *sentence);
canto_status canto_store_open(canto_comm *comm, const char *dir, int64_t step,
                              canto_store_note note, void *context, canto_store_reader **out);
int64_t canto_store_step(const canto_store_reader *reader);
// Borrowed from the reader; NULL if there is no such text.
const char *canto_store_text(const canto_store_reader *reader, const char *name);
// What a checkpoint holds: the tensors in order of their names, index 0 .. count - 1.
typedef struct canto_store_tensor {
    const char *name; // borrowed from the reader
    canto_dtype dtype;
    int dims_n;
    int64_t dims[CANTO_DIMS_MAX];
    int64_t count; // elements
} canto_store_tensor;
int64_t canto_store_tensors(const canto_store_reader *reader);
canto_store_tensor canto_store_tensor_at(const canto_store_reader *reader, int64_t index);
// "f32[3, 4]"
void canto_store_tensor_text(const canto_store_tensor *tensor, char text[128]);
// Local. CANTO_ERROR_CHECKPOINT naming the tensor if it is missing, or has another dtype or shape
// (both are told). Pieces read are checked against their checksum; after a failure `data` holds
// nothing of use. Costs reading every piece that is touched, whole.
canto_status canto_store_read(canto_store_reader *reader, const char *name, canto_dtype dtype,
                              int dims_n, const int64_t *dims, int64_t begin, int64_t count,
                              void *data);
void canto_store_close(canto_store_reader **reader);

// Local (rank 0), after a run went back to `step`, which is committed: the committed steps newer
// than it, which the run will come to write again, are renamed to step-N.aside.<id>, each with a
// sentence to `note`, their marks are forgotten, and `latest` names `step`. Nothing is removed;
// nothing looks at them any more.
canto_status canto_store_set_aside(const char *dir, int64_t step, canto_store_note note,
                                   void *context);

// --- the best steps (local, rank 0) ---

enum { CANTO_STORE_MARKS_MAX = 100 };

// A committed step that was evaluated on held-out text.
typedef struct canto_store_mark {
    int64_t step;
    double loss;
    int64_t bytes; // that the loss is a mean over: losses over other bytes are not compared
} canto_store_mark;

typedef struct canto_store_marks {
    int64_t evaluated; // newest step that was evaluated; -1: none was
    int n;
    canto_store_mark list[CANTO_STORE_MARKS_MAX]; // best first, all committed
} canto_store_marks;

// CANTO_ERROR_CHECKPOINT if the file of marks is damaged; no file: none are marked.
canto_status canto_store_best(const char *dir, canto_store_marks *out);
// After the evaluation of a committed step: it is marked if it is among the keep_best with the
// lowest losses, for the one that drops out. *best: it is the first of them. Retention never
// removes a marked step; what the mark sets free is removed here, as by a commit. The marks change
// as a whole or not at all.
canto_status canto_store_mark_best(const char *dir, const canto_store_mark *mark, int keep_best,
                                   int keep_last, bool *best);

// --- looking (local, one process) ---

typedef struct canto_store_entry {
    int64_t step;
    int shards;
    int tensors;
    int64_t bytes; // of all files
    char time[32]; // ISO 8601, UTC
} canto_store_entry;

// Committed steps in ascending order, at most `capacity`; *count is the number found. Reads
// manifests, not data; one that cannot be read makes an entry without shards, bytes and time.
canto_status canto_store_list(const char *dir, int capacity, canto_store_entry *entries,
                              int *count);
// Full check of one step: manifest, every file, every dataset, every attribute that the format
// allows. Sentence on failure.
canto_status canto_store_verify(const char *dir, int64_t step);

#endif
