// Parameters, the table of mixers with its decays, and what a model's configuration is resolved to
// or refused for.
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/ref/mixers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void test_names(void **state)
{
    (void)state;
    static const char *const expected[] = {"blocks.0.norm1.weight", "blocks.0.norm2.weight",
                                           "blocks.0.mixer.wq",     "blocks.0.mixer.wk",
                                           "blocks.0.mixer.wv",     "blocks.0.mixer.wo",
                                           "blocks.0.mixer.gate",   "blocks.0.mlp.w_gate",
                                           "blocks.0.mlp.w_up",     "blocks.0.mlp.w_down"};
    canto_model_config config;
    models_params params;
    models_config(0, &config);
    models_params_make(&config, &params);
    const canto_params *list = params.list;
    for (int i = 0; i < 10; i++) assert_string_equal(list->list[i].name, expected[i]);
    assert_string_equal(list->list[list->n - 3].name, "embed.table");
    assert_string_equal(list->list[list->n - 2].name, "norm.weight");
    assert_string_equal(list->list[list->n - 1].name, "head.weight");
    assert_null(canto_params_find(list, "blocks.3.mixer.gate"));
    assert_int_equal(list->buckets_n, config.layers + 1);
    int64_t at = 0;
    for (int i = 0; i < list->n; i++) {
        const canto_param *param = &list->list[i];
        assert_int_equal(param->begin, at);
        at += param->count;
        assert_true(param->begin >= list->bounds[param->bucket]);
        assert_true(at <= list->bounds[param->bucket + 1]);
        const bool excluded = strstr(param->name, "norm") || strstr(param->name, "mixer.gate");
        assert_int_equal(param->decays, !excluded);
    }
    assert_int_equal(at, canto_params_count(list));
    const canto_param *wk = canto_params_find(list, "blocks.3.mixer.wk");
    assert_int_equal(wk->bucket, 3);
    assert_true(wk->dims_n == 2 && wk->dims[0] == 16 && wk->dims[1] == 8);
    models_params_free(&params);
}

static void test_init(void **state)
{
    (void)state;
    canto_model_config config;
    models_params params;
    models_config(0, &config);
    models_params_make(&config, &params);
    static float first[1 << 15], second[1 << 15];
    assert_true(canto_params_count(params.list) < 1 << 15);
    canto_params copy = *params.list;
    copy.values = first;
    CANTO_TEST_OK(canto_params_init(&copy, 7));
    copy.values = second;
    CANTO_TEST_OK(canto_params_init(&copy, 7));
    assert_memory_equal(first, second, sizeof(float) * (size_t)canto_params_count(&copy));
    CANTO_TEST_OK(canto_params_init(&copy, 8));
    const canto_param *wo = canto_params_find(&copy, "blocks.1.mixer.wo");
    assert_true(first[wo->begin] != second[wo->begin]);
    assert_true(first[canto_params_find(&copy, "norm.weight")->begin] == 1);
    double squares = 0;
    for (int64_t i = 0; i < wo->count; i++)
        squares += (double)first[wo->begin + i] * first[wo->begin + i];
    const double expected = config.init_std / sqrt(2.0 * config.layers);
    assert_true(fabs(sqrt(squares / (double)wo->count) / expected - 1) < 0.2);
    models_params_free(&params);
}

static void test_buckets_in_order(void **state)
{
    (void)state;
    canto_params params;
    int id;
    CANTO_TEST_OK(canto_params_begin(&params, canto_device_cpu(), 3));
    canto_param param = {.name = "a", .dims_n = 1, .dims = {5}, .bucket = 1};
    CANTO_TEST_OK(canto_params_add(&params, &param, &id));
    assert_true(params.bounds[1] == 0 && params.bounds[2] == 5 && params.bounds[3] == 5);
    param.bucket = 0;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "bucket 0 after bucket 1",
                     canto_params_add(&params, &param, &id));
    param.bucket = 3;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "bucket 3", canto_params_add(&params, &param, &id));
    canto_params_destroy(&params);
}

