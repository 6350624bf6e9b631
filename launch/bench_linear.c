// canto bench linear: matrix-state attention of every kind of gate beside the large sgemm, long
// sequences beside short ones, and softmax attention beside both. Counted are the operations of the
// form in chunks, of pairs that the mask leaves.
#include "launch/bench.h"

#include "launch/command.h"
#include "launch/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADS = 4, CHUNK = 48 };

typedef struct problem {
    const canto_device *device;
    canto_linear_shape shape;
    int64_t n;
    float *q, *kv, *erase, *gates, *y, *dy, *dq, *dkv, *derase, *dgates, *work;
} problem;

static const float decays[HEADS] = {-0.01f, -0.02f, -0.03f, -0.04f};

static canto_linear_run run_of(const problem *p)
{
    return (canto_linear_run){.tokens = p->n,
                              .q = p->q,
                              .kv = p->kv,
                              .erase = p->shape.erases ? p->erase : NULL,
                              .gates = p->shape.gate ? p->gates : NULL};
}

static void run_forward(void *of)
{
    const problem *p = of;
    const canto_linear_run run = run_of(p);
    p->device->kernels->linear_forward(p->device, &p->shape, &run, NULL, p->y, NULL);
}

static void run_backward(void *of)
{
    const problem *p = of;
    const canto_linear_run run = run_of(p);
    const canto_linear_gradients gradients = {.dq = p->dq,
                                              .dkv = p->dkv,
                                              .derase = p->shape.erases ? p->derase : NULL,
                                              .dgates = p->shape.gate ? p->dgates : NULL};
    p->device->kernels->linear_backward(p->device, &p->shape, &run, NULL, p->dy, NULL, &gradients,
                                        p->work);
}

static void dismiss(problem *p)
{
    free(p->q), free(p->kv), free(p->erase), free(p->gates), free(p->y), free(p->dy);
    free(p->dq), free(p->dkv), free(p->derase), free(p->dgates), free(p->work);
}

static float *floats_if(bool wanted, int64_t n, bool *good)
{
    float *x = wanted ? canto_bench_floats(n) : NULL;
    *good = *good && (x || !wanted);
    return x;
}

// Keys and what erases are short, so that the state stays bounded; gates keep most of it.
static canto_status make(const canto_bench *bench, canto_linear_shape shape, int64_t n,
                         bool backward, problem *p)
{
    const int64_t count = n * HEADS * shape.key_dim;
    const bool gated = shape.gate != CANTO_GATE_NONE;
    const size_t bytes = bench->device->kernels->linear_work_bytes(&shape, n);
    bool good = true;
    *p = (problem){.device = bench->device, .shape = shape, .n = n};
    p->q = floats_if(true, count, &good);
    p->kv = floats_if(true, 2 * count, &good);
    p->erase = floats_if(shape.erases, count, &good);
    p->gates = floats_if(gated, count, &good);
    p->y = floats_if(true, count, &good);
    p->dy = floats_if(backward, count, &good);
    p->dq = floats_if(backward, count, &good);
    p->dkv = floats_if(backward, 2 * count, &good);
    p->derase = floats_if(backward && shape.erases, count, &good);
    p->dgates = floats_if(backward && gated, count, &good);
    p->work = floats_if(backward, (int64_t)(bytes / sizeof(float)) + 1, &good);
    if (!good) CANTO_FAIL(CANTO_ERROR_MEMORY, "bench: no memory for %lld tokens", (long long)n);
    for (int64_t i = 0; gated && i < count; i++) p->gates[i] = -0.05f * fabsf(p->gates[i]);
    for (int64_t i = 0; shape.erases && i < count; i++) p->erase[i] *= 0.1f;
    for (int64_t i = 0; i < 2 * count; i++) p->kv[i] *= 0.1f;
    return CANTO_OK;
}

// Of a run: products of pairs take (CHUNK + 1) / 2 columns of d each, products with the state d.
static double operations(const problem *p, bool backward)
{
    const double d = p->shape.key_dim, pairs = (CHUNK + 1) * d, state = 2 * d * d;
    const double whole = backward ? 5 * pairs + 5 * state : 2 * pairs + 2 * state;
    const double erasing = p->shape.erases ? 2 * pairs + state : 0;
    return (double)p->n * p->shape.heads * (whole + erasing);
}

static const char small_products[] =
    "the state is read and written once a chunk of 48 tokens, and products are 48 rows high";

static const struct {
    const char *name;
    canto_linear_shape shape;
    double floor, aim, back_floor, back_aim;
} cases[] = {
    {"no decay, d 64", {HEADS, HEADS, 64, 64, false, NULL, 0, false}, 0.70, 0.85, 0.65, 0.80},
    {"constant decay, d 64", {HEADS, HEADS, 64, 64, false, decays, 0, false}, .70, .85, .65, .80},
    {"constant decay, d 128", {HEADS, HEADS, 128, 128, false, decays, 0, false}, .70, .85, .65, .8},
    {"gate a head, d 64",
     {HEADS, HEADS, 64, 64, false, NULL, CANTO_GATE_HEAD, false},
     .7,
     .85,
     .65,
     .8},
    {"gate a key dim (GLA), d 64",
     {HEADS, HEADS, 64, 64, false, NULL, CANTO_GATE_KEY, false},
     0.55,
     0.70,
     0,
     0},
    {"gated delta, d 64",
     {HEADS, HEADS, 64, 64, false, NULL, CANTO_GATE_HEAD, true},
     0.50,
     0.68,
     0,
     0},
    {"constant decay, d 32", {HEADS, HEADS, 32, 32, false, decays, 0, false}, 0, 0, 0, 0},
};

