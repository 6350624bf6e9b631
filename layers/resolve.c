// Defaults and limits of a model's configuration. Every refusal names the key.
#include "layers/model.h"

#include <string.h>

#define REFUSE(...) CANTO_FAIL(CANTO_ERROR_CONFIG, __VA_ARGS__)

const canto_mixer_config *canto_model_mixer(const canto_model_config *config, int layer)
{
    const char letter = config->pattern[(size_t)layer % strlen(config->pattern)];
    for (int i = 0; i < config->mixers_n; i++) {
        if (config->mixers[i].letter == letter) return &config->mixers[i];
    }
    return NULL;
}

static canto_status resolve_numbers(canto_model_config *config)
{
    if (config->layers < 1 || config->layers > CANTO_LAYERS_MAX)
        REFUSE("model.layers: %d is not in 1..%d", config->layers, CANTO_LAYERS_MAX);
    if (config->d_model < 1) REFUSE("model.d_model: %d must be positive", config->d_model);
    if (config->heads < 1) REFUSE("model.heads: %d must be positive", config->heads);
    if (config->vocab < 1) REFUSE("model.vocab: %d must be positive", config->vocab);
    if (config->kv_heads < 0 || config->d_mlp < 0)
        REFUSE("model.%s must not be negative", config->kv_heads < 0 ? "kv_heads" : "d_mlp");
    if (!(config->norm_eps > 0)) REFUSE("model.norm_eps: must be positive");
    if (!(config->rope_base > 1)) REFUSE("model.rope_base: must be above 1");
    if (!(config->init_std > 0)) REFUSE("model.init_std: must be positive");
    if (config->kv_heads == 0) config->kv_heads = config->heads;
    if (config->heads % config->kv_heads != 0)
        REFUSE("model.kv_heads: %d does not divide model.heads = %d", config->kv_heads,
               config->heads);
    if (config->d_mlp == 0)
        config->d_mlp = (int)(((int64_t)config->d_model * 8 / 3 + 31) / 32 * 32);
    return CANTO_OK;
}

// What an entry leaves open.
static void fill_heads(const canto_model_config *config, canto_mixer_config *mixer)
{
    const canto_mixer_kind *kind = mixer->kind;
    // A mixer with its own number of heads has as many key/value heads unless it says otherwise.
    if (mixer->kv_heads == 0) mixer->kv_heads = mixer->heads ? mixer->heads : config->kv_heads;
    if (mixer->heads == 0) mixer->heads = config->heads;
    const int width = config->d_model / mixer->heads;
    if (mixer->key_dim == 0) mixer->key_dim = width / (kind->key_parts ? kind->key_parts : 1);
    if (mixer->value_dim == 0)
        mixer->value_dim = kind->value_factor ? kind->value_factor * mixer->key_dim : width;
}

// Whether dims that are left open follow from whole numbers.
static bool divides(const canto_model_config *config, const canto_mixer_config *mixer, int heads)
{
    const canto_mixer_kind *kind = mixer->kind;
    if (mixer->key_dim == 0 && config->d_model % (heads * (kind->key_parts ? kind->key_parts : 1)))
        return false;
    return mixer->value_dim || kind->value_factor || config->d_model % heads == 0;
}

static bool is_possible(const canto_mixer_config *mixer)
{
    return mixer->heads % mixer->kv_heads == 0 && mixer->key_dim > 0 &&
           mixer->key_dim <= CANTO_HEAD_DIM_MAX && mixer->value_dim > 0 &&
           mixer->value_dim <= CANTO_HEAD_DIM_MAX && !(mixer->rope && mixer->key_dim % 2);
}

static canto_status check_heads(const canto_model_config *config, const canto_mixer_config *given,
                                const canto_mixer_config *mixer)
{
    const char letter = mixer->letter;
    if (mixer->heads % mixer->kv_heads != 0)
        REFUSE("model.mixers %c: kv_heads %d does not divide heads %d", letter, mixer->kv_heads,
               mixer->heads);
    if (!divides(config, given, mixer->heads))
        REFUSE("model.mixers %c: %s = %d does not divide model.d_model = %d%s; set key_dim and "
               "value_dim",
               letter, given->heads ? "heads" : "model.heads", mixer->heads, config->d_model,
               mixer->kind->key_parts > 1 ? " into even widths" : "");
    if (mixer->key_dim > CANTO_HEAD_DIM_MAX || mixer->value_dim > CANTO_HEAD_DIM_MAX)
        REFUSE("model.mixers %c: key_dim %d or value_dim %d is above %d; raise model.heads or "
               "lower model.d_model, or set them here",
               letter, mixer->key_dim, mixer->value_dim, CANTO_HEAD_DIM_MAX);
    if (mixer->rope && mixer->key_dim % 2 != 0)
        REFUSE("model.mixers %c: rope needs an even key_dim, not %d", letter, mixer->key_dim);
    return CANTO_OK;
}

