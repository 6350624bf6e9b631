// canto bench step: a training step of a small model beside the FMA roof of all threads; what is no
// product beside the memory roof; the loss with its head beside its three products.
#define _GNU_SOURCE
#include "launch/bench.h"

#include "launch/command.h"
#include "launch/trainer.h"
#include "runtime/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// --- roofs of all threads ---

enum { FMA_ROUNDS = 2000000, ELEMENTS = 1 << 24, WIDTH = 1024 };

typedef struct machine {
    const canto_bench *bench;
    float *x; // [4, ELEMENTS]
} machine;

static volatile float sink;

static void run_fma(void *of)
{
    const machine *m = of;
    sink = m->bench->level->roofs->fma_on(m->bench->threads, FMA_ROUNDS);
}

// The memory roof of all threads, as the kernels' own loops run.
static void run_multiply(void *of)
{
    const machine *m = of;
    const canto_device *device = m->bench->device;
    device->kernels->multiply(device, ELEMENTS, m->x, m->x + ELEMENTS, m->x + 2 * ELEMENTS);
}

// --- what is no product ---

static void run_norm(void *of)
{
    const machine *m = of;
    const canto_device *device = m->bench->device;
    device->kernels->norm_forward(device, ELEMENTS / WIDTH, WIDTH, 1e-5f, m->x, m->x + 2 * ELEMENTS,
                                  m->x + ELEMENTS, m->x + 3 * ELEMENTS);
}

static void run_rope(void *of)
{
    const machine *m = of;
    const canto_device *device = m->bench->device;
    device->kernels->rope(device, ELEMENTS / WIDTH, WIDTH / 64, 64, WIDTH, m->x + 2 * ELEMENTS, 1,
                          m->x);
}

static void run_glu(void *of)
{
    const machine *m = of;
    const canto_device *device = m->bench->device;
    device->kernels->glu_forward(device, ELEMENTS, m->x, m->x + ELEMENTS, m->x + 2 * ELEMENTS);
}

static void run_adamw(void *of)
{
    const machine *m = of;
    const canto_device *device = m->bench->device;
    const canto_adamw how = {.lr = 1e-9f,
                             .beta1 = 0.9f,
                             .beta2 = 0.95f,
                             .eps = 1e-8f,
                             .weight_decay = 0.1f,
                             .grad_scale = 1,
                             .correction1 = 1,
                             .correction2 = 1};
    device->kernels->adamw(device, ELEMENTS, &how, m->x, m->x + ELEMENTS, m->x + 2 * ELEMENTS,
                           m->x + 3 * ELEMENTS);
}

static canto_status add_parts(canto_bench *bench)
{
    static const struct {
        const char *name;
        void (*run)(void *);
        double bytes; // of an element
    } parts[] = {
        {"RMSNorm forward", run_norm, 8},
        {"RoPE", run_rope, 8},
        {"SwiGLU forward", run_glu, 12},
        {"AdamW", run_adamw, 28},
    };
    machine m = {bench, canto_bench_floats(4 * (int64_t)ELEMENTS)};
    if (!m.x) CANTO_FAIL(CANTO_ERROR_MEMORY, "bench: no memory for arrays");
    for (int64_t i = 3 * (int64_t)ELEMENTS; i < 4 * (int64_t)ELEMENTS; i++) m.x[i] = 1; // squares
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        canto_bench_row row = {.against = "z = x y",
                               .unit = "GB/s",
                               .floor = 0.80,
                               .aim = 0.92,
                               .bound = "arithmetic of an element, where memory is fast"};
        snprintf(row.name, sizeof row.name, "%s, %.0f bytes an element", parts[i].name,
                 parts[i].bytes);
        canto_bench_pair(bench, row,
                         (canto_bench_work){parts[i].run, &m, parts[i].bytes * ELEMENTS},
                         (canto_bench_work){run_multiply, &m, 12.0 * ELEMENTS});
    }
    free(m.x);
    return CANTO_OK;
}

// --- models ---

typedef struct training {
    canto_config config;
    canto_job job;
    canto_trainer trainer;
    int64_t step;
    canto_status status; // the first failure
    char path[64];       // of the text
} training;

