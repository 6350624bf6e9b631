// A configuration from YAML: one document of sections of keys, nothing else. What is repeated,
// missing or nested otherwise is refused where it stands, so that a file means what it seems to
// mean.
#include "launch/config_reader.h"

#include <stdio.h>
#include <string.h>

// Where values and their places go.
typedef struct target {
    canto_config *config;    // borrowed
    canto_setting *settings; // borrowed, in the order of canto_keys
} target;

canto_status canto_config_fail_unknown(const canto_key *table, const char *section,
                                       const char *name, const char *where,
                                       const canto_config_place *place)
{
    char hint[96];
    canto_key_suggest(table, section, name, sizeof hint, hint);
    return canto_config_fail(place, "unknown key '%s' in %s%s", name, where, hint);
}

static canto_status read_value(canto_reader *in, const canto_key *key,
                               const canto_config_place *named, bool predefined,
                               canto_config *config)
{
    if (key->type == CANTO_KEY_INTS) return canto_config_ints(in, key, named, config);
    if (key->type == CANTO_KEY_MIXERS) {
        return canto_config_mixers(in, key, named, predefined, config);
    }
    return canto_reader_scalar(in, key, named, config);
}

static canto_status read_section(canto_reader *in, const char *section, const target *out)
{
    char prefix[sizeof(canto_quote) + 1], where[sizeof(canto_quote) + 16];
    snprintf(prefix, sizeof prefix, "%s.", section);
    snprintf(where, sizeof where, "section %s", section);
    CANTO_TRY(canto_reader_next(in));
    while (in->node != CANTO_NODE_MAPPING_END) {
        char name[sizeof(canto_quote)];
        const canto_config_place place = in->place;
        CANTO_TRY(canto_reader_name(in, sizeof name, name));
        const canto_key *key = canto_key_find(canto_keys, prefix, name);
        if (!key) return canto_config_fail_unknown(canto_keys, prefix, name, where, &place);
        canto_setting *setting = &out->settings[key - canto_keys];
        if (setting->origin == CANTO_ORIGIN_FILE) {
            return canto_config_fail(&place, "%s is given twice, first in line %lld", key->name,
                                     (long long)setting->line);
        }
        CANTO_TRY(canto_reader_next(in));
        *setting = (canto_setting){CANTO_ORIGIN_FILE, in->place.line, in->place.column};
        CANTO_TRY(read_value(in, key, &place, false, out->config));
        CANTO_TRY(canto_reader_next(in));
    }
    return CANTO_OK;
}

static canto_status fail_section(const char *name, const canto_config_place *place)
{
    char hint[96];
    canto_section_suggest(name, sizeof hint, hint);
    if (hint[0] == '\0') canto_key_suggest(canto_keys, "", name, sizeof hint, hint);
    return canto_config_fail(place, "unknown section '%s'%s", name, hint);
}

static canto_status expect_section(const canto_reader *in, const char *name,
                                   const canto_config_place *named)
{
    if (in->node == CANTO_NODE_MAPPING) return CANTO_OK;
    if (canto_reader_null(in)) {
        return canto_config_fail(named, "section %s has no keys: write some below it, or remove it",
                                 name);
    }
    return canto_config_fail(&in->place, "section %s must consist of keys: write key: value", name);
}

static canto_status read_sections(canto_reader *in, const target *out)
{
    char seen[256] = " "; // " train model "
    CANTO_TRY(canto_reader_next(in));
    while (in->node != CANTO_NODE_MAPPING_END) {
        char name[sizeof(canto_quote)], word[sizeof(canto_quote) + 2];
        const canto_config_place place = in->place;
        CANTO_TRY(canto_reader_name(in, sizeof name, name));
        if (!canto_key_is_section(name)) return fail_section(name, &place);
        snprintf(word, sizeof word, " %s ", name);
        if (strstr(seen, word)) {
            return canto_config_fail(&place, "section %s is given twice: join the two", name);
        }
        strncat(seen, word + 1, sizeof seen - strlen(seen) - 1);
        CANTO_TRY(canto_reader_next(in));
        CANTO_TRY(expect_section(in, name, &place));
        CANTO_TRY(read_section(in, name, out));
        CANTO_TRY(canto_reader_next(in));
    }
    return CANTO_OK;
}

static canto_status open_document(canto_reader *in)
{
    CANTO_TRY(canto_reader_next(in));
    return in->node == CANTO_NODE_END ? CANTO_OK : canto_reader_next(in);
}

static canto_status close_document(canto_reader *in)
{
    CANTO_TRY(canto_reader_next(in)); // end of the document
    CANTO_TRY(canto_reader_next(in));
    if (in->node == CANTO_NODE_END) return CANTO_OK;
    return canto_config_fail(&in->place, "a second document: a configuration has only one");
}

static canto_status read_file(canto_reader *in, const target *out)
{
    CANTO_TRY(open_document(in));
    if (in->node == CANTO_NODE_END || canto_reader_null(in)) {
        return canto_config_fail(&in->place,
                                 "the file is empty: it has no section such as 'train:'");
    }
    if (in->node != CANTO_NODE_MAPPING) {
        return canto_config_fail(&in->place,
                                 "a configuration must consist of sections such as 'train:'");
    }
    CANTO_TRY(read_sections(in, out));
    return close_document(in);
}

canto_status canto_config_yaml(const char *name, const char *text, size_t length, canto_config *out,
                               canto_config_source *source)
{
    const canto_config_place start = {.name = name, .line = 1, .column = 1};
    if (length > CANTO_CONFIG_FILE_MAX) {
        const canto_config_place whole = {.name = name};
        return canto_config_fail(&whole, "a configuration of more than %d bytes",
                                 CANTO_CONFIG_FILE_MAX);
    }
    CANTO_TRY(canto_config_characters(&start, true, text, length));
    canto_reader in;
    CANTO_TRY(canto_reader_open(&in, &start, text, length));
    canto_status status = read_file(&in, &(target){out, source->settings});
    canto_reader_close(&in);
    return status;
}

static canto_status read_list(canto_reader *in, const canto_key *key, bool predefined,
                              canto_config *out)
{
    CANTO_TRY(open_document(in));
    if (in->node == CANTO_NODE_END) {
        return canto_config_fail(&in->place, "no value: write [] for an empty list");
    }
    const canto_config_place place = in->place;
    CANTO_TRY(read_value(in, key, &place, predefined, out));
    return close_document(in);
}

canto_status canto_config_yaml_list(const canto_key *key, const canto_config_place *place,
                                    bool predefined, const char *text, canto_config *out)
{
    canto_config_place whole = *place;
    whole.line = 0; // the text stands elsewhere
    canto_reader in;
    CANTO_TRY(canto_reader_open(&in, &whole, text, strlen(text)));
    canto_status status = read_list(&in, key, predefined, out);
    canto_reader_close(&in);
    return status;
}