// A mixer that no layer uses may be one that this model has no room for, as a predefined one: then
// it stays as it is.
static canto_status resolve_heads(const canto_model_config *config, canto_mixer_config *mixer)
{
    if (mixer->heads < 0 || mixer->kv_heads < 0 || mixer->key_dim < 0 || mixer->value_dim < 0)
        REFUSE("model.mixers %c: heads and dims must not be negative", mixer->letter);
    canto_mixer_config made = *mixer;
    fill_heads(config, &made);
    const bool used = strchr(config->pattern, mixer->letter);
    if (!used && !(is_possible(&made) && divides(config, mixer, made.heads))) return CANTO_OK;
    CANTO_TRY(check_heads(config, mixer, &made));
    *mixer = made;
    return CANTO_OK;
}

static canto_status check_kind(const canto_mixer_config *mixer)
{
    const char letter = mixer->letter;
    if (!mixer->kind) REFUSE("model.mixers %c: kind is missing", letter);
    if (mixer->window < 0) REFUSE("model.mixers %c: window must not be negative", letter);
    if (mixer->window && !mixer->kind->softmax)
        REFUSE("model.mixers %c: window is for softmax, not for %s", letter, mixer->kind->name);
    if (mixer->kind->softmax && mixer->decay != CANTO_DECAY_NONE)
        REFUSE("model.mixers %c: decay is for linear attention, not for softmax", letter);
    if (mixer->kind->softmax && mixer->normaliser)
        REFUSE("model.mixers %c: normaliser is for linear attention, not for softmax", letter);
    if (mixer->kind->gated && mixer->decay != CANTO_DECAY_NONE)
        REFUSE("model.mixers %c: decay is constant, but %s decays as its input decides", letter,
               mixer->kind->name);
    if (mixer->rope && mixer->normaliser)
        REFUSE("model.mixers %c: with rope the sum of weights may vanish; switch normaliser off",
               letter);
    return CANTO_OK;
}

canto_status canto_model_config_resolve(canto_model_config *config)
{
    CANTO_TRY(resolve_numbers(config));
    for (int i = 0; i < config->mixers_n; i++) {
        canto_mixer_config *mixer = &config->mixers[i];
        for (int j = 0; j < i; j++) {
            if (config->mixers[j].letter == mixer->letter)
                REFUSE("model.mixers: letter %c appears twice", mixer->letter);
        }
        CANTO_TRY(check_kind(mixer));
        CANTO_TRY(resolve_heads(config, mixer));
    }
    const int length = (int)strlen(config->pattern);
    if (length == 0) REFUSE("model.pattern: must name at least one mixer");
    for (int i = 0; i < length; i++) {
        if (!canto_model_mixer(config, i))
            REFUSE("model.pattern: letter '%c' is not in model.mixers", config->pattern[i]);
    }
    return CANTO_OK;
}

int64_t canto_mixer_state_count(const canto_mixer_config *mixer)
{
    return (int64_t)mixer->kv_heads * mixer->key_dim *
           (mixer->value_dim + (mixer->normaliser ? 1 : 0));
}

int64_t canto_mixer_transition_count(const canto_mixer_config *mixer)
{
    return mixer->kind->gated ? (int64_t)mixer->kv_heads * mixer->key_dim : 0;
}

int64_t canto_model_state_count_max(const canto_model_config *config)
{
    int64_t largest = 0;
    for (int layer = 0; layer < config->layers; layer++) {
        const canto_mixer_config *mixer = canto_model_mixer(config, layer);
        if (mixer->kind->softmax) continue;
        const int64_t count = canto_mixer_state_count(mixer) + canto_mixer_transition_count(mixer);
        if (count > largest) largest = count;
    }
    return largest;
}
