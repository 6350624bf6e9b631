// Saving and restoring a training run: parameters and moments as global tensors, configuration and
// position as texts.
//
//     param/NAME, adam.first/NAME, adam.second/NAME    fp32, the parameter's shape
//     config                                           YAML of every key
//     state                                            JSON: step, samples read, which data
#ifndef CANTO_LAUNCH_CHECKPOINT_H
#define CANTO_LAUNCH_CHECKPOINT_H

#include "launch/trainer.h"
#include "runtime/store.h"

// RUN/checkpoints
void canto_checkpoint_dir(const char *run, char path[CANTO_TEXT_MAX + 16]);

// Collective. Everything is on disk, or nothing is published, when it returns.
canto_status canto_checkpoint_save(canto_trainer *trainer, int64_t step);
// Local. Bytes of tensors that this rank writes into a checkpoint: those that it alone keeps. A
// trainer that measures is enough.
canto_status canto_checkpoint_bytes(canto_trainer *trainer, int64_t *bytes);
enum { CANTO_STEP_NEWEST = -1, CANTO_STEP_BEST = -2 };

// "best" or a number of up to 15 digits; false: neither.
bool canto_step_read(const char *text, int64_t *step);

// Collective. Opens the newest good checkpoint of a run, the best one, or a given one. *reader
// NULL: there is none; CANTO_ERROR_CHECKPOINT if none is marked as best.
canto_status canto_checkpoint_open(canto_job *job, const char *run, int64_t step,
                                   canto_store_reader **reader);
// The same where there has to be one: CANTO_ERROR_CHECKPOINT if there is none.
canto_status canto_checkpoint_require(canto_job *job, const char *run, int64_t step,
                                      canto_store_reader **reader);
canto_status canto_checkpoint_none(const char *run); // that failure; local
// Local, rank 0. After a run went back to `step`: newer steps, which are damaged, are renamed, so
// that the run can write them again. Nothing is removed.
canto_status canto_checkpoint_set_aside(canto_job *job, const char *run, int64_t step);
// Collective. After an evaluation of the committed `step`: see canto_store_mark_best.
canto_status canto_checkpoint_mark(canto_trainer *trainer, int64_t step, double loss, int64_t bytes,
                                   bool *best);
// Collective. Newest step that was evaluated, -1: none, or the run keeps no best.
canto_status canto_checkpoint_evaluated(canto_job *job, const canto_config *config, int64_t *step);
// Local. The configuration stored in a checkpoint.
canto_status canto_checkpoint_config(const canto_store_reader *reader, canto_config *out);
// Local. Whether the run's tokens are bytes of a text.
bool canto_checkpoint_of_text(const canto_store_reader *reader);
// Local. Parameters, whole.
canto_status canto_checkpoint_read_params(canto_store_reader *reader, canto_params *params);
// Collective. Parameters and my pieces of the moments. CANTO_ERROR_CONFIG if the data are others
// than when it was saved.
canto_status canto_checkpoint_restore(canto_trainer *trainer, canto_store_reader *reader);

#endif
