// canto bench decode: the attention of one new token on one thread. It computes next to nothing, so
// bytes are what counts: a linear state is read and written, keys and values are read.
#include "launch/bench.h"

#include "launch/command.h"
#include "launch/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    DIM = 128,
    HEADS = 8,
    LAYERS = 128, // states of all layers: more than a cache holds
    KEYS = 65536,
    SEQUENCES = 4,
    READ = 1 << 28
};

static volatile float sink;

typedef struct reading {
    const canto_cpu_roofs *roofs;
    float *x; // [READ]
} reading;

static void run_read(void *of)
{
    const reading *r = of;
    sink = r->roofs->read(READ, r->x);
}

// --- states ---

typedef struct states {
    const canto_device *device;
    canto_linear_shape shape;
    float *q, *kv, *y;
    float *states; // [LAYERS, HEADS, DIM, DIM]
} states;

static void run_states(void *of)
{
    const states *s = of;
    const canto_linear_run run = {.tokens = 1, .q = s->q, .kv = s->kv};
    const int64_t count = canto_linear_state_count(&s->shape);
    for (int layer = 0; layer < LAYERS; layer++)
        s->device->kernels->linear_forward(s->device, &s->shape, &run, s->states + layer * count,
                                           s->y, s->states + layer * count);
}

static canto_status add_states(canto_bench *bench, canto_bench_work read)
{
    static const float decays[HEADS] = {-.1f, -.1f, -.1f, -.1f, -.1f, -.1f, -.1f, -.1f};
    const int64_t count = (int64_t)LAYERS * HEADS * DIM * DIM;
    states s = {.device = bench->device,
                .shape = {HEADS, HEADS, DIM, DIM, false, decays, 0, false},
                .q = canto_bench_floats(HEADS * DIM),
                .kv = canto_bench_floats(2 * HEADS * DIM),
                .y = canto_bench_floats(HEADS * DIM),
                .states = canto_bench_floats(count)};
    canto_status status = CANTO_OK;
    const canto_bench_row row = {.name = "linear, constant decay, d 128, 1 sequence",
                                 .against = "read roof",
                                 .unit = "GB/s",
                                 .floor = 0.80,
                                 .aim = 0.92,
                                 .bound =
                                     "memory is read faster than it is read and written in turns"};
    if (s.q && s.kv && s.y && s.states)
        canto_bench_pair(bench, row, (canto_bench_work){run_states, &s, 8.0 * (double)count}, read);
    else
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "bench: no memory for states");
    free(s.q), free(s.kv), free(s.y), free(s.states);
    return status;
}

// --- caches ---

typedef struct caches {
    const canto_device *device;
    canto_attention_shape shape;
    int sequences;
    int64_t keys; // of each sequence
    float *q, *kv, *o, *lse;
} caches;

static void run_caches(void *of)
{
    const caches *c = of;
    const canto_kernels *kernels = c->device->kernels;
    const canto_band all = {c->keys - 1, c->keys, 0, c->keys, CANTO_BAND_MIN, 0};
    const int64_t width = (int64_t)c->shape.key_heads * c->shape.key_dim * 2;
    for (int s = 0; s < c->sequences; s++) {
        kernels->fill(c->device, c->shape.heads, -INFINITY, c->lse);
        kernels->attention_forward(c->device, &c->shape, &all, c->q, c->kv + s * c->keys * width,
                                   c->o, c->lse);
    }
}

static canto_status add_caches(canto_bench *bench, canto_bench_work read, int group, int sequences,
                               double floor, double aim)
{
    const int key_heads = HEADS / group;
    const int64_t keys = KEYS / sequences, count = keys * sequences * key_heads * DIM * 2;
    caches c = {.device = bench->device,
                .shape = {HEADS, key_heads, key_heads, DIM, DIM, 0.09f},
                .sequences = sequences,
                .keys = keys,
                .q = canto_bench_floats(HEADS * DIM),
                .kv = canto_bench_floats(count),
                .o = canto_bench_floats(HEADS * DIM),
                .lse = canto_bench_floats(HEADS)};
    canto_status status = CANTO_OK;
    canto_bench_row row = {
        .against = "read roof",
        .unit = "GB/s",
        .floor = floor,
        .aim = aim,
        .bound = "rows of keys lie a power of two apart and share sets of the nearest "
                 "cache; arithmetic, where a vector is short"};
    snprintf(row.name, sizeof row.name, "softmax, %d to a key head, %d x %lld keys", group,
             sequences, (long long)keys);
    if (c.q && c.kv && c.o && c.lse)
        canto_bench_pair(bench, row, (canto_bench_work){run_caches, &c, 4.0 * (double)count}, read);
    else
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "bench: no memory for keys and values");
    free(c.q), free(c.kv), free(c.o), free(c.lse);
    return status;
}

static canto_status measure(const canto_arguments *arguments, canto_bench *bench)
{
    CANTO_TRY(canto_bench_begin(arguments, "decode", 1, bench));
    reading r = {bench->level->roofs, canto_bench_floats(READ)};
    if (!r.x) CANTO_FAIL(CANTO_ERROR_MEMORY, "bench: no memory for an array of 1 GiB");
    const canto_bench_work read = {run_read, &r, 4.0 * READ};
    canto_status status = add_states(bench, read);
    if (status == CANTO_OK) status = add_caches(bench, read, 1, 1, 0.80, 0.92);
    if (status == CANTO_OK) status = add_caches(bench, read, 4, 1, 0.80, 0.92);
    if (status == CANTO_OK) status = add_caches(bench, read, 1, SEQUENCES, 0, 0);
    free(r.x);
    return status;
}

int canto_command_bench_decode(const canto_arguments *arguments)
{
    canto_bench bench = {0};
    const canto_status status = measure(arguments, &bench);
    canto_bench_destroy(&bench);
    return status == CANTO_OK ? canto_bench_end(&bench, arguments) : canto_job_refuse(status);
}
