// The list of parameters, in order of place, and the flat arrays behind it.
#include "layers/params.h"

#include "runtime/rng.h"

#include <stdlib.h>
#include <string.h>

// Elements that are made at once.
enum { INIT_BLOCK = 1 << 16 };

canto_status canto_params_begin(canto_params *params, const canto_device *device, int buckets_n)
{
    *params = (canto_params){.device = device, .buckets_n = buckets_n};
    params->bounds = calloc((size_t)buckets_n + 1, sizeof *params->bounds);
    if (!params->bounds)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "parameters: no memory for %d buckets", buckets_n);
    return CANTO_OK;
}

static canto_status grow(canto_params *params)
{
    const int capacity = params->capacity ? 2 * params->capacity : 64;
    canto_param *list = realloc(params->list, (size_t)capacity * sizeof *list);
    if (!list) CANTO_FAIL(CANTO_ERROR_MEMORY, "parameters: no memory for a list of %d", capacity);
    params->list = list;
    params->capacity = capacity;
    return CANTO_OK;
}

canto_status canto_params_add(canto_params *params, const canto_param *param, int *id)
{
    const int last = params->n ? params->list[params->n - 1].bucket : 0;
    CANTO_CHECK(param->bucket >= last && param->bucket < params->buckets_n,
                "parameter %s: bucket %d after bucket %d of %d", param->name, param->bucket, last,
                params->buckets_n);
    if (params->n == params->capacity) CANTO_TRY(grow(params));
    canto_param *added = &params->list[params->n];
    *added = *param;
    added->begin = canto_params_count(params);
    added->count = 1;
    for (int i = 0; i < param->dims_n; i++) added->count *= param->dims[i];
    *id = params->n++;
    for (int b = param->bucket; b < params->buckets_n; b++)
        params->bounds[b + 1] = added->begin + added->count;
    return CANTO_OK;
}

canto_status canto_params_allocate(canto_params *params, canto_arena *arena, bool gradients,
                                   bool halves)
{
    const int64_t count = canto_params_count(params);
    CANTO_TRY(canto_arena_array(arena, "parameters", count, sizeof *params->values,
                                (void **)&params->values));
    if (halves)
        CANTO_TRY(canto_arena_array(arena, "parameters in bf16", count, sizeof *params->halves,
                                    (void **)&params->halves));
    if (!gradients) return CANTO_OK;
    return canto_arena_array(arena, "gradients", count, sizeof *params->grads,
                             (void **)&params->grads);
}

void canto_params_destroy(canto_params *params)
{
    free(params->list);
    free(params->bounds);
    *params = (canto_params){0};
}

int64_t canto_params_count(const canto_params *params)
{
    return params->bounds[params->buckets_n];
}

const canto_param *canto_params_find(const canto_params *params, const char *name)
{
    for (int i = 0; i < params->n; i++) {
        if (strcmp(params->list[i].name, name) == 0) return &params->list[i];
    }
    return NULL;
}

float *canto_params_value(const canto_params *params, int id)
{
    return params->values + params->list[id].begin;
}

float *canto_params_grad(const canto_params *params, int id)
{
    return params->grads + params->list[id].begin;
}

const uint16_t *canto_params_half(const canto_params *params, int id)
{
    return params->halves + params->list[id].begin;
}

void canto_params_round(const canto_params *params, int bucket)
{
    const int64_t begin = params->bounds[bucket], n = params->bounds[bucket + 1] - begin;
    if (!params->halves || n == 0) return;
    params->device->kernels->narrow(params->device, 1, n, n, params->values + begin,
                                    params->halves + begin);
}

// Elements [first, first + n) of a parameter.
static void init_block(const canto_param *param, uint64_t seed, int64_t first, int64_t n,
                       float *value)
{
    const uint64_t own = canto_rng_seed(seed, param->name);
    if (param->init == CANTO_INIT_NORMAL) {
#pragma omp parallel for
        for (int64_t i = 0; i < n; i++)
            value[i] = param->std * canto_rng_normal(own, CANTO_RNG_INIT, (uint64_t)(first + i));
        return;
    }
    const float constant = param->init == CANTO_INIT_ONES ? 1.0f : 0.0f;
    for (int64_t i = 0; i < n; i++) value[i] = constant;
}

static canto_status init_param(const canto_params *params, const canto_param *param, uint64_t seed,
                               float *block)
{
    for (int64_t first = 0; first < param->count; first += INIT_BLOCK) {
        const int64_t left = param->count - first;
        const int64_t n = left < INIT_BLOCK ? left : INIT_BLOCK;
        init_block(param, seed, first, n, block);
        CANTO_TRY(canto_device_upload(params->device, params->values + param->begin + first, block,
                                      sizeof *block * (size_t)n));
    }
    return CANTO_OK;
}

canto_status canto_params_init(canto_params *params, uint64_t seed)
{
    float *block = malloc(sizeof *block * INIT_BLOCK);
    if (!block) CANTO_FAIL(CANTO_ERROR_MEMORY, "parameters: no memory for initial values");
    canto_status status = CANTO_OK;
    for (int p = 0; p < params->n && status == CANTO_OK; p++)
        status = init_param(params, &params->list[p], seed, block);
    free(block);
    return status;
}