static canto_status add_case(canto_bench *bench, int i)
{
    problem p;
    const canto_status status = make(bench, cases[i].shape, 4096, true, &p);
    canto_bench_row row = {.against = "large sgemm",
                           .unit = "GFLOP/s",
                           .floor = cases[i].floor,
                           .aim = cases[i].aim,
                           .bound = small_products};
    snprintf(row.name, sizeof row.name, "forward, %s", cases[i].name);
    if (status == CANTO_OK)
        canto_bench_pair(bench, row, (canto_bench_work){run_forward, &p, operations(&p, false)},
                         bench->gemm);
    snprintf(row.name, sizeof row.name, "backward, %s", cases[i].name);
    row.floor = cases[i].back_floor;
    row.aim = cases[i].back_aim;
    // With r the walk back solves and erases as well: more than is counted here.
    if (status == CANTO_OK && !p.shape.erases)
        canto_bench_pair(bench, row, (canto_bench_work){run_backward, &p, operations(&p, true)},
                         bench->gemm);
    dismiss(&p);
    return status;
}

// --- long beside short ---

enum { SHORT = 4096, LONG = 262144 };

// As many tokens as the long run has.
static void run_short(void *of)
{
    for (int i = 0; i < LONG / SHORT; i++) run_forward(of);
}

static canto_status add_length(canto_bench *bench)
{
    problem p, q = {0};
    canto_status status = make(bench, cases[1].shape, LONG, false, &p);
    if (status == CANTO_OK) status = make(bench, cases[1].shape, SHORT, false, &q);
    const canto_bench_row row = {.name = "tokens a second at 256K, constant decay, d 64",
                                 .against = "those at 4K",
                                 .unit = "Mtok/s",
                                 .floor = 0.97,
                                 .aim = 1,
                                 .bound = "memory that no cache holds, asked for ahead"};
    if (status == CANTO_OK)
        canto_bench_pair(bench, row, (canto_bench_work){run_forward, &p, 1e3 * LONG},
                         (canto_bench_work){run_short, &q, 1e3 * LONG});
    dismiss(&q);
    dismiss(&p);
    return status;
}

// --- softmax beside it ---

typedef struct softmax {
    const canto_device *device;
    canto_attention_shape shape;
    int64_t n;
    const float *q, *kv;
    float *o, *lse;
} softmax;

static void run_softmax(void *of)
{
    const softmax *s = of;
    const canto_band all = {0, s->n, 0, s->n, CANTO_BAND_MIN, 0};
    s->device->kernels->fill(s->device, s->n * s->shape.heads, -INFINITY, s->lse);
    s->device->kernels->attention_forward(s->device, &s->shape, &all, s->q, s->kv, s->o, s->lse);
}

static canto_status add_crossing(canto_bench *bench, int64_t n, double floor, double aim)
{
    problem p;
    const canto_status status = make(bench, cases[1].shape, n, true, &p);
    const softmax s = {.device = bench->device,
                       .shape = {HEADS, HEADS, HEADS, 64, 64, 0.125f},
                       .n = n,
                       .q = p.q,
                       .kv = p.kv,
                       .o = p.dq,
                       .lse = p.dy};
    canto_bench_row row = {.against = "softmax's",
                           .unit = "Mtok/s",
                           .floor = floor,
                           .aim = aim,
                           .bound = "both do the same work at 176 tokens"};
    snprintf(row.name, sizeof row.name, "tokens a second at %lld, d 64", (long long)n);
    if (status == CANTO_OK)
        canto_bench_pair(bench, row, (canto_bench_work){run_forward, &p, 1e3 * (double)n},
                         (canto_bench_work){run_softmax, (void *)&s, 1e3 * (double)n});
    dismiss(&p);
    return status;
}

static canto_status measure(const canto_arguments *arguments, canto_bench *bench)
{
    CANTO_TRY(canto_bench_begin(arguments, "linear", 1, bench));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) CANTO_TRY(add_case(bench, (int)i));
    CANTO_TRY(add_length(bench));
    CANTO_TRY(add_crossing(bench, 128, 0, 0));
    CANTO_TRY(add_crossing(bench, 256, 0, 1));
    return add_crossing(bench, 512, 1, 2);
}

int canto_command_bench_linear(const canto_arguments *arguments)
{
    canto_bench bench = {0};
    const canto_status status = measure(arguments, &bench);
    canto_bench_destroy(&bench);
    return status == CANTO_OK ? canto_bench_end(&bench, arguments) : canto_job_refuse(status);
}
