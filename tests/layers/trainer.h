// A model with everything that a training step needs, as a program would make it: measured first,
// then made. Fails the running test when something does.
#ifndef CANTO_TESTS_LAYERS_TRAINER_H
#define CANTO_TESTS_LAYERS_TRAINER_H

#include "layers/model.h"
#include "layers/optimizer.h"
#include "tests/ref/linear.h"

typedef struct trainer_desc {
    const canto_model_config *config;
    canto_layout layout;
    const int *weights; // borrowed, of the uneven layout
    const canto_strategy *softmax;
    const canto_transport *linear;
    int dp; // the rest is context parallel
    int sequences_n;
    int64_t sequence_length;
    int documents_max;
    bool gradients;
    const canto_optimizer_config *optimizer; // NULL: none
} trainer_desc;

typedef struct trainer {
    trainer_desc desc;
    canto_mesh mesh;
    canto_arenas arenas;
    canto_plan plan;
    canto_model *model;
    canto_params *params;
    canto_grad grad;
    canto_optimizer optimizer;
    int32_t *tokens, *targets; // mine
} trainer;

// Collective on world. A trainer must not move. Values are those of models_values.
void trainer_open(trainer *t, canto_comm *world, const trainer_desc *desc);
void trainer_close(trainer *t);

// My share of a whole stream.
void trainer_load(trainer *t, const canto_documents *documents, const int32_t *tokens,
                  const int32_t *targets);
// Zeroes gradients; forward, loss and backward of what is loaded. Sum of the loss over all ranks.
// Gradients are reduced when the trainer has more than one rank.
double trainer_gradients(trainer *t, float scale);
// The same with targets_n as the divisor, then the optimizer's step. Mean loss.
double trainer_step(trainer *t, int64_t step, int64_t targets_n);

// Compares my pieces of every gradient with the reference's.
void trainer_compare(const trainer *t, const char *what, const double *gradient);

#endif
