// canto bench attention: small products as the kernels make them, beside one call of the BLAS
// library each; softmax attention forward and backward, causal, beside the large sgemm. Counted are
// the operations of pairs that the mask leaves.
#include "launch/bench.h"

#include "launch/command.h"
#include "launch/job.h"
#include "runtime/cpu/tiles.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- small products ---

enum { TILE_ROOM = 256 * 512, TILE_REPEATS = 400 };

typedef struct tile {
    const canto_cpu_level *level;
    int m, n, k;
    bool scores; // a b' with panels of scores; else a b
    float *a, *b, *packed, *c;
} tile;

static void run_scores(const tile *t)
{
    const canto_cpu_tiles *tiles = t->level->tiles;
    const int panel = tiles->panel, panels = (t->n + panel - 1) / panel;
    for (int p = 0; p < panels; p++)
        tiles->scores(t->m, t->k, t->a, t->k, t->packed + (int64_t)p * t->k * panel,
                      t->c + p * panel, (int64_t)panels * panel, NULL);
}

static void run_product(const tile *t)
{
    const int columns = t->level->tiles->columns;
    const canto_product_of p = {.rows = t->m,
                                .columns = t->n,
                                .first = {.a = t->a,
                                          .row = t->k,
                                          .column = 1,
                                          .b = t->packed,
                                          .panel = (int64_t)t->k * columns,
                                          .depth = t->k},
                                .c = t->c,
                                .c_row = t->n,
                                .c_panel = columns,
                                .padded = true};
    t->level->tiles->product(&p);
}

static void run_ours(void *of)
{
    const tile *t = of;
    for (int i = 0; i < TILE_REPEATS; i++) {
        if (t->scores)
            run_scores(t);
        else
            run_product(t);
    }
}

static void run_sgemm(void *of)
{
    const tile *t = of;
    for (int i = 0; i < TILE_REPEATS; i++)
        t->level->roofs->sgemm(t->scores, t->m, t->n, t->k, t->a, t->b, t->c);
}

static void run_openblas(void *of)
{
    const tile *t = of;
    for (int i = 0; i < TILE_REPEATS; i++)
        t->level->roofs->openblas(t->scores, t->m, t->n, t->k, t->a, t->b, t->c);
}

// Adds the row of one tile; its ratio.
static double add_tile(canto_bench *bench, tile *t, const char *library, void (*theirs)(void *of))
{
    const double flops = 2.0 * t->m * t->n * t->k * TILE_REPEATS;
    canto_bench_row row = {.against = library, .unit = "GFLOP/s"};
    snprintf(row.name, sizeof row.name, "%d x %d x %d, %s", t->m, t->n, t->k,
             t->scores ? "q k'" : "p v");
    canto_bench_pair(bench, row, (canto_bench_work){run_ours, t, flops},
                     (canto_bench_work){theirs, t, flops});
    return bench->rows[bench->rows_n - 1].ratio;
}

// All tiles beside one call each of a library, and the geometric mean of the ratios.
static void add_tiles(canto_bench *bench, float *room, canto_bench_row mean,
                      void (*theirs)(void *of))
{
    static const int sizes[][3] = {{64, 64, 64}, {64, 256, 64}, {128, 128, 128}, {64, 256, 128}};
    double product = 1;
    int count = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int scores = 0; scores < 2; scores++, count++) {
            tile t = {.level = bench->level,
                      .m = sizes[i][0],
                      .n = sizes[i][1],
                      .k = sizes[i][2],
                      .scores = scores,
                      .a = room,
                      .b = room + TILE_ROOM,
                      .packed = room + 2 * TILE_ROOM,
                      .c = room + 3 * TILE_ROOM};
            product *= add_tile(bench, &t, mean.against, theirs);
        }
    }
    mean.ratio = mean.low = mean.high = pow(product, 1.0 / count);
    canto_bench_add(bench, mean);
}

static void add_all_tiles(canto_bench *bench, float *room)
{
    const canto_bench_row openblas = {
        .name = "all of these, geometric mean",
        .against = "OpenBLAS",
        .unit = "",
        .floor = 1.5,
        .aim = 2.5,
        .bound = "the FMA roof: a library near it on small products leaves no room above"};
    const canto_bench_row library = {
        .name = "all of these, geometric mean", .against = bench->library, .unit = ""};
    add_tiles(bench, room, openblas, run_openblas);
    if (strcmp(bench->library, "OpenBLAS") != 0) add_tiles(bench, room, library, run_sgemm);
}

// --- attention ---

typedef struct problem {
    const canto_device *device;
    canto_attention_shape shape;
    int64_t n;
    float *q, *kv, *o, *lse, *dout, *delta, *dq, *dkv;
} problem;

