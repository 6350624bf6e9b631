// Saving and restoring a training run: parameters and moments as global tensors, configuration and
// position as texts.
//
//     param/NAME, adam.first/NAME, adam.second/NAME    fp32, the parameter's shape
//     config                                           YAML of every key
//     state                                            JSON: step, samples read
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
// Collective. Opens the newest good checkpoint of a run (step < 0) or a given one. *reader NULL:
// there is none.
canto_status canto_checkpoint_open(canto_job *job, const char *run, int64_t step,
                                   canto_store_reader **reader);
// Local, rank 0. After a run went back to `step`: newer steps, which are damaged, are renamed, so
// that the run can write them again. Nothing is removed.
canto_status canto_checkpoint_set_aside(canto_job *job, const char *run, int64_t step);
// Local. The configuration stored in a checkpoint.
canto_status canto_checkpoint_config(const canto_store_reader *reader, canto_config *out);
// Local. Parameters, whole.
canto_status canto_checkpoint_read_params(canto_store_reader *reader, canto_params *params);
// Collective. Parameters and my pieces of the moments.
canto_status canto_checkpoint_restore(canto_trainer *trainer, canto_store_reader *reader);

#endif