static void test_decays(void **state)
{
    (void)state;
    const double tolerance = 1e-7;
    assert_true(canto_decay_slope(CANTO_DECAY_NONE, 1, 4, 1, 4) == 0);
    assert_true(fabs(canto_decay_slope(CANTO_DECAY_ALIBI, 0, 8, 3, 4) - 0.5) < tolerance);
    assert_true(fabs(canto_decay_slope(CANTO_DECAY_ALIBI, 7, 8, 0, 4) - 1.0 / 256) < tolerance);
    const float middle = canto_decay_slope(CANTO_DECAY_ALIBI_LAYERED, 0, 8, 1, 3);
    assert_true(fabs(middle - 0.5 * (0.5 + 1e-5)) < tolerance);
    const float last = canto_decay_slope(CANTO_DECAY_ALIBI_LAYERED, 0, 8, 2, 3);
    assert_true(fabs(last - 0.5e-5) < 1e-10);
    const float only = canto_decay_slope(CANTO_DECAY_ALIBI_LAYERED, 0, 8, 0, 1);
    assert_true(fabs(only - 0.5 * (1 + 1e-5)) < tolerance);
    assert_true(canto_decay_slope(CANTO_DECAY_LINEAR_LAYERED, 0, 8, 0, 4) == 0);
    const float linear = canto_decay_slope(CANTO_DECAY_LINEAR_LAYERED, 3, 8, 1, 4);
    assert_true(fabs(linear - 8.0 / 8 * 0.75 * 3) < tolerance);
    assert_true(fabs(exp(-canto_decay_slope(CANTO_DECAY_RETENTION, 0, 8, 2, 4)) - 31.0 / 32) <
                tolerance);
    assert_true(fabs(exp(-canto_decay_slope(CANTO_DECAY_RETENTION, 3, 4, 0, 1)) - 255.0 / 256) <
                tolerance);
}

static void check_column(const char *kind, const char *column, int found, int expected)
{
    if (found != expected)
        fail_msg("kind %s of layers/mixer.c: %s is %d, in tests/ref/mixers.c %d", kind, column,
                 found, expected);
}

static void check_kind(const canto_mixer_kind *kind, const canto_mixer_kind *expected)
{
#define CHECK(column) check_column(kind->name, #column, (int)kind->column, (int)expected->column)
    CHECK(softmax), CHECK(feature), CHECK(ones), CHECK(decay), CHECK(output_norm), CHECK(gate);
    CHECK(scale_q), CHECK(gated), CHECK(rope), CHECK(key_parts), CHECK(value_factor);
#undef CHECK
}

// Every kind says what it is and is what the papers say; linear kinds without a normaliser column
// have a norm.
static void test_kinds(void **state)
{
    (void)state;
    for (const canto_mixer_kind *kind = canto_mixer_kinds; kind->name; kind++) {
        assert_ptr_equal(canto_mixer_kind_find(kind->name), kind);
        assert_true(kind->help);
        assert_true(kind->softmax || kind->output_norm != CANTO_OUTPUT_NORM_NONE);
        const canto_mixer_kind *expected = canto_ref_mixer_kind(kind->name);
        if (!expected) fail_msg("kind %s has no row in tests/ref/mixers.c", kind->name);
        check_kind(kind, expected);
    }
    for (const canto_mixer_kind *kind = canto_ref_mixer_kinds; kind->name; kind++)
        assert_non_null(canto_mixer_kind_find(kind->name));
    assert_null(canto_mixer_kind_find("none"));
}

static canto_model_config start(void)
{
    canto_model_config config = {.pattern = "LS",
                                 .layers = 3,
                                 .d_model = 48,
                                 .heads = 4,
                                 .vocab = 256,
                                 .norm_eps = 1e-6,
                                 .rope_base = 1e4,
                                 .init_std = 0.02,
                                 .mixers_n = 2};
    config.mixers[0] =
        (canto_mixer_config){.letter = 'S', .kind = canto_mixer_kind_find("softmax"), .rope = true};
    config.mixers[1] = (canto_mixer_config){.letter = 'L',
                                            .kind = canto_mixer_kind_find("basic"),
                                            .heads = 6,
                                            .value_dim = 5,
                                            .normaliser = true};
    return config;
}

