// canto bench roofs: what one core of this machine can do at most.
#include "launch/bench.h"

#include "launch/command.h"
#include "launch/job.h"

#include <stdlib.h>
#include <string.h>

enum { FMA_ROUNDS = 2000000, MANY = 1 << 28 }; // floats of an array: 1 GiB

typedef struct arrays {
    const canto_cpu_roofs *roofs;
    float *a; // [MANY]: read; or three thirds, for the triad
} arrays;

static volatile float sink;

static void run_fma(void *of)
{
    const arrays *x = of;
    sink = x->roofs->fma(FMA_ROUNDS);
}

static void run_read(void *of)
{
    const arrays *x = of;
    sink = x->roofs->read(MANY, x->a);
}

static void run_triad(void *of)
{
    const arrays *x = of;
    const int64_t third = MANY / 3 / 256 * 256;
    x->roofs->triad(third, x->a, x->a + third, 0.5f, x->a + 2 * third);
}

static void run_openblas(void *of)
{
    const canto_bench *bench = of;
    const int n = CANTO_BENCH_LARGE;
    bench->level->roofs->openblas(false, n, n, n, bench->a, bench->b, bench->c);
}

// Any bits do for the operands, as long as they are finite.
static void run_bf16(void *of)
{
    const canto_bench *bench = of;
    const int64_t n = CANTO_BENCH_LARGE;
    const canto_gemm_shape shape = {
        .in = CANTO_BF16, .m = n, .n = n, .k = n, .lda = n, .ldb = n, .ldc = n};
    bench->device->kernels->gemm(bench->device, &shape, bench->a, bench->b, bench->c);
}

static canto_status measure(const canto_arguments *arguments, canto_bench *bench)
{
    CANTO_TRY(canto_bench_begin(arguments, "roofs", 1, bench));
    arrays x = {bench->level->roofs, canto_bench_floats(MANY)};
    if (!x.a) CANTO_FAIL(CANTO_ERROR_MEMORY, "bench: no memory for an array of 1 GiB");
    const canto_bench_work fma = {run_fma, &x, (double)FMA_ROUNDS * x.roofs->fma_flops};
    const canto_bench_work read = {run_read, &x, 4.0 * MANY};
    const canto_bench_work triad = {run_triad, &x, 12.0 * (MANY / 3 / 256 * 256)};
    const canto_bench_row sgemm_row = {.name = "sgemm of 2048",
                                       .against = "FMA roof",
                                       .unit = "GFLOP/s",
                                       .floor = 0.80,
                                       .aim = 0.95,
                                       .bound = "the BLAS library and what else runs here"};
    const canto_bench_row triad_row = {
        .name = "triad of 1 GiB, 12 bytes an element", .against = "reading 1 GiB", .unit = "GB/s"};
    const canto_bench_work openblas = {run_openblas, bench, bench->gemm.amount};
    const canto_bench_work bf16 = {run_bf16, bench, bench->gemm.amount};
    const canto_bench_row openblas_row = {
        .name = "sgemm of 2048 by OpenBLAS", .against = "FMA roof", .unit = "GFLOP/s"};
    const canto_bench_row bf16_row = {
        .name = "product of 2048, bf16 in, fp32 out", .against = "large sgemm", .unit = "GF bf16"};
    canto_bench_pair(bench, sgemm_row, bench->gemm, fma);
    if (strcmp(bench->library, "OpenBLAS") != 0)
        canto_bench_pair(bench, openblas_row, openblas, fma);
    canto_bench_pair(bench, bf16_row, bf16, bench->gemm);
    canto_bench_pair(bench, triad_row, triad, read);
    free(x.a);
    return CANTO_OK;
}

int canto_command_bench_roofs(const canto_arguments *arguments)
{
    canto_bench bench = {0};
    const canto_status status = measure(arguments, &bench);
    canto_bench_destroy(&bench);
    return status == CANTO_OK ? canto_bench_end(&bench, arguments) : canto_job_refuse(status);
}
