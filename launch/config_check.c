// What keys demand of each other, what follows from others, and what a resumed run may change.
#define _POSIX_C_SOURCE 200809L
#include "launch/config_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static canto_config_place place_of(const canto_config_source *source, const canto_key *key)
{
    const canto_setting *setting = &source->settings[key - canto_keys];
    if (setting->origin == CANTO_ORIGIN_COMMAND_LINE) return (canto_config_place){.name = NULL};
    return (canto_config_place){
        .name = source->name, .line = setting->line, .column = setting->column};
}

// The place to look at when two keys contradict each other: where one was set last.
static canto_config_place blame(const canto_config_source *source, const char *first,
                                const char *second)
{
    const canto_key *a = canto_key_find(canto_keys, "", first);
    const canto_key *b = canto_key_find(canto_keys, "", second);
    canto_origin origin_a = source->settings[a - canto_keys].origin;
    canto_origin origin_b = source->settings[b - canto_keys].origin;
    return place_of(source, origin_b > origin_a ? b : a);
}

// --- model ---

static const canto_mixer_config *find_letter(const canto_model_config *model, char letter)
{
    for (int i = 0; i < model->mixers_n; i++) {
        if (model->mixers[i].letter == letter) return &model->mixers[i];
    }
    return NULL;
}

static canto_status check_pattern(const canto_config *config, const canto_config_source *source)
{
    const canto_model_config *model = &config->model;
    char letters[4 * CANTO_MIXERS_MAX] = "";
    for (int i = 0; i < model->mixers_n; i++) {
        size_t used = strlen(letters);
        snprintf(letters + used, sizeof letters - used, "%s%c", i ? ", " : "",
                 model->mixers[i].letter);
    }
    for (const char *at = model->pattern; *at; at++) {
        if (find_letter(model, *at)) continue;
        const canto_config_place place = blame(source, "model.pattern", "model.mixers");
        canto_quote quote = canto_quote_make(at, 1);
        return canto_config_fail(&place,
                                 "model.pattern has the letter '%s' at its place %d, which is no "
                                 "mixer; there are %s: add it to model.mixers",
                                 quote.text, (int)(at - model->pattern) + 1, letters);
    }
    return CANTO_OK;
}

// The model knows its own rules. Its sentence names keys: the place to look at is where one of them
// was set last, the first named if several were.
static canto_status resolve_model(canto_config *config, const canto_config_source *source)
{
    if (canto_model_config_resolve(&config->model) == CANTO_OK) return CANTO_OK;
    canto_config_place place = {.name = source->name};
    const char *message = canto_error_message(), *earliest = NULL;
    canto_origin origin = CANTO_ORIGIN_DEFAULT;
    for (const canto_key *key = canto_keys; key->name; key++) {
        const char *at = strstr(message, key->name);
        const canto_origin set = source->settings[key - canto_keys].origin;
        if (!at || set < origin || (set == origin && earliest && at > earliest)) continue;
        place = place_of(source, key);
        earliest = at;
        origin = set;
    }
    canto_config_locate(&place);
    return CANTO_ERROR_CONFIG;
}

// --- parallel ---

static canto_status check_weights(const canto_config *config, const canto_config_source *source)
{
    bool uneven = config->parallel.layout == CANTO_LAYOUT_UNEVEN;
    int n = config->parallel.weights_n;
    const canto_config_place place = blame(source, "parallel.layout", "parallel.weights");
    if (uneven && n == 0) {
        return canto_config_fail(&place, "parallel.layout uneven needs parallel.weights, one share "
                                         "for each context rank");
    }
    if (!uneven && n > 0) {
        return canto_config_fail(&place, "parallel.weights is only for parallel.layout uneven");
    }
    int64_t sum = 0;
    for (int i = 0; i < n; i++) sum += config->parallel.weights[i];
    if (n > 0 && sum == 0) return canto_config_fail(&place, "parallel.weights are all 0");
    if (n > 0 && config->parallel.cp > 0 && n != config->parallel.cp) {
        const canto_config_place counts = blame(source, "parallel.weights", "parallel.cp");
        return canto_config_fail(&counts, "parallel.weights has %d shares for parallel.cp %d ranks",
                                 n, config->parallel.cp);
    }
    return CANTO_OK;
}

// --- train, data ---

static canto_status check_batch(const canto_config *config, const canto_config_source *source)
{
    const int64_t batch = config->train.batch, documents = config->data.max_documents;
    const int dp = config->parallel.dp;
    if (dp == 0) return CANTO_OK;
    if (batch < dp) {
        const canto_config_place place = blame(source, "train.batch", "parallel.dp");
        return canto_config_fail(
            &place,
            "train.batch %lld is less than parallel.dp %d: every replica needs "
            "a sequence",
            (long long)batch, dp);
    }
    const int64_t most = (batch + dp - 1) / dp;
    if (documents > 0 && documents < most) {
        const canto_config_place place = blame(source, "data.max_documents", "train.batch");
        return canto_config_fail(&place,
                                 "data.max_documents %lld is less than the %lld sequences of a "
                                 "replica",
                                 (long long)documents, (long long)most);
    }
    return CANTO_OK;
}

