// Reads a configuration: defaults, then the file, then the command line, then what follows from
// them.
#include "launch/config_keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static canto_status set_defaults(canto_config *out)
{
    const canto_config_place place = {.name = "defaults"};
    memset(out, 0, sizeof *out);
    for (const canto_key *key = canto_keys; key->name; key++) {
        CANTO_TRY(
            canto_key_is_list(key)
                ? canto_config_yaml_list(key, &place, true, key->initial, out)
                : canto_value_read(key, &place, key->initial, strlen(key->initial), true, out));
    }
    return CANTO_OK;
}

// The file's bytes in `text` [CANTO_CONFIG_FILE_MAX + 1]; one byte more than allowed is enough to
// refuse it.
static canto_status load(const char *path, char *text, size_t *length)
{
    const canto_config_place place = {.name = path};
    FILE *file = fopen(path, "rb");
    if (!file) return canto_config_fail(&place, "cannot be opened: %s", strerror(errno));
    *length = fread(text, 1, CANTO_CONFIG_FILE_MAX + 1, file);
    int error = ferror(file) ? errno : 0;
    fclose(file);
    if (error) return canto_config_fail(&place, "cannot be read: %s", strerror(error));
    return CANTO_OK;
}

static canto_status read_path(const char *path, canto_config *out, canto_config_source *source)
{
    char *text = malloc(CANTO_CONFIG_FILE_MAX + 1);
    if (!text) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to read %s", path);
    size_t length = 0;
    canto_status status = load(path, text, &length);
    if (status == CANTO_OK) status = canto_config_yaml(path, text, length, out, source);
    free(text);
    return status;
}

static canto_status fail_override(const char *name, const canto_config_place *place)
{
    char section[sizeof(canto_quote)] = "", hint[96];
    const char *dot = strchr(name, '.');
    const char *leaf = dot ? dot + 1 : name;
    if (dot) snprintf(section, sizeof section, "%.*s", (int)(leaf - name), name);
    canto_key_suggest(canto_keys, section, leaf, sizeof hint, hint);
    // In a misspelt section every key is elsewhere, so that only its exact name was looked for.
    if (hint[0] == '\0') canto_key_suggest(canto_keys, "", leaf, sizeof hint, hint);
    return canto_config_fail(place, "unknown key '%s'%s", canto_quote_make(name, strlen(name)).text,
                             hint);
}

static canto_status read_override(const char *argument, canto_config *out,
                                  canto_config_source *source)
{
    const canto_config_place place = {.override = argument};
    const char *equals = strchr(argument, '=');
    if (!equals) return canto_config_fail(&place, "a key is set by SECTION.KEY=VALUE");
    char name[sizeof(canto_quote)];
    snprintf(name, sizeof name, "%.*s", (int)(equals - argument), argument);
    const canto_key *key = canto_key_find(canto_keys, "", name);
    if (!key || strlen(name) != (size_t)(equals - argument)) return fail_override(name, &place);
    const char *value = equals + 1;
    CANTO_TRY(canto_config_characters(&place, false, value, strlen(value)));
    CANTO_TRY(canto_key_is_list(key)
                  ? canto_config_yaml_list(key, &place, false, value, out)
                  : canto_value_read(key, &place, value, strlen(value), true, out));
    source->settings[key - canto_keys] = (canto_setting){.origin = CANTO_ORIGIN_COMMAND_LINE};
    return CANTO_OK;
}

static canto_status read_all(const char *path, int overrides_n, char *const *overrides,
                             canto_config *out, canto_config_source *source)
{
    CANTO_TRY(set_defaults(out));
    if (path) CANTO_TRY(read_path(path, out, source));
    for (int i = 0; i < overrides_n; i++) CANTO_TRY(read_override(overrides[i], out, source));
    return canto_config_check(out, source);
}

static canto_status parse_all(const char *text, size_t length, canto_config *out,
                              canto_config_source *source)
{
    CANTO_TRY(set_defaults(out));
    CANTO_TRY(canto_config_yaml(source->name, text, length, out, source));
    return canto_config_check(out, source);
}

// NULL only without memory.
static canto_config_source *source_create(const char *name)
{
    canto_config_source *source = calloc(1, sizeof *source);
    if (source) snprintf(source->name, sizeof source->name, "%s", name);
    return source;
}

// Gives the source to the caller if it is of use and wanted.
static canto_status hand_over(canto_status status, canto_config_source *made,
                              canto_config_source **source)
{
    if (status != CANTO_OK || !source) canto_config_source_destroy(&made);
    if (source) *source = made;
    return status;
}

static canto_status fail_memory(canto_config_source **source)
{
    if (source) *source = NULL;
    CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for the origins of configuration keys");
}

canto_status canto_config_read(const char *path, int overrides_n, char *const *overrides,
                               canto_config *out, canto_config_source **source)
{
    canto_config_source *made = source_create(path ? path : "defaults");
    if (!made) return fail_memory(source);
    return hand_over(read_all(path, overrides_n, overrides, out, made), made, source);
}

canto_status canto_config_parse(const char *name, const char *text, size_t length,
                                canto_config *out, canto_config_source **source)
{
    canto_config_source *made = source_create(name);
    if (!made) return fail_memory(source);
    return hand_over(parse_all(text, length, out, made), made, source);
}

void canto_config_source_destroy(canto_config_source **source)
{
    free(*source);
    *source = NULL;
}
