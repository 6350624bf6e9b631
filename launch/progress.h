// What a person sees of a run: a heading, one live line on a terminal or a plain line every
// log.every steps, and events. Rank 0 only.
#ifndef CANTO_LAUNCH_PROGRESS_H
#define CANTO_LAUNCH_PROGRESS_H

#include "launch/trainer.h"

typedef struct canto_progress {
    canto_log *log;             // borrowed
    const canto_config *config; // borrowed
    double step_s;              // smoothed
    bool text;                  // tokens are bytes
} canto_progress;

// Prints what will run, on what, from where, and how much memory it takes.
void canto_progress_start(canto_progress *progress, const canto_trainer *trainer, int64_t step);
void canto_progress_step(canto_progress *progress, int64_t step, const canto_step_result *result);
void canto_progress_saved(canto_progress *progress, int64_t step);
// loss: nats per token.
void canto_progress_evaluated(canto_progress *progress, int64_t step, double loss, int64_t tokens);
void canto_progress_end(canto_progress *progress, int64_t step, bool left);

#endif
