// The whole model in double precision over the whole stream, forward and backward, written from
// the formulas in layers/*.c over the other references. Places of parameters come from the tested
// model's list, numbers do not, and what a kind of mixer is comes from tests/ref/mixers.h.
#ifndef CANTO_TESTS_REF_MODEL_H
#define CANTO_TESTS_REF_MODEL_H

#include "layers/model.h"
#include "tests/ref/linear.h"

typedef struct canto_ref_model {
    const canto_model_config *config; // borrowed, resolved
    const canto_params *params;       // borrowed; only the list is read
    const double *values;             // borrowed, [count]
    canto_ref_documents documents;    // starts[0] = 0
    int64_t tokens_n;
    const int32_t *tokens;  // borrowed, [tokens_n]
    const int32_t *targets; // borrowed, [tokens_n], -1: not counted; NULL with logits only
} canto_ref_model;

// Sum of -log p over the targets. dvalues [count] += scale times its gradient, unless NULL.
double canto_ref_model_loss(const canto_ref_model *model, double scale, double *dvalues);
// logits [tokens_n, vocab].
void canto_ref_model_logits(const canto_ref_model *model, double *logits);

#endif
