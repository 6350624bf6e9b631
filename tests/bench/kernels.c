// Speed of the attention kernels next to the library's matrix product, in one process and
// interleaved: medians of 15 rounds, so that what disturbs one disturbs all.
//
//     OMP_NUM_THREADS=1 build/tests/bench/kernels [tokens [heads [dim]]]
#include "runtime/device.h"
#include "runtime/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROUNDS = 15, TESTS = 9, GEMM = 512 };

typedef struct bench {
    int64_t tokens;
    canto_attention_shape softmax;
    canto_linear_shape linear, gated;
    float *gates, *dgates;
    float *q, *kv, *o, *lse, *delta, *dout, *dq, *dkv, *state;
    void *work;
} bench;

static const canto_device *device;

static void run_gemm(const bench *b)
{
    device->kernels->gemm(device, false, false, GEMM, GEMM, GEMM, 1, b->q, GEMM, b->kv, GEMM, 0,
                          b->dq, GEMM);
}

static canto_band causal(const bench *b)
{
    return (canto_band){0, b->tokens, 0, b->tokens, CANTO_BAND_MIN, 0};
}

static void run_softmax_forward(const bench *b)
{
    const canto_band tile = causal(b);
    for (int64_t i = 0; i < b->tokens * b->softmax.heads; i++) b->lse[i] = -1e30f;
    device->kernels->attention_forward(device, &b->softmax, &tile, b->q, b->kv, b->o, b->lse);
}

static void run_softmax_backward(const bench *b)
{
    const canto_band tile = causal(b);
    device->kernels->attention_backward(device, &b->softmax, &tile, b->q, b->kv, b->dout, b->lse,
                                        b->delta, b->dq, b->dkv);
}

static void run_linear_forward(const bench *b)
{
    device->kernels->linear_forward(device, &b->linear, b->tokens, b->q, b->kv, NULL, NULL, b->o,
                                    NULL);
}

static void run_linear_backward(const bench *b)
{
    device->kernels->linear_backward(device, &b->linear, b->tokens, b->q, b->kv, NULL, NULL,
                                     b->dout, NULL, b->dq, b->dkv, NULL, b->work);
}

static void run_linear_token(const bench *b)
{
    for (int i = 0; i < 100; i++)
        device->kernels->linear_forward(device, &b->linear, 1, b->q, b->kv, NULL, b->state, b->o,
                                        b->state);
}

static void run_gated_forward(const bench *b)
{
    device->kernels->linear_forward(device, &b->gated, b->tokens, b->q, b->kv, b->gates, NULL, b->o,
                                    NULL);
}

static void run_gated_backward(const bench *b)
{
    device->kernels->linear_backward(device, &b->gated, b->tokens, b->q, b->kv, b->gates, NULL,
                                     b->dout, NULL, b->dq, b->dkv, b->dgates, b->work);
}

// Gates so strong that every chunk is one token.
static void run_forgetting_forward(const bench *b)
{
    for (int64_t i = 0; i < b->tokens * canto_linear_transition_count(&b->gated); i++)
        b->dgates[i] = -50;
    device->kernels->linear_forward(device, &b->gated, b->tokens, b->q, b->kv, b->dgates, NULL,
                                    b->o, NULL);
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static float *random_floats(int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);
    if (!x) exit(1);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(rand() % 2001 - 1000) / 500;
    return x;
}

static bench make(int64_t tokens, int heads, int dim)
{
    bench b = {.tokens = tokens, .softmax = {heads, heads, heads, dim, dim, 0.125f}};
    b.linear = (canto_linear_shape){heads, heads, dim, dim, false, NULL, false};
    b.gated = (canto_linear_shape){heads, heads, dim, dim, false, NULL, true};
    const int64_t n = tokens * heads * dim + GEMM * GEMM;
    float **arrays[] = {&b.q, &b.o, &b.lse, &b.delta, &b.dout, &b.dq};
    for (int i = 0; i < 6; i++) *arrays[i] = random_floats(n);
    b.kv = random_floats(2 * n);
    b.dkv = random_floats(2 * n);
    b.state = random_floats(canto_linear_state_count(&b.linear));
    b.gates = random_floats(n);
    b.dgates = random_floats(n);
    for (int64_t i = 0; i < n; i++) b.gates[i] = -0.05f * b.gates[i] * b.gates[i];
    b.work = malloc(device->kernels->linear_work_bytes(&b.linear, tokens));
    return b;
}

static const struct {
    const char *name;
    void (*run)(const bench *b);
} tests[TESTS] = {
    {"sgemm 512", run_gemm},
    {"softmax forward", run_softmax_forward},
    {"softmax backward", run_softmax_backward},
    {"linear forward", run_linear_forward},
    {"linear backward", run_linear_backward},
    {"linear, 100 single tokens", run_linear_token},
    {"gated forward", run_gated_forward},
    {"gated backward", run_gated_backward},
    {"gated forward, gates -50", run_forgetting_forward},
};

// Operations that the result needs: causal pairs are counted once, chunks of 64 in the linear ones.
static void count_flops(const bench *b, double flops[TESTS])
{
    const double n = (double)b->tokens, heads = b->softmax.heads, d = b->softmax.key_dim;
    const double pairs = heads * n * (n + 1) / 2, chunk_pairs = heads * n * 65 / 2;
    flops[0] = 2.0 * GEMM * GEMM * GEMM;
    flops[1] = 4 * d * pairs;
    flops[2] = 10 * d * pairs;
    flops[3] = 4 * d * chunk_pairs + 4 * d * d * n * heads;
    flops[4] = 10 * d * chunk_pairs + 10 * d * d * n * heads;
    flops[5] = 100 * 4 * d * d * heads;
    flops[6] = flops[8] = flops[3];
    flops[7] = flops[4];
}

int main(int argc, char **argv)
{
    device = canto_device_cpu();
    const bench b = make(argc > 1 ? atoi(argv[1]) : 2048, argc > 2 ? atoi(argv[2]) : 4,
                         argc > 3 ? atoi(argv[3]) : 64);
    static double times[TESTS][ROUNDS];
    double flops[TESTS];
    count_flops(&b, flops);
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < TESTS; i++) {
            const double start = canto_clock_s();
            tests[i].run(&b);
            times[i][round] = canto_clock_s() - start;
        }
    }
    for (int i = 0; i < TESTS; i++) {
        qsort(times[i], ROUNDS, sizeof times[i][0], ascending);
        printf("%-26s %9.3f ms (best %9.3f)  %7.1f GFLOP/s (best %7.1f)\n", tests[i].name,
               1e3 * times[i][ROUNDS / 2], 1e3 * times[i][0],
               1e-9 * flops[i] / times[i][ROUNDS / 2], 1e-9 * flops[i] / times[i][0]);
    }
    return 0;
}
