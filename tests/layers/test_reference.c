// The reference model itself: its gradient of every tensor by central differences, in double.
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/ref/differences.h"
#include "tests/ref/model.h"
#include "tests/ref/widen.h"

#include <stdlib.h>

enum { TOKENS = 10 };

static double scalar(void *context)
{
    return canto_ref_model_loss(context, 1, NULL);
}

static void check_model(int which)
{
    static const int64_t starts[] = {0, 1, 7};
    canto_model_config config;
    models_params params;
    int32_t tokens[TOKENS], targets[TOKENS];
    models_config(which, &config);
    models_text(&config, TOKENS, 3, starts, tokens, targets);
    models_params_make(&config, &params);
    const int64_t count = canto_params_count(params.list);
    float *values = malloc((size_t)count * sizeof *values);
    double *wide = malloc((size_t)count * sizeof *wide);
    double *gradient = calloc((size_t)count, sizeof *gradient);
    models_values(params.list, values);
    canto_ref_widen(count, values, wide);
    canto_ref_model model = {&config, params.list, wide, {3, starts}, TOKENS, tokens, targets};
    canto_ref_model_loss(&model, 1, gradient);
    for (int p = 0; p < params.list->n; p++) {
        const canto_param *param = &params.list->list[p];
        canto_differences_close(param->name, scalar, &model, param->count, wide + param->begin,
                                gradient + param->begin);
    }
    free(values), free(wide), free(gradient);
    models_params_free(&params);
}

static void test_reference(void **state)
{
    (void)state;
    for (int which = 0; which < MODELS_N; which++) check_model(which);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference)};
    return cmocka_run_group_tests_name("layers.reference", tests, NULL, NULL);
}
