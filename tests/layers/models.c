// See models.h.
#include "tests/layers/models.h"

#include "tests/canto_test.h"

#include "runtime/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct row {
    const char *name;
    const char *pattern, *kind; // of L; R and G are what they are by default
    canto_decay decay;
    bool normaliser, rope_linear, tied;
    int heads, kv_heads; // of all mixers
    int linear_key_dim;  // 0: as the others
    int64_t window;      // of S
} row;

static const row rows[MODELS_N] = {
    {"lightning, geometric decay by layer, grouped heads", "LLLS", "lightning",
     CANTO_DECAY_ALIBI_LAYERED, false, false, false, 4, 2, 0, 0},
    {"lightning, linear decay by layer, one key head, window, tied", "LLLS", "lightning",
     CANTO_DECAY_LINEAR_LAYERED, false, false, true, 4, 1, 0, 5},
    {"basic with normaliser, tied", "LLLS", "basic", CANTO_DECAY_NONE, true, false, true, 4, 4, 0,
     0},
    {"basic with norm and positions, unequal dims, grouped heads", "LS", "basic", CANTO_DECAY_NONE,
     false, true, false, 4, 2, 6, 3},
    {"basic with normaliser and decay", "LS", "basic", CANTO_DECAY_ALIBI, true, false, false, 2, 1,
     0, 2},
    {"softmax alone", "S", NULL, CANTO_DECAY_NONE, false, false, false, 4, 2, 0, 0},
    {"lightning, gates, softmax, grouped heads", "LGLS", "lightning", CANTO_DECAY_ALIBI_LAYERED,
     false, false, false, 4, 2, 0, 0},
    {"retention, gates, lightning, softmax, tied", "RGLS", "lightning", CANTO_DECAY_ALIBI_LAYERED,
     false, false, true, 2, 2, 0, 4},
};

const char *models_name(int which)
{
    return rows[which].name;
}

static void add_default(const char *kind_name, char letter, canto_model_config *out)
{
    const canto_mixer_kind *kind = canto_mixer_kind_find(kind_name);
    if (!strchr(out->pattern, letter)) return;
    out->mixers[out->mixers_n++] = (canto_mixer_config){.letter = letter,
                                                        .kind = kind,
                                                        .decay = kind->decay,
                                                        .normaliser = kind->ones,
                                                        .rope = kind->rope};
}

void models_config(int which, canto_model_config *out)
{
    const row *r = &rows[which];
    *out = (canto_model_config){.layers = (int)strlen(r->pattern),
                                .d_model = 16,
                                .d_mlp = 24,
                                .heads = r->heads,
                                .kv_heads = r->kv_heads,
                                .vocab = 13,
                                .tied = r->tied,
                                .norm_eps = 1e-2,
                                .rope_base = 100,
                                .init_std = 0.25,
                                .mixers_n = r->kind ? 2 : 1};
    snprintf(out->pattern, sizeof out->pattern, "%s", r->pattern);
    out->mixers[0] = (canto_mixer_config){
        .letter = 'S', .kind = canto_mixer_kind_find("softmax"), .window = r->window, .rope = true};
    if (r->kind)
        out->mixers[1] = (canto_mixer_config){.letter = 'L',
                                              .kind = canto_mixer_kind_find(r->kind),
                                              .key_dim = r->linear_key_dim,
                                              .decay = r->decay,
                                              .normaliser = r->normaliser,
                                              .rope = r->rope_linear};
    add_default("retention", 'R', out);
    add_default("gla", 'G', out);
    CANTO_TEST_OK(canto_model_config_resolve(out));
}

void models_text(const canto_model_config *config, int64_t n, int documents, const int64_t *starts,
                 int32_t *tokens, int32_t *targets)
{
    for (int64_t i = 0; i < n; i++)
        tokens[i] = (int32_t)canto_rng_below(5, CANTO_RNG_TEST, (uint64_t)i, config->vocab);
    for (int64_t i = 0; i < n; i++) targets[i] = i + 1 < n && i % 11 != 10 ? tokens[i + 1] : -1;
    for (int d = 1; d < documents; d++) targets[starts[d] - 1] = -1;
}

void models_params_make(const canto_model_config *config, models_params *out)
{
    CANTO_TEST_OK(canto_arenas_measure(&out->arenas));
    CANTO_TEST_OK(
        canto_decoder_create(&out->arenas, config, canto_device_cpu(), 1, 1, &out->decoder));
    out->list = canto_decoder_params(out->decoder);
}

void models_params_free(models_params *params)
{
    canto_decoder_destroy(&params->decoder);
    canto_arenas_destroy(&params->arenas);
}

void models_values(const canto_params *list, float *out)
{
    const size_t bytes = (size_t)canto_params_count(list) * sizeof *out;
    float *values = malloc(bytes);
    assert_non_null(values);
    canto_params copy = *list;
    copy.device = canto_device_cpu();
    copy.values = values;
    CANTO_TEST_OK(canto_params_init(&copy, 1));
    for (int p = 0; p < list->n; p++) {
        const canto_param *param = &list->list[p];
        float *value = values + param->begin;
        const bool table = strcmp(param->name, "embed.table") == 0;
        for (int64_t i = 0; i < param->count; i++) {
            if (param->init == CANTO_INIT_ONES) value[i] = 1.0f + 0.3f * sinf((float)(i + p));
            // Norms of short rows bend too much for central differences.
            if (table) value[i] *= 6;
        }
    }
    CANTO_TEST_OK(canto_device_upload(list->device, out, values, bytes));
    free(values);
}