// A text of its own, which is deleted when it ends.
static canto_status write_text(training *t)
{
    snprintf(t->path, sizeof t->path, P_tmpdir "/canto-bench-XXXXXX");
    const int file = mkstemp(t->path);
    FILE *out = file >= 0 ? fdopen(file, "w") : NULL;
    if (!out) CANTO_FAIL(CANTO_ERROR_IO, "bench: %s cannot be written", t->path);
    for (int i = 0; i < 65536; i++) putc(' ' + i * 7 % 95, out);
    if (fclose(out) != 0) CANTO_FAIL(CANTO_ERROR_IO, "bench: %s cannot be written", t->path);
    return CANTO_OK;
}

static canto_status open_training(int keys_n, char *const *keys, training *t)
{
    char *all[16], path[96];
    int n = 0;
    CANTO_TRY(write_text(t));
    snprintf(path, sizeof path, "data.path=%s", t->path);
    all[n++] = path;
    for (int i = 0; i < keys_n; i++) all[n++] = keys[i];
    CANTO_TRY(canto_config_read(NULL, n, all, &t->config, NULL));
    CANTO_TRY(canto_config_settle(NULL, &t->config));
    CANTO_TRY(canto_job_open_alone(&t->config, &t->job));
    CANTO_TRY(canto_trainer_create(&t->config, &t->job, true, &t->trainer));
    return canto_params_init(canto_model_params(t->trainer.model), 1);
}

static void close_training(training *t)
{
    if (t->trainer.model) canto_trainer_destroy(&t->trainer);
    if (t->job.world) canto_job_close(&t->job, CANTO_OK, 0);
    if (*t->path) unlink(t->path);
}

static void run_step(void *of)
{
    training *t = of;
    canto_step_result result;
    if (t->status == CANTO_OK)
        t->status = canto_trainer_step(&t->trainer, ++t->step, (canto_step_requests){0}, &result);
    if (t->status == CANTO_OK) t->status = canto_trainer_finish(&t->trainer);
}

// 6 operations a parameter without the embedding, and those of half the pairs, a token.
static double step_operations(const training *t)
{
    const canto_model_config *model = &t->config.model;
    const double tokens = (double)t->config.train.seq_len * (double)t->config.train.batch;
    const double params = (double)canto_params_count(canto_model_params(t->trainer.model)) -
                          (double)model->vocab * model->d_model;
    return tokens * (6 * params +
                     12.0 * model->layers * model->d_model * (double)t->config.train.seq_len / 2);
}

static canto_status open_step(const char *dtype, training *t)
{
    char *keys[] = {"model.pattern=S",    "model.layers=6", "model.d_model=384", "model.heads=6",
                    "train.seq_len=1024", "train.batch=4",  "train.lr=1e-4",     (char *)dtype};
    return open_training((int)(sizeof keys / sizeof *keys), keys, t);
}

// The step beside the roof, and the same step with bf16 operands, unless it is NULL, beside it.
static void add_pairs(canto_bench *bench, training *fp32, training *bf16)
{
    machine m = {bench, NULL};
    const canto_bench_row row = {
        .name = "training step, 11 M parameters, 4 x 1024 tokens",
        .against = "FMA roof",
        .unit = "GFLOP/s",
        .floor = 0.60,
        .aim = 0.75,
        .bound = "products of the library on blocks of 256 rows, attention, and what is no product "
                 "between them"};
    const canto_bench_row bf16_row = {
        .name = "the same with bf16 operands",
        .against = "fp32",
        .unit = "GF step",
        .floor = 3,
        .aim = 6,
        .bound =
            "processors without AMX multiply bf16 numbers at most twice as fast; attention and "
            "what is no product are fp32"};
    const double fma = (double)FMA_ROUNDS * bench->level->roofs->fma_flops * (double)bench->threads;
    const canto_bench_work step = {run_step, fp32, step_operations(fp32)};
    canto_bench_pair(bench, row, step, (canto_bench_work){run_fma, &m, fma});
    if (bf16)
        canto_bench_pair(bench, bf16_row, (canto_bench_work){run_step, bf16, step.amount}, step);
}

