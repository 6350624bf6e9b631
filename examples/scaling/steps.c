// Times training steps of several strategies side by side on the ranks it is started with, and
// prints one JSON object; examples/scaling/run starts it on 1, 2 and 4 ranks and draws the results.
//
//     mpirun -n W steps CONFIG ROUNDS [KEY=VALUE...]
//
// Rounds are interleaved: two steps with every strategy, one after the other, and a matrix product
// whose spread tells how quiet the machine is. Bytes of a step are what the lanes counted, over all
// ranks, beside the closed formulas of prices.h.
#include "examples/scaling/prices.h"
#include "launch/trainer.h"
#include "runtime/clock.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

enum { STEPS = 2, PRODUCT = 384, KEYS_MAX = 32 };

static const struct {
    const char *name;
    char *keys[3];
    scaling_layers share;
} kinds[] = {
    // clang-format off
    {"softmax ring", {"model.pattern=S", "parallel.softmax=ring", "parallel.linear=lasp2"}, {1, 0, 0}},
    {"softmax gather", {"model.pattern=S", "parallel.softmax=gather", "parallel.linear=lasp2"}, {1, 0, 0}},
    {"linear lasp1", {"model.pattern=L", "parallel.softmax=ring", "parallel.linear=lasp1"}, {0, 1, 0}},
    {"linear lasp2", {"model.pattern=L", "parallel.softmax=ring", "parallel.linear=lasp2"}, {0, 0, 1}},
    {"hybrid LLLS", {"model.pattern=LLLS", "parallel.softmax=ring", "parallel.linear=lasp2"}, {0.25, 0, 0.75}},
    // clang-format on
};
enum { KINDS = sizeof kinds / sizeof *kinds };

typedef struct variant {
    canto_config config;
    canto_trainer trainer;
    json_t *step_s, *wait_s; // of each round
} variant;

static canto_status open_variant(int kind, canto_job *job, int argc, char **argv, variant *v)
{
    char *overrides[KEYS_MAX];
    int n = 0;
    for (int i = 3; i < argc && n < KEYS_MAX - 3; i++) overrides[n++] = argv[i];
    for (int i = 0; i < 3; i++) overrides[n++] = kinds[kind].keys[i];
    *v = (variant){.step_s = json_array(), .wait_s = json_array()};
    CANTO_TRY(canto_config_read(argv[1], n, overrides, &v->config, NULL));
    CANTO_TRY(canto_config_settle(NULL, &v->config));
    CANTO_TRY(canto_trainer_create(&v->config, job, true, &v->trainer));
    return canto_params_init(canto_model_params(v->trainer.model), 1);
}

// Seconds of a step until its parameters are everywhere, on the slowest rank. Round 0 warms up.
static canto_status time_variant(variant *v, int round)
{
    canto_comm *control = v->trainer.job->mesh.control;
    double seconds[64] = {0}, wait_s = 0, slowest_s = 0;
    const double start_s = canto_clock_s();
    for (int i = 0; i < STEPS; i++) {
        canto_step_result result;
        CANTO_TRY(canto_trainer_step(&v->trainer, 1 + STEPS * round + i, (canto_step_requests){0},
                                     &result));
        wait_s += result.comm_wait_s / STEPS;
    }
    CANTO_TRY(canto_trainer_finish(&v->trainer));
    seconds[control->rank] = (canto_clock_s() - start_s) / STEPS;
    CANTO_TRY(canto_comm_sum_small(control, control->size, seconds));
    for (int r = 0; r < control->size; r++) slowest_s = fmax(slowest_s, seconds[r]);
    if (round == 0) return CANTO_OK;
    json_array_append_new(v->step_s, json_real(slowest_s));
    json_array_append_new(v->wait_s, json_real(wait_s));
    return CANTO_OK;
}

static double time_product(float *x)
{
    const int64_t n = PRODUCT;
    const double start_s = canto_clock_s();
    const canto_gemm_shape shape = {.m = n, .n = n, .k = n, .lda = n, .ldb = n, .ldc = n};
    canto_device_cpu()->kernels->gemm(canto_device_cpu(), &shape, x, x, x + n * n);
    return canto_clock_s() - start_s;
}

static canto_status add_bytes(int kind, const variant *v, json_t *row)
{
    const canto_lane_tally *lanes = v->trainer.tally.lanes;
    const double steps = (double)v->trainer.tally.steps, w = v->trainer.job->world->size;
    const double tokens = (double)v->config.train.seq_len;
    const double params = (double)canto_params_count(canto_model_params(v->trainer.model));
    double bytes[2] = {(double)lanes[CANTO_LANE_SCHEDULE].sent.bytes / steps,
                       (double)lanes[CANTO_LANE_GRADIENTS].sent.bytes / steps};
    CANTO_TRY(canto_comm_sum_small(v->trainer.job->mesh.control, 2, bytes));
    json_object_set_new(row, "schedule_bytes", json_real(bytes[0]));
    json_object_set_new(
        row, "schedule_formula",
        json_real(scaling_schedule_bytes(&v->config.model, kinds[kind].share, tokens, w)));
    json_object_set_new(row, "gradient_bytes", json_real(bytes[1]));
    json_object_set_new(row, "gradient_formula", json_real(scaling_gradient_bytes(params, w)));
    return CANTO_OK;
}

static canto_status run(canto_job *job, int argc, char **argv, variant v[KINDS], json_t *out)
{
    float *x = calloc(2 * PRODUCT * PRODUCT, sizeof *x);
    json_t *product_s = json_array(), *rows = json_array();
    for (int k = 0; k < KINDS; k++) CANTO_TRY(open_variant(k, job, argc, argv, &v[k]));
    for (int round = 0; round <= atoi(argv[2]); round++) {
        for (int k = 0; k < KINDS; k++) CANTO_TRY(time_variant(&v[k], round));
        const double seconds = time_product(x);
        if (round > 0) json_array_append_new(product_s, json_real(seconds));
    }
    for (int k = 0; k < KINDS; k++) {
        json_t *row = json_pack("{s:s, s:o, s:o}", "name", kinds[k].name, "step_s", v[k].step_s,
                                "wait_s", v[k].wait_s);
        CANTO_TRY(add_bytes(k, &v[k], row));
        json_array_append_new(rows, row);
        canto_trainer_destroy(&v[k].trainer);
    }
    free(x);
    json_object_set_new(out, "product_s", product_s);
    json_object_set_new(out, "strategies", rows);
    return CANTO_OK;
}

int main(int argc, char **argv)
{
    if (argc < 3) return fprintf(stderr, "usage: steps CONFIG ROUNDS [KEY=VALUE...]\n"), 2;
    variant *v = calloc(KINDS, sizeof *v);
    canto_config config;
    canto_job job = {0};
    canto_status status = canto_config_read(argv[1], argc - 3, argv + 3, &config, NULL);
    if (status == CANTO_OK) status = canto_job_open(&config, &job);
    if (status != CANTO_OK) return canto_job_refuse(status);
    json_t *out =
        json_pack("{s:i, s:i, s:i, s:I}", "ranks", job.world->size, "threads", job.threads.threads,
                  "cores", job.threads.cores, "tokens", (json_int_t)config.train.seq_len);
    status = run(&job, argc, argv, v, out);
    if (status == CANTO_OK && job.world->rank == 0)
        json_dumpf(out, stdout, JSON_COMPACT), putchar('\n');
    json_decref(out);
    free(v);
    return canto_job_close(&job, status, 0);
}
