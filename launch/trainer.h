// Everything one rank needs to train or evaluate a model, made in one place: plan, model, reducer,
// optimizer, batch.
#ifndef CANTO_LAUNCH_TRAINER_H
#define CANTO_LAUNCH_TRAINER_H

#include "layers/arenas.h"
#include "launch/batch.h"
#include "launch/job.h"
#include "launch/phases.h"
#include "launch/tally.h"

typedef struct canto_trainer {
    const canto_config *config;           // borrowed
    canto_job *job;                       // borrowed
    canto_data data;                      // owned
    uint64_t data_digest;                 // 0 without data
    canto_arenas arenas;                  // owned
    canto_ledger ledgers[CANTO_ARENAS_N]; // owned: what the arenas hold
    canto_plan plan;
    canto_model *model;
    canto_grad grad;           // zero when it only evaluates
    canto_optimizer optimizer; // zero when it only evaluates
    canto_batch batch;
    void *records; // [ranks of the world] small records of every rank, CANTO_RECORD_BYTES each
    canto_phases phases; // where the time of this start goes
    canto_tally tally;   // what the steps of this start sent
} canto_trainer;

enum { CANTO_RECORD_BYTES = 64 };

// Requests that ride on a step's last message.
typedef struct canto_step_requests {
    bool save, leave;
} canto_step_requests;

// What one rank tells the others at the end of a step.
typedef struct canto_step_figures {
    int64_t bytes_sent;
    double compute_s; // of the step, but waiting
    double wait_s;    // for messages and collectives
    canto_step_requests requests;
} canto_step_figures;

// What a step did; equal on all ranks.
typedef struct canto_step_result {
    int64_t tokens; // read by all ranks
    double loss;    // nats per target token
    double grad_norm;
    double lr;
    double step_s;
    double comm_wait_s;              // mean over ranks
    int64_t bytes_sent;              // all ranks
    bool save;                       // some rank was asked to save now
    bool leave;                      // some rank was asked to save and leave
    const canto_step_figures *ranks; // [ranks of the world], until the next step
} canto_step_result;

// Collective on the world: opens the data, which must be the same on every rank; sizes by a
// measuring run, then the real arenas. The model's parameters are not set.
canto_status canto_trainer_create(const canto_config *config, canto_job *job, bool gradients,
                                  canto_trainer *out);
// The same up to the measuring run, for a plan: the arenas' peaks are the sizes that creation would
// take, and nothing in the trainer may be run. On a planned world local; then data.path may be
// empty.
canto_status canto_trainer_measure(const canto_config *config, canto_job *job, bool gradients,
                                   canto_trainer *out);
void canto_trainer_destroy(canto_trainer *trainer); // also of a zeroed trainer

// Collective. One optimizer step (1-based): forward, loss and backward of train.accumulate streams,
// reduction, update. The updated parameters travel under the next forward pass. No allocation.
canto_status canto_trainer_step(canto_trainer *trainer, int64_t step, canto_step_requests requests,
                                canto_step_result *out);

// Collective. After the last step: all parameters have come, and no message is under way.
canto_status canto_trainer_finish(canto_trainer *trainer);

// Collective. Mean loss in nats per token over the first `tokens` held-out tokens (0: all), read in
// order; a text's tokens are its bytes.
canto_status canto_trainer_evaluate(canto_trainer *trainer, int64_t tokens, double *loss,
                                    int64_t *counted);

#endif
