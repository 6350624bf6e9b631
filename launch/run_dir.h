// The directory of a run: lock, configuration, metrics, checkpoints. Rank 0 writes there;
// checkpoints are written by all ranks.
//
//     RUN/lock                     who works here (runtime/lock.h)
//     RUN/config.yaml              configuration of the latest start
//     RUN/config.N.yaml            earlier, different ones
//     RUN/metrics.jsonl            one object a step, and events
//     RUN/metrics.discarded.jsonl  records of steps beyond the checkpoint that was resumed from
//     RUN/checkpoints/             committed steps
//     RUN/plots/                   made by `canto plot`, anew each time
#ifndef CANTO_LAUNCH_RUN_DIR_H
#define CANTO_LAUNCH_RUN_DIR_H

#include "launch/config.h"
#include "launch/job.h"
#include "runtime/lock.h"

// Collective. Makes the directory (and its parents) and takes its lock on rank 0.
canto_status canto_run_dir_open(const canto_config *config, canto_job *job, canto_lock *lock);
// Local, rank 0. Whether canto_run_dir_open would succeed now; touches nothing.
canto_status canto_run_dir_look(const canto_config *config);
// Local, rank 0. Nothing is overwritten: a different config.yaml is kept as config.N.yaml.
canto_status canto_run_dir_write_config(const canto_config *config);

#endif
