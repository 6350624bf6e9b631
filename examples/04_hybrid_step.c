// 4. One training step of a hybrid model, LLLS as in LASP-2H: three linear-attention layers and a
// softmax layer, on one divided sequence.
//
//     mpirun -n 4 build/examples/04_hybrid_step
//
// Every rank also runs the same step alone, on the whole sequence. Loss, gradient norm and the
// parameters after the step must agree.
#include "examples/example.h"
#include "layers/model.h"
#include "layers/optimizer.h"

#include <math.h>

enum { TOKENS = 96, VOCAB = 32 };

// What one group of ranks needs for a step.
typedef struct {
    canto_mesh mesh;
    canto_plan plan;
    canto_arenas arenas;
    canto_model *model;
    canto_grad grad;
    canto_optimizer optimizer;
} trainer;

static canto_status configure(canto_model_config *config)
{
    *config = (canto_model_config){.pattern = "LLLS",
                                   .layers = 4,
                                   .d_model = 32,
                                   .heads = 4,
                                   .kv_heads = 2,
                                   .vocab = VOCAB,
                                   .tied = true,
                                   .norm_eps = 1e-5,
                                   .rope_base = 10000,
                                   .init_std = 0.1,
                                   .mixers_n = 2};
    config->mixers[0] = (canto_mixer_config){.letter = 'L',
                                             .kind = canto_mixer_kind_find("lightning"),
                                             .decay = CANTO_DECAY_ALIBI_LAYERED};
    config->mixers[1] =
        (canto_mixer_config){.letter = 'S', .kind = canto_mixer_kind_find("softmax"), .rope = true};
    return canto_model_config_resolve(config);
}

// The order in which everything is made: mesh, plan, model, reducer, optimizer. A program measures
// these arenas first (launch/trainer.c); here 16 MiB each are enough.
static canto_status build(canto_comm *world, const canto_model_config *config, trainer *t)
{
    const canto_device *cpu = canto_device_cpu();
    CANTO_TRY(canto_mesh_create(world, cpu, 1, 0, &t->mesh));
    const canto_arena room = {.peak = 16 << 20};
    CANTO_TRY(canto_arenas_allocate(&t->arenas, cpu, &(canto_arenas){room, room, room, room}));
    const canto_plan_desc desc = {.mesh = &t->mesh,
                                  .device = cpu,
                                  .layout = CANTO_LAYOUT_ZIGZAG,
                                  .softmax =
                                      canto_strategy_find(world->size > 1 ? "ring" : "serial"),
                                  .linear = canto_transport_find("lasp2"),
                                  .sequences_n = 1,
                                  .sequence_length = TOKENS,
                                  .documents_max = 3,
                                  .state_count_max = canto_model_state_count_max(config)};
    CANTO_TRY(canto_plan_create(&t->arenas.tables, &t->arenas.work, &desc, &t->plan));
    CANTO_TRY(canto_model_create(&t->arenas, config, &t->plan, cpu, true, &t->model));
    canto_params *params = canto_model_params(t->model);
    CANTO_TRY(canto_grad_create(&t->arenas.tables, &t->arenas.params, t->mesh.gradients, cpu,
                                params->buckets_n, params->bounds, params->grads, &t->grad));
    const canto_optimizer_config how = {.lr = 1e-3,
                                        .horizon = 10,
                                        .beta1 = 0.9,
                                        .beta2 = 0.95,
                                        .eps = 1e-8,
                                        .weight_decay = 0.1,
                                        .clip = 1};
    return canto_optimizer_create(&t->arenas.params, &how, params, &t->grad, cpu, world->rank,
                                  &t->optimizer);
}

static canto_status step(trainer *t, double *loss, double *norm)
{
    // Three packed documents; the plan makes masks, schedules and resets of them.
    const canto_documents documents = {.n = 3, .starts = (int64_t[]){0, 40, 41, TOKENS}};
    CANTO_TRY(canto_plan_update(&t->plan, &documents));
    int32_t tokens[TOKENS], targets[TOKENS];
    for (int64_t i = 0; i < t->plan.tokens; i++) {
        tokens[i] = (int32_t)canto_rng_below(1, CANTO_RNG_TEST,
                                             (uint64_t)canto_plan_position(&t->plan, i), VOCAB);
        targets[i] = (int32_t)canto_rng_below(
            1, CANTO_RNG_TEST, (uint64_t)canto_plan_position(&t->plan, i) + 1, VOCAB);
    }
    CANTO_TRY(canto_params_init(canto_model_params(t->model), 1));
    canto_model_zero_grads(t->model);
    CANTO_TRY(canto_model_forward(t->model, tokens, NULL));
    // Normalised by the targets of all ranks; a block's gradients are reduced while others run.
    CANTO_TRY(canto_model_loss(t->model, targets, 1.0f / TOKENS, true, loss));
    CANTO_TRY(canto_model_backward(t->model, &t->grad));
    CANTO_TRY(canto_comm_sum_small(t->mesh.control, 1, loss));
    *loss /= TOKENS;
    CANTO_TRY(canto_optimizer_step(&t->optimizer, t->mesh.control, 1, norm, &(double){0}));
    return canto_grad_gather_finish(&t->grad);
}

static void destroy(trainer *t)
{
    canto_model_destroy(&t->model);
    canto_plan_destroy(&t->plan);
    canto_mesh_destroy(&t->mesh);
    canto_arenas_destroy(&t->arenas);
}

static canto_status run(canto_comm *world, canto_arena *arena)
{
    (void)arena;
    canto_model_config config;
    canto_comm *self;
    trainer together = {0}, alone = {0};
    double loss[2], norm[2], apart = 0;
    CANTO_TRY(configure(&config));
    CANTO_TRY(canto_comm_self_open(&self));
    CANTO_TRY(build(world, &config, &together));
    CANTO_TRY(build(self, &config, &alone));
    CANTO_TRY(step(&together, &loss[0], &norm[0]));
    CANTO_TRY(step(&alone, &loss[1], &norm[1]));
    CANTO_TRY(example_check(world, "loss, relative to one rank's",
                            fabs(loss[0] - loss[1]) / loss[1], 1e-6));
    CANTO_TRY(example_check(world, "gradient norm, relative to one rank's",
                            fabs(norm[0] - norm[1]) / norm[1], 1e-5));
    const float *a = canto_model_params(together.model)->values;
    const float *b = canto_model_params(alone.model)->values;
    const int64_t count = canto_params_count(canto_model_params(alone.model));
    for (int64_t i = 0; i < count; i++) apart += fabs((double)a[i] - b[i]) / (double)count;
    // Adam's first step moves every element by about 1e-3, towards its gradient's sign.
    CANTO_TRY(example_check(world, "mean distance of the parameters after the step", apart, 1e-5));
    if (world->rank == 0)
        printf("%d ranks: loss %.6f, gradient norm %.6f, %lld parameters\n", world->size, loss[0],
               norm[0], (long long)count);
    destroy(&together);
    destroy(&alone);
    canto_comm_destroy(&self);
    return CANTO_OK;
}

int main(void)
{
    return example_main(run);
}