static void test_resolve(void **state)
{
    (void)state;
    canto_model_config config = start();
    CANTO_TEST_OK(canto_model_config_resolve(&config));
    assert_int_equal(config.d_mlp, 128);
    assert_int_equal(config.kv_heads, 4);
    assert_int_equal(config.mixers[0].heads, 4);
    assert_int_equal(config.mixers[0].key_dim, 12);
    assert_int_equal(config.mixers[1].kv_heads, 6);
    assert_int_equal(config.mixers[1].key_dim, 8);
    assert_int_equal(config.mixers[1].value_dim, 5);
    assert_int_equal(canto_model_mixer(&config, 1)->letter, 'S');
    assert_int_equal(canto_model_mixer(&config, 2)->letter, 'L');
    assert_int_equal(canto_model_state_count_max(&config), 6 * 8 * (5 + 1));
    const canto_model_config once = config;
    CANTO_TEST_OK(canto_model_config_resolve(&config));
    assert_memory_equal(&once, &config, sizeof config);
}

static void refuse(canto_model_config config, const char *words)
{
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, words, canto_model_config_resolve(&config));
}

static void test_refusals(void **state)
{
    (void)state;
    canto_model_config c;
    c = start(), c.layers = 0, refuse(c, "model.layers: 0");
    c = start(), c.d_model = 0, refuse(c, "model.d_model: 0");
    c = start(), c.heads = 0, refuse(c, "model.heads: 0");
    c = start(), c.vocab = 0, refuse(c, "model.vocab: 0");
    c = start(), c.kv_heads = 3, refuse(c, "model.kv_heads: 3 does not divide");
    c = start(), c.kv_heads = -1, refuse(c, "model.kv_heads");
    c = start(), c.norm_eps = 0, refuse(c, "model.norm_eps");
    c = start(), c.rope_base = NAN, refuse(c, "model.rope_base");
    c = start(), c.init_std = -1, refuse(c, "model.init_std");
    c = start(), c.pattern[0] = 'X', refuse(c, "letter 'X'");
    c = start(), c.pattern[0] = 0, refuse(c, "model.pattern");
    c = start(), c.mixers[1].letter = 'S', refuse(c, "letter S appears twice");
    c = start(), c.mixers[1].kind = NULL, refuse(c, "mixers L: kind");
    c = start(), c.mixers[1].window = 3, refuse(c, "window is for softmax, not for basic");
    c = start(), c.mixers[0].window = -1, refuse(c, "mixers S: window");
    c = start(), c.mixers[0].normaliser = true, refuse(c, "mixers S: normaliser");
    c = start(), c.mixers[0].decay = CANTO_DECAY_ALIBI, refuse(c, "mixers S: decay");
    c = start(), c.mixers[1].rope = true, refuse(c, "mixers L: with rope");
    c = start(), c.mixers[0].heads = 5, refuse(c, "heads = 5 does not divide model.d_model = 48");
    c = start(), c.mixers[0].kv_heads = 3, refuse(c, "kv_heads 3 does not divide heads 4");
    c = start(), c.mixers[0].key_dim = 300, refuse(c, "above 256");
    c = start(), c.d_model = 1028,
    refuse(c, "key_dim 257 or value_dim 257 is above 256; raise model.heads");
    c = start(), c.mixers[0].key_dim = 7, refuse(c, "even key_dim, not 7");
    c = start(), c.mixers[0].key_dim = -2, refuse(c, "must not be negative");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_init),
        cmocka_unit_test(test_decays),  cmocka_unit_test(test_buckets_in_order),
        cmocka_unit_test(test_kinds),   cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_refusals)};
    return cmocka_run_group_tests_name("layers.params", tests, NULL, NULL);
}
