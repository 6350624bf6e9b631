// The named parameters of a model in one flat array, cut into buckets (one for each block, one for
// what surrounds them) so that gradients can be reduced bucket by bucket. Local.
#ifndef CANTO_LAYERS_PARAMS_H
#define CANTO_LAYERS_PARAMS_H

#include "runtime/arena.h"

typedef enum canto_init { CANTO_INIT_NORMAL, CANTO_INIT_ONES, CANTO_INIT_ZEROS } canto_init;

typedef struct canto_param {
    char name[96]; // "blocks.3.mixer.wq": the name in checkpoints
    int dims_n;
    int64_t dims[CANTO_DIMS_MAX];
    int64_t begin, count; // place in the flat arrays
    int bucket;
    bool decays; // weight decay applies: not to norms, decays and gates of mixers
    canto_init init;
    float std; // of CANTO_INIT_NORMAL
} canto_param;

typedef struct canto_params {
    const canto_device *device; // borrowed: where values and gradients lie
    int n, capacity;
    canto_param *list; // owned, [capacity], in order of place
    int buckets_n;
    int64_t *bounds;  // owned, [buckets_n + 1]: bucket b is [bounds[b], bounds[b + 1])
    float *values;    // [count] in the arena
    float *grads;     // [count], or NULL when the model only runs forward
    uint16_t *halves; // [count]: values as bf16 numbers, for products; NULL: not wanted
} canto_params;

// --- making: begin, add every parameter bucket by bucket, then allocate ---

// An empty list for a device, to be cut into `buckets_n` buckets.
canto_status canto_params_begin(canto_params *params, const canto_device *device, int buckets_n);
// Appends a parameter; name, dims, bucket, decays, init and std come from `param`. Buckets must
// not fall from one call to the next. *id: its index in the list.
canto_status canto_params_add(canto_params *params, const canto_param *param, int *id);
// Takes values and, if wanted, gradients and halves from the arena. May measure.
canto_status canto_params_allocate(canto_params *params, canto_arena *arena, bool gradients,
                                   bool halves);
void canto_params_destroy(canto_params *params); // also of a zeroed one

// --- using ---

// Elements of all parameters.
int64_t canto_params_count(const canto_params *params);
// NULL if there is none of that name.
const canto_param *canto_params_find(const canto_params *params, const char *name);
// Values and gradients of one parameter, of the device.
float *canto_params_value(const canto_params *params, int id);
float *canto_params_grad(const canto_params *params, int id);
const uint16_t *canto_params_half(const canto_params *params, int id);
// Halves of a bucket from its values, if there are any.
void canto_params_round(const canto_params *params, int bucket);
// Initial values, a pure function of (seed, name, element).
canto_status canto_params_init(canto_params *params, uint64_t seed);

#endif