static canto_status add_step(canto_bench *bench)
{
    const bool has_bf16 = canto_probe_products_look().bf16; // widened, it would tell nothing
    training fp32 = {0}, bf16 = {0};
    canto_status status = open_step("train.dtype=fp32", &fp32);
    if (status == CANTO_OK && has_bf16) status = open_step("train.dtype=bf16", &bf16);
    if (status == CANTO_OK) {
        add_pairs(bench, &fp32, has_bf16 ? &bf16 : NULL);
        status = fp32.status != CANTO_OK ? fp32.status : bf16.status;
    }
    close_training(&fp32);
    close_training(&bf16);
    return status;
}

// --- the loss ---

enum { VOCAB = 50000, LOSS_TOKENS = 1024, LOSS_WIDTH = 384 };

static void run_loss(void *of)
{
    training *t = of;
    double sum;
    if (t->status == CANTO_OK)
        t->status = canto_model_loss(t->trainer.model, t->trainer.batch.targets, 1e-4f, true, &sum);
}

typedef struct products {
    const canto_device *device;
    float *x, *dx; // [LOSS_TOKENS, LOSS_WIDTH]
    float *w, *dw; // [VOCAB, LOSS_WIDTH]
    float *logits; // [LOSS_TOKENS, VOCAB]
} products;

static void run_products(void *of)
{
    const products *p = of;
    const canto_kernels *kernels = p->device->kernels;
    const int64_t n = LOSS_TOKENS, v = VOCAB, d = LOSS_WIDTH;
    const canto_gemm_shape logits = {
        .trans_b = true, .m = n, .n = v, .k = d, .lda = d, .ldb = d, .ldc = v};
    const canto_gemm_shape dw = {
        .trans_a = true, .m = v, .n = d, .k = n, .lda = v, .ldb = d, .ldc = d};
    const canto_gemm_shape dx = {.m = n, .n = d, .k = v, .lda = v, .ldb = d, .ldc = d};
    kernels->gemm(p->device, &logits, p->x, p->w, p->logits);
    kernels->gemm(p->device, &dw, p->logits, p->x, p->dw);
    kernels->gemm(p->device, &dx, p->logits, p->w, p->dx);
}

static canto_status add_loss(canto_bench *bench)
{
    char *keys[] = {"model.pattern=L",   "model.layers=1",     "model.d_model=384", "model.heads=6",
                    "model.vocab=50000", "train.seq_len=1024", "train.batch=1"};
    training t = {0};
    canto_status status = open_training((int)(sizeof keys / sizeof *keys), keys, &t);
    products p = {.device = bench->device,
                  .x = canto_bench_floats(LOSS_TOKENS * LOSS_WIDTH),
                  .dx = canto_bench_floats(LOSS_TOKENS * LOSS_WIDTH),
                  .w = canto_bench_floats((int64_t)VOCAB * LOSS_WIDTH),
                  .dw = canto_bench_floats((int64_t)VOCAB * LOSS_WIDTH),
                  .logits = canto_bench_floats((int64_t)LOSS_TOKENS * VOCAB)};
    if (status == CANTO_OK && (!p.x || !p.dx || !p.w || !p.dw || !p.logits))
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "bench: no memory for logits");
    const canto_bench_row row = {
        .name = "loss and head, vocabulary of 50000, 1024 tokens",
        .against = "its 3 products",
        .unit = "GFLOP/s",
        .floor = 1 / 1.15,
        .aim = 1 / 1.06,
        .bound = "passes over logits that no cache holds, between the products"};
    if (status == CANTO_OK) {
        run_step(&t);
        const double amount = 6.0 * LOSS_TOKENS * VOCAB * LOSS_WIDTH;
        canto_bench_pair(bench, row, (canto_bench_work){run_loss, &t, amount},
                         (canto_bench_work){run_products, &p, amount});
        status = t.status;
    }
    free(p.x), free(p.dx), free(p.w), free(p.dw), free(p.logits);
    close_training(&t);
    return status;
}

static canto_status measure(const canto_arguments *arguments, canto_bench *bench)
{
    CANTO_TRY(canto_bench_begin(arguments, "step", 0, bench));
    CANTO_TRY(add_step(bench));
    CANTO_TRY(add_loss(bench));
    return add_parts(bench);
}

int canto_command_bench_step(const canto_arguments *arguments)
{
    canto_bench bench = {0};
    const canto_status status = measure(arguments, &bench);
    canto_bench_destroy(&bench);
    return status == CANTO_OK ? canto_bench_end(&bench, arguments) : canto_job_refuse(status);
}
