// Time and memory of a training step under every train.recompute, in one process and interleaved:
// per choice the median time, and the median of its ratio to `none` in the same round with the
// range from the 10th to the 90th percentile. Any number of ranks; the processor's time is rank 0's
// and, on one rank, hardly depends on what else the machine does.
//
//     OMP_NUM_THREADS=1 mpirun -n 2 build/tests/bench/recompute [tokens [rounds [pattern]]]
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/layers/trainer.h"

#include "parallel/strategy.h"
#include "runtime/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WALL, PROCESSOR, CLOCKS_N };
enum { CHOICES_N = CANTO_RECOMPUTE_BLOCK + 1, ROUNDS_MAX = 1000 };

static const canto_optimizer_config optimizer = {
    .lr = 1e-3, .horizon = ROUNDS_MAX, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .clip = 1};

static canto_model_config model(const char *pattern, int choice)
{
    canto_model_config config = {.layers = 8,
                                 .d_model = 256,
                                 .heads = 4,
                                 .vocab = 256,
                                 .tied = true,
                                 .norm_eps = 1e-5,
                                 .rope_base = 10000,
                                 .init_std = 0.02,
                                 .mixers_n = 2,
                                 .recompute = (canto_recompute)choice};
    snprintf(config.pattern, sizeof config.pattern, "%s", pattern);
    config.mixers[0] =
        (canto_mixer_config){.letter = 'S', .kind = canto_mixer_kind_find("softmax"), .rope = true};
    config.mixers[1] = (canto_mixer_config){.letter = 'L',
                                            .kind = canto_mixer_kind_find("lightning"),
                                            .decay = CANTO_DECAY_ALIBI_LAYERED};
    CANTO_TEST_OK(canto_model_config_resolve(&config));
    return config;
}

static void open(trainer *t, canto_comm *world, const canto_model_config *config, int64_t tokens)
{
    const canto_documents documents = {1, (int64_t[]){0, tokens}};
    const trainer_desc desc = {.config = config,
                               .layout = CANTO_LAYOUT_ZIGZAG,
                               .softmax = canto_strategy_find("ring"),
                               .linear = canto_transport_find("lasp2"),
                               .dp = 1,
                               .sequences_n = 1,
                               .sequence_length = tokens,
                               .documents_max = 1,
                               .gradients = true,
                               .optimizer = &optimizer};
    int32_t *text = malloc(2 * sizeof *text * (size_t)tokens);
    models_text(config, tokens, 1, documents.starts, text, text + tokens);
    trainer_open(t, world, &desc);
    trainer_load(t, &documents, text, text + tokens);
    free(text);
}

static void time_step(trainer *t, canto_comm *world, int64_t step, double seconds[CLOCKS_N])
{
    double together = 0;
    CANTO_TEST_OK(canto_comm_sum_small(world, 1, &together));
    const double start = canto_clock_s();
    const clock_t processor = clock();
    trainer_step(t, step, t->desc.sequence_length);
    CANTO_TEST_OK(canto_comm_sum_small(world, 1, &together));
    seconds[WALL] = canto_clock_s() - start;
    seconds[PROCESSOR] = (double)(clock() - processor) / CLOCKS_PER_SEC;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double seconds[CHOICES_N][ROUNDS_MAX][CLOCKS_N];

static void report_clock(const char *name, int clock, int choice, int rounds)
{
    double own[ROUNDS_MAX], ratios[ROUNDS_MAX];
    for (int round = 0; round < rounds; round++) {
        own[round] = seconds[choice][round][clock];
        ratios[round] = own[round] / seconds[CANTO_RECOMPUTE_NONE][round][clock];
    }
    qsort(own, (size_t)rounds, sizeof *own, ascending);
    qsort(ratios, (size_t)rounds, sizeof *ratios, ascending);
    printf("    %-10s %8.4f s, ratio %.3f (%.3f .. %.3f)\n", name, own[rounds / 2],
           ratios[rounds / 2], ratios[rounds / 10], ratios[rounds - 1 - rounds / 10]);
}

static void report(const trainer *t, int choice, int rounds)
{
    const double floats = (double)t->arenas.step.peak / sizeof(float) / (double)t->plan.tokens;
    printf("%s: step arena %zu bytes, %.1f floats a token and layer; work arena %zu bytes\n",
           canto_recompute_name(choice), t->arenas.step.peak, floats / t->desc.config->layers,
           t->arenas.work.peak);
    report_clock("wall", WALL, choice, rounds);
    report_clock("processor", PROCESSOR, choice, rounds);
}

int main(int argc, char **argv)
{
    static trainer trainers[CHOICES_N];
    const int64_t tokens = argc > 1 ? atoi(argv[1]) : 2048;
    const int rounds = argc > 2 ? atoi(argv[2]) : 15;
    canto_model_config configs[CHOICES_N];
    canto_comm *world;
    if (tokens < 1 || rounds < 1 || rounds > ROUNDS_MAX) return 2;
    CANTO_TEST_OK(canto_comm_mpi_open(&world));
    for (int choice = 0; choice < CHOICES_N; choice++) {
        configs[choice] = model(argc > 3 ? argv[3] : "LLLS", choice);
        open(&trainers[choice], world, &configs[choice], tokens);
        time_step(&trainers[choice], world, 1, seconds[choice][0]);
    }
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < CHOICES_N; i++) {
            const int choice = (round + i) % CHOICES_N;
            time_step(&trainers[choice], world, round + 2, seconds[choice][round]);
        }
    }
    for (int choice = 0; choice < CHOICES_N; choice++) {
        if (world->rank == 0) report(&trainers[choice], choice, rounds);
        trainer_close(&trainers[choice]);
    }
    canto_comm_destroy(&world);
    canto_comm_mpi_finalize();
    return 0;
}
