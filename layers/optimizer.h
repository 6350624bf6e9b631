// AdamW (Loshchilov and Hutter, arXiv 1711.05101) on my pieces of the parameters, with clipping by
// the global norm, warm-up, cosine and a minimum rate.
#ifndef CANTO_LAYERS_OPTIMIZER_H
#define CANTO_LAYERS_OPTIMIZER_H

#include "layers/params.h"
#include "parallel/grad.h"

typedef struct canto_optimizer_config {
    double lr, min_lr;
    int64_t warmup;  // steps from 0 to lr
    int64_t horizon; // step at which the cosine ends in min_lr
    double beta1, beta2, eps;
    double weight_decay;
    double clip; // largest gradient norm; 0: no clipping
} canto_optimizer_config;

// Rate of step `step` (1-based): lr * step / warmup, then the cosine, then min_lr. Pure.
double canto_optimizer_rate(const canto_optimizer_config *config, int64_t step);

typedef struct canto_optimizer {
    canto_optimizer_config config;
    canto_params *params;       // borrowed
    canto_grad *grad;           // borrowed
    const canto_device *device; // borrowed
    int rank;
    int64_t pieces_count;  // my elements
    float *first, *second; // [pieces_count]: my moments, in bucket order
    double *norm;          // [1]: sum of squares
} canto_optimizer;

canto_status canto_optimizer_create(canto_arena *arena, const canto_optimizer_config *config,
                                    canto_params *params, canto_grad *grad,
                                    const canto_device *device, int rank, canto_optimizer *out);
// Finishes the reduction, computes the norm (collective on control), updates my pieces and starts
// to gather the parameters: canto_model_forward or canto_grad_gather_finish awaits them.
// CANTO_ERROR_NUMBERS, on every rank alike and before anything is changed, if the norm is not
// finite.
canto_status canto_optimizer_step(canto_optimizer *optimizer, canto_comm *control, int64_t step,
                                  double *grad_norm, double *lr);

// Calls `visit` for every run of my pieces that lies in one parameter: elements [begin, begin +
// count) of the flattened parameter, values and moments, all of the device. For saving and loading.
typedef canto_status (*canto_optimizer_visit)(void *context, const canto_param *param,
                                              int64_t begin, int64_t count, float *value,
                                              float *first, float *second);
canto_status canto_optimizer_pieces(canto_optimizer *optimizer, canto_optimizer_visit visit,
                                    void *context);

#endif