static canto_status check_eot(const canto_config *config, const canto_config_source *source)
{
    if (config->data.eot < config->model.vocab) return CANTO_OK;
    const canto_config_place place = blame(source, "data.eot", "model.vocab");
    return canto_config_fail(&place, "data.eot %lld is outside of model.vocab %d",
                             (long long)config->data.eot, config->model.vocab);
}

static canto_status check_rates(const canto_config *config, const canto_config_source *source)
{
    const canto_optimizer_config *optimizer = &config->train.optimizer;
    if (optimizer->min_lr <= optimizer->lr) return CANTO_OK;
    const canto_config_place place = blame(source, "train.min_lr", "train.lr");
    return canto_config_fail(&place, "train.min_lr %g is above train.lr %g: lower it",
                             optimizer->min_lr, optimizer->lr);
}

static canto_status check_evaluation(const canto_config *config, const canto_config_source *source)
{
    if (config->train.eval_every == 0 || config->data.held_out > 0) return CANTO_OK;
    if (config->data.held_out_path[0] != '\0') return CANTO_OK;
    const canto_config_place place = blame(source, "train.eval_every", "data.held_out");
    return canto_config_fail(&place, "train.eval_every needs held-out text: data.held_out is 0");
}

canto_status canto_config_check(canto_config *config, const canto_config_source *source)
{
    CANTO_TRY(check_pattern(config, source));
    CANTO_TRY(resolve_model(config, source));
    CANTO_TRY(check_weights(config, source));
    CANTO_TRY(check_batch(config, source));
    CANTO_TRY(check_eot(config, source));
    CANTO_TRY(check_rates(config, source));
    return check_evaluation(config, source);
}

canto_status canto_config_require(const canto_config *config, const canto_config_source *source,
                                  const char *name)
{
    const canto_key *key = canto_key_find(canto_keys, "", name);
    CANTO_CHECK(key && key->type == CANTO_KEY_TEXT, "canto_config_require: '%s' is no text key",
                name);
    if (((const char *)config)[key->offset] != '\0') return CANTO_OK;
    const canto_config_place place =
        source ? place_of(source, key) : (canto_config_place){.name = "configuration"};
    return canto_config_fail(&place,
                             "%s is required: write it in the file or %s=... on the command "
                             "line",
                             name, name);
}

// --- resuming ---

// Both are written, so that what is compared is what is stored.
static canto_status compare(const canto_key *key, const canto_config *stored,
                            const canto_config *now)
{
    char *before = canto_value_text(key, stored), *after = canto_value_text(key, now);
    canto_status status = CANTO_OK;
    if (!before || !after) {
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "no memory to compare configurations");
    } else if (strcmp(before, after) != 0) {
        const canto_config_place place = {.name = now->run.dir};
        status =
            canto_config_fail(&place,
                              "%s was %.120s when this run began and is now %.120s: a run keeps "
                              "it; set it back or start another run.dir",
                              key->name, before, after);
    }
    free(before);
    free(after);
    return status;
}

canto_status canto_config_compatible(const canto_config *stored, const canto_config *now)
{
    for (const canto_key *key = canto_keys; key->name; key++) {
        bool horizon = strcmp(key->name, "train.horizon") == 0;
        if (key->resume != CANTO_RESUME_FIXED) continue;
        if (horizon && now->train.optimizer.horizon == 0) continue; // as at the first start
        CANTO_TRY(compare(key, stored, now));
    }
    if (now->train.steps >= stored->train.steps) return CANTO_OK;
    const canto_config_place place = {.name = now->run.dir};
    return canto_config_fail(&place,
                             "train.steps was %lld and is now %lld: a run can only be made longer; "
                             "to stop early, set train.stop_after",
                             (long long)stored->train.steps, (long long)now->train.steps);
}

canto_status canto_config_same_model(const canto_config *stored, const canto_config *now)
{
    for (const canto_key *key = canto_keys; key->name; key++) {
        if (strncmp(key->name, "model.", 6) == 0) CANTO_TRY(compare(key, stored, now));
    }
    return CANTO_OK;
}

canto_status canto_config_differences(const canto_config *a, const canto_config *b,
                                      canto_config_visit visit, void *context)
{
    for (const canto_key *key = canto_keys; key->name; key++) {
        char *x = canto_value_text(key, a), *y = canto_value_text(key, b);
        const bool good = x && y;
        if (good && strcmp(x, y) != 0)
            visit(context, key->name, x, y, key->resume == CANTO_RESUME_FIXED);
        free(x);
        free(y);
        if (!good) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to compare configurations");
    }
    return CANTO_OK;
}

canto_status canto_config_settle(const canto_config *stored, canto_config *config)
{
    if (stored) {
        CANTO_TRY(canto_config_compatible(stored, config));
        config->train.optimizer.horizon = stored->train.optimizer.horizon;
    } else if (config->train.optimizer.horizon == 0) {
        config->train.optimizer.horizon = config->train.steps;
    }
    return CANTO_OK;
}