static void run_forward(void *of)
{
    const problem *p = of;
    const canto_kernels *kernels = p->device->kernels;
    const canto_band all = {0, p->n, 0, p->n, CANTO_BAND_MIN, 0};
    kernels->fill(p->device, p->n * p->shape.heads, -INFINITY, p->lse);
    kernels->attention_forward(p->device, &p->shape, &all, p->q, p->kv, p->o, p->lse);
}

static void run_backward(void *of)
{
    const problem *p = of;
    const canto_band all = {0, p->n, 0, p->n, CANTO_BAND_MIN, 0};
    p->device->kernels->attention_backward(p->device, &p->shape, &all, p->q, p->kv, p->dout, p->lse,
                                           p->delta, p->dq, p->dkv);
}

static canto_status make(const canto_bench *bench, int heads, int dim, int64_t n, problem *p)
{
    const int64_t count = n * heads * dim;
    *p = (problem){.device = bench->device,
                   .shape = {heads, heads, heads, dim, dim, 1 / sqrtf((float)dim)},
                   .n = n,
                   .q = canto_bench_floats(count),
                   .kv = canto_bench_floats(2 * count),
                   .o = canto_bench_floats(count),
                   .lse = canto_bench_floats(n * heads),
                   .dout = canto_bench_floats(count),
                   .delta = canto_bench_floats(n * heads),
                   .dq = canto_bench_floats(count),
                   .dkv = canto_bench_floats(2 * count)};
    if (!p->q || !p->kv || !p->o || !p->lse || !p->dout || !p->delta || !p->dq || !p->dkv)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "bench: no memory for attention over %lld tokens",
                   (long long)n);
    memset(p->dq, 0, sizeof(float) * (size_t)count);
    memset(p->dkv, 0, sizeof(float) * (size_t)(2 * count));
    return CANTO_OK;
}

static void dismiss(problem *p)
{
    free(p->q), free(p->kv), free(p->o), free(p->lse);
    free(p->dout), free(p->delta), free(p->dq), free(p->dkv);
}

static const char exponentials[] = "an exponential a pair beside 4 d operations, and packing of k "
                                   "and v once a block of queries";
static const char two_exponentials[] =
    "an exponential a pair beside 10 d operations, and sums into "
    "dq and dkv that leave the nearest cache";

static const struct {
    int dim, heads;
    int64_t n;
    double floor, aim, back_floor, back_aim;
} cases[] = {
    {64, 4, 2048, 0.80, 0.90, 0.72, 0.85},
    {64, 1, 8192, 0.80, 0.90, 0.72, 0.85},
    {128, 2, 2048, 0.85, 0.94, 0.78, 0.90},
    {32, 8, 2048, 0, 0, 0, 0},
    {64, 16, 128, 0, 0, 0, 0},
};

static canto_status add_case(canto_bench *bench, int i)
{
    problem p;
    canto_status status = make(bench, cases[i].heads, cases[i].dim, cases[i].n, &p);
    const double pairs = (double)p.n * (double)(p.n + 1) / 2 * p.shape.heads;
    canto_bench_row row = {.against = "large sgemm",
                           .unit = "GFLOP/s",
                           .floor = cases[i].floor,
                           .aim = cases[i].aim,
                           .bound = exponentials};
    snprintf(row.name, sizeof row.name, "forward, d %d, %lld tokens, %d heads", cases[i].dim,
             (long long)p.n, p.shape.heads);
    if (status == CANTO_OK)
        canto_bench_pair(bench, row, (canto_bench_work){run_forward, &p, 4 * pairs * cases[i].dim},
                         bench->gemm);
    snprintf(row.name, sizeof row.name, "backward, d %d, %lld tokens, %d heads", cases[i].dim,
             (long long)p.n, p.shape.heads);
    row.floor = cases[i].back_floor;
    row.aim = cases[i].back_aim;
    row.bound = two_exponentials;
    if (status == CANTO_OK)
        canto_bench_pair(bench, row,
                         (canto_bench_work){run_backward, &p, 10 * pairs * cases[i].dim},
                         bench->gemm);
    dismiss(&p);
    return status;
}

static canto_status measure(const canto_arguments *arguments, canto_bench *bench)
{
    CANTO_TRY(canto_bench_begin(arguments, "attention", 1, bench));
    float *room = canto_bench_floats(4 * TILE_ROOM);
    if (!room) CANTO_FAIL(CANTO_ERROR_MEMORY, "bench: no memory for small products");
    add_all_tiles(bench, room);
    free(room);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) CANTO_TRY(add_case(bench, (int)i));
    return CANTO_OK;
}

int canto_command_bench_attention(const canto_arguments *arguments)
{
    canto_bench bench = {0};
    const canto_status status = measure(arguments, &bench);
    canto_bench_destroy(&bench);
    return status == CANTO_OK ? canto_bench_end(&bench, arguments) : canto_job_refuse(status);
}
