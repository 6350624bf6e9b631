// Making layers: names of parameters, places of buffers, rotary tables; and running them.
#include "layers/layer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

canto_status canto_builder_param(const canto_builder *builder, const char *name,
                                 const canto_param *how, int *id)
{
    canto_param param = *how;
    param.bucket = builder->layer;
    if (builder->layer < builder->config->layers)
        snprintf(param.name, sizeof param.name, "blocks.%d.%s", builder->layer, name);
    else
        snprintf(param.name, sizeof param.name, "%s", name);
    return canto_params_add(builder->context->params, &param, id);
}

canto_status canto_builder_keep(const canto_builder *builder, const char *what, int64_t count,
                                float **out)
{
    return builder->context->gradients ? canto_builder_hold(builder, what, count, out)
                                       : canto_builder_scratch(builder, what, count, out);
}

canto_status canto_builder_recall(const canto_builder *builder, const char *what, int64_t count,
                                  float **out)
{
    return builder->forgets ? canto_builder_scratch(builder, what, count, out)
                            : canto_builder_keep(builder, what, count, out);
}

canto_status canto_builder_scratch(const canto_builder *builder, const char *what, int64_t count,
                                   float **out)
{
    return canto_arena_array(&builder->arenas->work, what, count, sizeof **out, (void **)out);
}

canto_status canto_builder_hold(const canto_builder *builder, const char *what, int64_t count,
                                float **out)
{
    return canto_arena_array(&builder->arenas->step, what, count, sizeof **out, (void **)out);
}

// Angles in double: a position of millions times a frequency has no digits left in single.
static void fill_rope(const canto_builder *builder, int64_t first, int64_t rows, int dim,
                      float *table)
{
    const canto_plan *plan = builder->context->plan;
    double frequencies[CANTO_HEAD_DIM_MAX / 2];
    for (int j = 0; j < dim / 2; j++)
        frequencies[j] = pow(builder->config->rope_base, -2.0 * j / dim);
    for (int64_t t = 0; t < rows; t++) {
        const int64_t position = plan ? canto_plan_position(plan, first + t) : first + t;
        for (int j = 0; j < dim / 2; j++) {
            const double angle = (double)position * frequencies[j];
            table[t * dim + 2 * j] = (float)cos(angle);
            table[t * dim + 2 * j + 1] = (float)sin(angle);
        }
    }
}

// Made by the host, a few rows at a time.
static canto_status upload_rope(const canto_builder *builder, int64_t rows, int dim, float *table)
{
    enum { ROWS = 256 };
    float *block = malloc(sizeof *block * ROWS * (size_t)dim);
    if (!block) CANTO_FAIL(CANTO_ERROR_MEMORY, "rotary table: no memory for %d rows", ROWS);
    canto_status status = CANTO_OK;
    for (int64_t t = 0; t < rows && status == CANTO_OK; t += ROWS) {
        const int64_t n = rows - t < ROWS ? rows - t : ROWS;
        fill_rope(builder, t, n, dim, block);
        status = canto_device_upload(builder->context->device, table + t * dim, block,
                                     sizeof *block * (size_t)(n * dim));
    }
    free(block);
    return status;
}

canto_status canto_builder_rope(const canto_builder *builder, int dim, const float **out)
{
    canto_ropes *ropes = builder->ropes;
    int i = 0;
    while (i < ropes->n && ropes->dims[i] != dim) i++;
    if (i == ropes->n) {
        int64_t rows = builder->context->plan ? builder->tokens : builder->capacity;
        ropes->dims[i] = dim;
        CANTO_TRY(canto_builder_hold(builder, "rotary table", rows * dim, &ropes->tables[i]));
        if (!builder->arenas->step.measuring)
            CANTO_TRY(upload_rope(builder, rows, dim, ropes->tables[i]));
        ropes->n++;
    }
    *out = ropes->tables[i];
    return CANTO_OK;
}

static void begin_span(const canto_layer *layer, const char *name)
{
    canto_trace_begin(layer->context->plan->trace, CANTO_TRACE_COMPUTE, name, NULL, 0);
}

canto_status canto_layer_forward(canto_layer *layer, const float *x, float *y)
{
    begin_span(layer, layer->ops->name);
    const canto_status status = layer->ops->forward(layer, x, y);
    canto_trace_end(layer->context->plan->trace);
    return status;
}

canto_status canto_layer_backward(canto_layer *layer, const float *x, const float *dy, float *dx)
{
    begin_span(layer, layer->ops->name);
    const canto_status status = layer->ops->backward(layer, x, dy, dx);
    canto_trace_end(layer->context->plan->trace);
    return status;
}

canto_status canto_layer_recall(canto_layer *layer, const float *x)
{
    begin_span(layer, "recall");
    const canto_status status = layer->ops->recall(layer, x);
    canto_trace_end(layer->context->plan->trace);
    return status;
}
