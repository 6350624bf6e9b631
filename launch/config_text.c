// A configuration for people and for the store: every key, its value, and where that came from.
#define _POSIX_C_SOURCE 200809L
#include "launch/config_keys.h"
#include "launch/json_print.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_mixers(const canto_config *config, FILE *stream)
{
    for (int i = 0; i < config->model.mixers_n; i++) {
        fputs("    - ", stream);
        canto_mixer_write(&config->model.mixers[i], stream);
        fputc('\n', stream);
    }
}

char *canto_config_text(const canto_config *config)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream) return NULL;
    for (const canto_key *key = canto_keys; key->name; key++) {
        int section = canto_key_section(key);
        if (canto_key_begins_section(key)) fprintf(stream, "%.*s:\n", section, key->name);
        fprintf(stream, "  %s:", key->name + section + 1);
        if (key->type == CANTO_KEY_MIXERS) {
            fputc('\n', stream);
            write_mixers(config, stream);
            continue;
        }
        fputc(' ', stream);
        canto_value_write(key, config, stream);
        fputc('\n', stream);
    }
    fclose(stream);
    return text;
}

static const char *origin_of(const canto_config_source *source, const canto_key *key, size_t size,
                             char *out)
{
    const canto_setting *setting = source ? &source->settings[key - canto_keys] : NULL;
    if (!setting || setting->origin == CANTO_ORIGIN_DEFAULT) return "default";
    if (setting->origin == CANTO_ORIGIN_COMMAND_LINE) return "command line";
    snprintf(out, size, "%s:%lld", source->name, (long long)setting->line);
    return out;
}

// --- JSON ---

static json_t *json_scalar(const canto_key *key, const void *base)
{
    const void *field = (const char *)base + key->offset;
    const char letter[2] = {key->type == CANTO_KEY_LETTER ? *(const char *)field : '\0', '\0'};
    switch (key->type) {
    case CANTO_KEY_INT:
        return json_integer(key->size == sizeof(int) ? *(const int *)field
                                                     : *(const int64_t *)field);
    case CANTO_KEY_FLOAT:
        return json_real(*(const double *)field);
    case CANTO_KEY_BOOL:
        return json_boolean(*(const bool *)field);
    case CANTO_KEY_TEXT:
        return json_string(field);
    case CANTO_KEY_LETTER:
        return json_string(letter);
    case CANTO_KEY_CHOICE:
        return json_string(key->choices->name(key->choices->get(field)));
    default:
        return json_null();
    }
}

static json_t *json_ints(const canto_key *key, const canto_config *config)
{
    json_t *list = json_array();
    const int *items = (const int *)((const char *)config + key->offset);
    const int count = *(const int *)((const char *)config + key->count);
    for (int i = 0; i < count; i++) json_array_append_new(list, json_integer(items[i]));
    return list;
}

static json_t *json_mixers(const canto_config *config)
{
    json_t *list = json_array();
    for (int i = 0; i < config->model.mixers_n; i++) {
        json_t *mixer = json_object();
        for (const canto_key *key = canto_mixer_keys; key->name; key++) {
            json_object_set_new(mixer, key->name, json_scalar(key, &config->model.mixers[i]));
        }
        json_array_append_new(list, mixer);
    }
    return list;
}

static json_t *json_value(const canto_key *key, const canto_config *config)
{
    if (key->type == CANTO_KEY_INTS) return json_ints(key, config);
    if (key->type == CANTO_KEY_MIXERS) return json_mixers(config);
    return json_scalar(key, config);
}

// {"train.lr": {"value": 0.001, "origin": "default"}, ...}
static void show_json(const canto_config *config, const canto_config_source *source, FILE *stream)
{
    json_t *all = json_object();
    for (const canto_key *key = canto_keys; key->name; key++) {
        char place[CANTO_TEXT_MAX + 32];
        json_t *row = json_object();
        json_object_set_new(row, "value", json_value(key, config));
        json_object_set_new(row, "origin",
                            json_string(origin_of(source, key, sizeof place, place)));
        json_object_set_new(all, key->name, row);
    }
    canto_json_print(all, stream);
}

// --- table ---

enum { KEY_WIDTH = 22, VALUE_WIDTH = 24 };

static void show_row(const char *name, const char *value, const char *origin, FILE *stream)
{
    fprintf(stream, "%-*s  %-*s  %s\n", KEY_WIDTH, name, VALUE_WIDTH, value ? value : "", origin);
}

static void show_mixers(const canto_config *config, const char *origin, FILE *stream)
{
    char letters[CANTO_MIXERS_MAX + 1] = "";
    for (int i = 0; i < config->model.mixers_n; i++) letters[i] = config->model.mixers[i].letter;
    show_row("model.mixers", letters, origin, stream);
    write_mixers(config, stream);
}

static void show_table(const canto_config *config, const canto_config_source *source, FILE *stream)
{
    show_row("key", "value", "origin", stream);
    for (const canto_key *key = canto_keys; key->name; key++) {
        char place[CANTO_TEXT_MAX + 32];
        const char *origin = origin_of(source, key, sizeof place, place);
        if (key->type == CANTO_KEY_MIXERS) {
            show_mixers(config, origin, stream);
            continue;
        }
        char *value = canto_value_text(key, config);
        show_row(key->name, value, origin, stream);
        free(value);
    }
}

void canto_config_show(const canto_config *config, const canto_config_source *source, bool json,
                       FILE *stream)
{
    if (json) {
        show_json(config, source, stream);
    } else {
        show_table(config, source, stream);
    }
}
