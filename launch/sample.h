// Draws a token from logits: temperature, top-k, and a random number that is a function of (seed,
// index). Pure.
#ifndef CANTO_LAUNCH_SAMPLE_H
#define CANTO_LAUNCH_SAMPLE_H

#include <stdint.h>

typedef struct canto_sampling {
    double temperature; // 0: the likeliest token, the lowest of equals
    int top_k;          // 0: all
    uint64_t seed;
} canto_sampling;

typedef struct canto_choice {
    float logit;
    int32_t token;
} canto_choice;

// choices [vocab] is scratch.
int32_t canto_sample(const canto_sampling *how, uint64_t index, int vocab, const float *logits,
                     canto_choice *choices);

#endif
