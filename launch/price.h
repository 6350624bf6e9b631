// What one training step sends, all ranks together: for every strategy of softmax layers and every
// transport of linear layers, from the schedules and folds that a run of this configuration makes.
#ifndef CANTO_LAUNCH_PRICE_H
#define CANTO_LAUNCH_PRICE_H

#include "launch/trainer.h"

enum { CANTO_PRICE_ROWS_MAX = 16 };

// One strategy or transport, on all layers of its family.
typedef struct canto_price_row {
    const char *name;
    bool works;              // on this number of context ranks
    bool chosen;             // by the configuration
    int64_t messages, bytes; // forward and backward
    int64_t part_bytes;      // most that a rank keeps of others' keys and values, or states
    int64_t sum_bytes;       // most that a rank keeps of others' gradient sums; softmax only
    double busiest;          // pairs of the busiest rank over the mean; softmax only
} canto_price_row;

typedef struct canto_step_price {
    int64_t streams; // of one step, over all replicas; each is priced as the first
    int softmax_layers, linear_layers;
    int softmax_n, linear_n; // rows; 0 without such layers
    canto_price_row softmax[CANTO_PRICE_ROWS_MAX], linear[CANTO_PRICE_ROWS_MAX];
    int64_t parameters;
    int64_t gradient_messages, gradient_bytes; // reduction and gathering
    int64_t messages, bytes;                   // of the step, as configured
} canto_step_price;

// Local. A trainer that measures is enough. The documents are those of the run's first stream;
// without a text every sequence is one.
canto_status canto_step_price_make(const canto_trainer *trainer, canto_step_price *out);

#endif
