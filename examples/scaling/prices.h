// Bytes that a training step sends over all W ranks, as closed formulas to compare the lanes'
// counters with. Zigzag, causal, one sequence of N tokens, N divisible by 2W.
#ifndef CANTO_EXAMPLES_SCALING_PRICES_H
#define CANTO_EXAMPLES_SCALING_PRICES_H

#include "layers/model.h"

typedef struct scaling_layers {
    double softmax, lasp1, lasp2; // share of the layers of each
} scaling_layers;

//     softmax    3 x 3/4 W(W-1) m a layer: keys and values twice, their gradients once
//     linear     lasp1 2 x 2(W-1) mu, lasp2 2 x (2W-1)(W-1) mu a layer: forward and backward
// m: bytes of one rank's keys and values; mu: bytes of one memory state.
static inline double scaling_schedule_bytes(const canto_model_config *model, scaling_layers share,
                                            double tokens, double w)
{
    const double m = 4 * tokens / w * 2 * model->d_model;
    const double mu = 4.0 * model->d_model * model->d_model / model->heads;
    const double softmax = share.softmax * 3 * 0.75 * w * (w - 1) * m;
    const double states = share.lasp1 * 2 * (w - 1) + share.lasp2 * (2 * w - 1) * (w - 1);
    return model->layers * (softmax + 2 * states * mu);
}

// What an all-reduce in two halves sends: every gradient once, every parameter once.
static inline double scaling_gradient_bytes(double params, double w)
{
    return 2 * (w - 1) * 4 * params;
}

#endif
