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
    bool decays; // weight decay applies (not to norms, gates' biases and decays)
    canto_init init;
    float std; // of CANTO_INIT_NORMAL
} canto_param;

enum { CANTO_PARAMS_MAX = 4096, CANTO_BUCKETS_MAX = 1026 };

typedef struct canto_params {
    int n;
    canto_param *list; // [CANTO_PARAMS_MAX], in order of place
    int buckets_n;
    int64_t *bounds; // [CANTO_BUCKETS_MAX + 1]: bucket b is [bounds[b], bounds[b + 1])
    float *values;   // [count] in the arena
    float *grads;    // [count], or NULL when the model only runs forward
} canto_params;

// Elements of all parameters.
int64_t canto_params_count(const canto_params *params);
// NULL if there is none of that name.
const canto_param *canto_params_find(const canto_params *params, const char *name);
// Initial values, a pure function of (seed, name, element).
void canto_params_init(canto_params *params, uint64_t seed);

#endif
