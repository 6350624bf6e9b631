// What tests of training share: a text of lines of random lengths, and a trainer of a model on it.
#ifndef CANTO_TESTS_LAUNCH_TRAINED_H
#define CANTO_TESTS_LAUNCH_TRAINED_H

#include "launch/trainer.h"

typedef struct trained {
    char text[64]; // path, removed by trained_destroy
    canto_config config;
    canto_job job;
    canto_trainer trainer;
} trained;

// Collective on `world`, which stays the caller's (under a job that leaves threads as they are).
// `dp` context groups; lines of the text are documents. `overrides` are configuration
// keys "a.b=c", ended by NULL. Parameters are set.
void trained_create(canto_comm *world, int dp, const char *const *overrides, trained *out);
void trained_destroy(trained *t);

#endif
