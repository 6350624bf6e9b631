// See trainer.h.
#include "tests/layers/trainer.h"

#include "tests/canto_test.h"
#include "tests/layers/models.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void make(trainer *t)
{
    const trainer_desc *desc = &t->desc;
    const canto_plan_desc plan = {.mesh = &t->mesh,
                                  .device = canto_test_device,
                                  .layout = desc->layout,
                                  .weights = desc->weights,
                                  .softmax = desc->softmax,
                                  .linear = desc->linear,
                                  .sequences_n = desc->sequences_n,
                                  .sequence_length = desc->sequence_length,
                                  .documents_max = desc->documents_max,
                                  .state_count_max = canto_model_state_count_max(desc->config)};
    CANTO_TEST_OK(canto_plan_create(&t->arenas.tables, &t->arenas.params, &plan, &t->plan));
    CANTO_TEST_OK(canto_model_create(&t->arenas, desc->config, &t->plan, canto_test_device,
                                     desc->gradients, &t->model));
    t->params = canto_model_params(t->model);
    if (!desc->gradients) return;
    CANTO_TEST_OK(canto_grad_create(&t->arenas.tables, &t->arenas.params, t->mesh.gradients,
                                    canto_test_device, t->params->buckets_n, t->params->bounds,
                                    t->params->grads, &t->grad));
    if (!desc->optimizer) return;
    CANTO_TEST_OK(canto_optimizer_create(&t->arenas.params, desc->optimizer, t->params, &t->grad,
                                         canto_test_device, t->mesh.gradients->rank,
                                         &t->optimizer));
}

static void unmake(trainer *t)
{
    canto_model_destroy(&t->model);
    canto_plan_destroy(&t->plan);
}

void trainer_open(trainer *t, canto_comm *world, const trainer_desc *desc)
{
    *t = (trainer){.desc = *desc};
    CANTO_TEST_OK(canto_mesh_create(world, canto_test_device, desc->dp, 0, &t->mesh));
    CANTO_TEST_OK(canto_arenas_measure(&t->arenas));
    make(t);
    unmake(t);
    const canto_arenas sizes = t->arenas;
    canto_arenas_destroy(&t->arenas);
    CANTO_TEST_OK(canto_arenas_allocate(&t->arenas, canto_test_device, &sizes));
    make(t);
    const canto_arena *const arenas[] = {&t->arenas.tables, &t->arenas.params, &t->arenas.step,
                                         &t->arenas.work};
    for (int i = 0; i < 4; i++) assert_true(arenas[i]->peak == arenas[i]->capacity);
    models_values(t->params, t->params->values);
    t->tokens = malloc(sizeof(int32_t) * ((size_t)t->plan.tokens + 1));
    t->targets = malloc(sizeof(int32_t) * ((size_t)t->plan.tokens + 1));
}

void trainer_close(trainer *t)
{
    if (t->desc.optimizer) CANTO_TEST_OK(canto_grad_gather_finish(&t->grad));
    free(t->tokens);
    free(t->targets);
    unmake(t);
    canto_arenas_destroy(&t->arenas);
    canto_mesh_destroy(&t->mesh);
}

void trainer_load(trainer *t, const canto_documents *documents, const int32_t *tokens,
                  const int32_t *targets)
{
    CANTO_TEST_OK(canto_plan_update(&t->plan, documents));
    for (int64_t i = 0; i < t->plan.tokens; i++) {
        const int64_t position = canto_plan_position(&t->plan, i);
        t->tokens[i] = tokens[position];
        t->targets[i] = targets[position];
    }
}

double trainer_gradients(trainer *t, float scale)
{
    double loss;
    canto_grad *grad = t->mesh.gradients->size > 1 || t->desc.optimizer ? &t->grad : NULL;
    canto_model_zero_grads(t->model);
    CANTO_TEST_OK(canto_model_forward(t->model, t->tokens, grad));
    CANTO_TEST_OK(canto_model_loss(t->model, t->targets, scale, true, &loss));
    CANTO_TEST_OK(canto_model_backward(t->model, grad));
    CANTO_TEST_OK(canto_comm_sum_small(t->mesh.control, 1, &loss));
    if (grad && !t->desc.optimizer) CANTO_TEST_OK(canto_grad_finish(grad));
    return loss;
}

double trainer_step(trainer *t, int64_t step, int64_t targets_n)
{
    double norm, lr;
    const double loss = trainer_gradients(t, 1.0f / (float)targets_n) / (double)targets_n;
    CANTO_TEST_OK(canto_optimizer_step(&t->optimizer, t->mesh.control, step, &norm, &lr));
    return loss;
}

void trainer_compare(const trainer *t, const char *what, const double *gradient)
{
    const double tolerance =
        t->desc.config->dtype == CANTO_BF16 ? CANTO_TEST_MODEL_BF16 : CANTO_TEST_GRADIENT;
    float *grads = canto_test_take_down(t->params->grads, canto_params_count(t->params));
    for (int p = 0; p < t->params->n; p++) {
        const canto_param *param = &t->params->list[p];
        int64_t begin, end;
        canto_grad_piece(&t->grad, param->bucket, t->mesh.gradients->rank, &begin, &end);
        if (begin < param->begin) begin = param->begin;
        if (end > param->begin + param->count) end = param->begin + param->count;
        double largest = 0, error = 0;
        for (int64_t i = param->begin; i < param->begin + param->count; i++)
            largest = fmax(largest, fabs(gradient[i]));
        for (int64_t i = begin; i < end; i++) {
            const double difference = fabs(grads[i] - gradient[i]);
            error = difference <= INFINITY ? fmax(error, difference) : INFINITY;
        }
        if (!(error <= tolerance * largest))
            fail_msg("%s: gradient of %s: error %.3g of %.3g", what, param->name, error, largest);
    }
    free(grads);
}
