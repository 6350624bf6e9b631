// One kernel of the AVX2 level on one fixed input, for counting its instructions with callgrind:
// tests/bench/count-instructions. Ends with exit status 77 where there is no such level.
#include "runtime/cpu_levels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 512, HEADS = 2, DIM = 64, WIDTH = HEADS * DIM };

typedef struct arrays {
    float *q, *kv, *o, *lse, *dout, *delta, *dq, *dkv, *state;
} arrays;

static float *numbers(int64_t n, float first, float step)
{
    float *x = malloc(sizeof *x * (size_t)n);
    for (int64_t i = 0; x && i < n; i++) x[i] = first + step * (float)(i * 7919 % 2001) / 1000;
    return x;
}

static arrays make(void)
{
    return (arrays){.q = numbers(TOKENS * WIDTH, -1, 1),
                    .kv = numbers(2 * TOKENS * WIDTH, -1, 1),
                    .o = numbers(TOKENS * WIDTH, 0, 0),
                    .lse = numbers(TOKENS * HEADS, -INFINITY, 0),
                    .dout = numbers(TOKENS * WIDTH, -1, 1),
                    .delta = numbers(TOKENS * HEADS, 0, 0),
                    .dq = numbers(TOKENS * WIDTH, 0, 0),
                    .dkv = numbers(2 * TOKENS * WIDTH, 0, 0),
                    .state = numbers(HEADS * DIM * DIM, 0, 0)};
}

static const canto_attention_shape softmax = {HEADS, HEADS, HEADS, DIM, DIM, 0.125f};
static const canto_band causal = {0, TOKENS, 0, TOKENS, CANTO_BAND_MIN, 0};

static void attention_forward(const canto_device *device, const arrays *x)
{
    device->kernels->attention_forward(device, &softmax, &causal, x->q, x->kv, x->o, x->lse);
}

static void attention_backward(const canto_device *device, const arrays *x)
{
    memset(x->lse, 0, sizeof *x->lse * TOKENS * HEADS);
    for (int i = 0; i < TOKENS * HEADS; i++) x->lse[i] = 6;
    device->kernels->attention_backward(device, &softmax, &causal, x->q, x->kv, x->dout, x->lse,
                                        x->delta, x->dq, x->dkv);
}

static void linear_forward(const canto_device *device, const arrays *x)
{
    static const float log_decay[HEADS] = {-0.1f, -0.01f};
    const canto_linear_shape shape = {.heads = HEADS,
                                      .kv_heads = HEADS,
                                      .key_dim = DIM,
                                      .value_dim = DIM,
                                      .log_decay = log_decay};
    const canto_linear_run run = {.tokens = TOKENS, .q = x->q, .kv = x->kv};
    device->kernels->linear_forward(device, &shape, &run, NULL, x->o, x->state);
}

static const struct {
    const char *name;
    void (*run)(const canto_device *, const arrays *);
} cases[] = {
    {"attention_forward", attention_forward},
    {"attention_backward", attention_backward},
    {"linear_forward", linear_forward},
};

int main(int argc, char **argv)
{
    const canto_cpu_level *level = canto_cpu_levels;
    while (level->name && strcmp(level->name, "avx2") != 0) level++;
    if (!level->name || !level->works()) return 77;
    const arrays x = make();
    for (size_t i = 0; argc == 2 && i < sizeof cases / sizeof *cases; i++) {
        if (strcmp(argv[1], cases[i].name) != 0) continue;
        cases[i].run(&level->device, &x);
        return 0;
    }
    fprintf(stderr, "usage: %s attention_forward|attention_backward|linear_forward\n", argv[0]);
    return 2;
}
