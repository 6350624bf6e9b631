// A configuration from YAML, event by event: sections of keys, nothing else. Tags, anchors,
// aliases, several documents, nested or missing values are refused where they stand, so that a file
// means what it seems to mean.
#include "launch/config_keys.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event;      // current; of type YAML_NO_EVENT before the first
    canto_place origin;      // of the whole text
    bool command_line;       // places have no line
    bool predefined;         // see canto_config_yaml_list
    canto_config *config;    // borrowed
    canto_setting *settings; // borrowed, in the order of canto_keys; NULL for a single value
} reader;

static canto_place place_of(const reader *in, yaml_mark_t mark)
{
    canto_place place = in->origin;
    if (!in->command_line) {
        place.line = (int64_t)mark.line + 1;
        place.column = (int64_t)mark.column + 1;
    }
    return place;
}

static canto_place here(const reader *in)
{
    return place_of(in, in->event.start_mark);
}

static canto_status fail_syntax(const reader *in)
{
    const yaml_parser_t *parser = &in->parser;
    if (parser->error == YAML_MEMORY_ERROR) {
        CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to read %s", in->origin.name);
    }
    bool reading = parser->error == YAML_READER_ERROR;
    canto_place place = place_of(in, reading ? parser->mark : parser->problem_mark);
    const char *problem = parser->problem ? parser->problem : "cannot be read";
    if (!parser->context || in->command_line) {
        return canto_config_fail(&place, "not valid YAML: %s", problem);
    }
    return canto_config_fail(&place, "not valid YAML: %s (%s that began in line %zu)", problem,
                             parser->context, parser->context_mark.line + 1);
}

static const char *const no_anchor = "anchors and aliases are not used here: write the value out";

// The next event; refuses what no part of a configuration may have.
static canto_status next(reader *in)
{
    yaml_event_delete(&in->event);
    if (!yaml_parser_parse(&in->parser, &in->event)) return fail_syntax(in);
    const yaml_event_t *event = &in->event;
    const canto_place place = here(in);
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor || event->type == YAML_ALIAS_EVENT)
        return canto_config_fail(&place, "%s", no_anchor);
    if (tag) return canto_config_fail(&place, "tags are not used here: remove it");
    return CANTO_OK;
}

static const char *scalar_text(const reader *in)
{
    return (const char *)in->event.data.scalar.value;
}

static bool scalar_plain(const reader *in)
{
    return in->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static bool scalar_null(const reader *in)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (in->event.type != YAML_SCALAR_EVENT || !scalar_plain(in)) return false;
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        if (strcmp(scalar_text(in), nulls[i]) == 0) return true;
    }
    return false;
}

// The key that the current event is, copied, because the value's event replaces it.
static canto_status read_name(const reader *in, size_t size, char *name)
{
    const canto_place place = here(in);
    if (in->event.type != YAML_SCALAR_EVENT) {
        return canto_config_fail(&place, "a key must be a word");
    }
    canto_quote quote = canto_quote_make(scalar_text(in), in->event.data.scalar.length);
    snprintf(name, size, "%s", quote.text);
    return CANTO_OK;
}

static canto_status read_scalar(const reader *in, const canto_key *key, const canto_place *named,
                                void *base)
{
    const canto_place place = here(in);
    if (in->event.type == YAML_MAPPING_START_EVENT) {
        return canto_config_fail(&place, "%s must be %s, not a mapping of keys", key->name,
                                 canto_key_type_name(key));
    }
    if (in->event.type != YAML_SCALAR_EVENT) {
        return canto_config_fail(&place, "%s must be %s, not a list", key->name,
                                 canto_key_type_name(key));
    }
    if (scalar_null(in)) {
        return canto_config_fail(named, "%s has no value: write one, or remove the key", key->name);
    }
    return canto_value_read(key, &place, scalar_text(in), in->event.data.scalar.length,
                            scalar_plain(in), base);
}

static canto_status expect_list(const reader *in, const canto_key *key, const canto_place *named)
{
    const canto_place place = here(in);
    if (scalar_null(in)) return read_scalar(in, key, named, NULL);
    if (in->event.type == YAML_SEQUENCE_START_EVENT) return CANTO_OK;
    return canto_config_fail(&place, "%s must be %s", key->name, canto_key_type_name(key));
}

static canto_status read_ints(reader *in, const canto_key *key, const canto_place *named)
{
    CANTO_TRY(expect_list(in, key, named));
    char *base = (char *)in->config;
    const int most = (int)(key->size / sizeof(int));
    canto_key item = *key;
    item.type = CANTO_KEY_INT;
    item.size = sizeof(int);
    int count = 0;
    CANTO_TRY(next(in));
    for (; in->event.type != YAML_SEQUENCE_END_EVENT; count++) {
        const canto_place place = here(in);
        if (count == most) {
            return canto_config_fail(&place, "%s must have at most %d entries", key->name, most);
        }
        item.offset = key->offset + (size_t)count * sizeof(int);
        CANTO_TRY(read_scalar(in, &item, &place, base));
        CANTO_TRY(next(in));
    }
    *(int *)(base + key->count) = count;
    return CANTO_OK;
}

static canto_status fail_unknown(const canto_key *table, const char *section, const char *name,
                                 const char *where, const canto_place *place)
{
    char hint[96];
    canto_key_suggest(table, section, name, sizeof hint, hint);
    return canto_config_fail(place, "unknown key '%s' in %s%s", name, where, hint);
}

// --- model.mixers ---

static uint32_t mixer_key_bit(const char *name)
{
    return 1u << (canto_key_find(canto_mixer_keys, "", name) - canto_mixer_keys);
}

// What the kind decides where the entry is silent.
static canto_status complete_mixer(uint32_t seen, const canto_place *place,
                                   canto_mixer_config *mixer)
{
    if (!(seen & mixer_key_bit("letter"))) {
        return canto_config_fail(place, "a mixer needs a letter: write letter: X");
    }
    if (!(seen & mixer_key_bit("kind"))) {
        return canto_config_fail(place, "mixer %c needs a kind: write kind: softmax, for example",
                                 mixer->letter);
    }
    if (!(seen & mixer_key_bit("decay"))) mixer->decay = mixer->kind->decay;
    if (!(seen & mixer_key_bit("normaliser"))) mixer->normaliser = mixer->kind->ones;
    if (!(seen & mixer_key_bit("rope"))) mixer->rope = mixer->kind->softmax;
    return CANTO_OK;
}

static canto_status read_mixer(reader *in, canto_mixer_config *out)
{
    const canto_place start = here(in);
    if (in->event.type != YAML_MAPPING_START_EVENT) {
        return canto_config_fail(&start, "a mixer must be written {letter: X, kind: ...}");
    }
    memset(out, 0, sizeof *out);
    uint32_t seen = 0;
    CANTO_TRY(next(in));
    while (in->event.type != YAML_MAPPING_END_EVENT) {
        char name[sizeof(canto_quote)];
        const canto_place place = here(in);
        CANTO_TRY(read_name(in, sizeof name, name));
        const canto_key *key = canto_key_find(canto_mixer_keys, "", name);
        if (!key) return fail_unknown(canto_mixer_keys, "", name, "a mixer", &place);
        if (seen & mixer_key_bit(name)) {
            return canto_config_fail(&place, "%s is given twice in this mixer", name);
        }
        seen |= mixer_key_bit(name);
        CANTO_TRY(next(in));
        CANTO_TRY(read_scalar(in, key, &place, out));
        CANTO_TRY(next(in));
    }
    return complete_mixer(seen, &start, out);
}

// Adds a mixer, or puts it in the place of the one with its letter.
static canto_status put_mixer(canto_model_config *model, const canto_mixer_config *mixer,
                              const canto_place *place)
{
    int at = 0;
    while (at < model->mixers_n && model->mixers[at].letter != mixer->letter) at++;
    if (at == CANTO_MIXERS_MAX) {
        return canto_config_fail(
            place, "model.mixers must have at most %d letters, L and S included", CANTO_MIXERS_MAX);
    }
    if (at == model->mixers_n) model->mixers_n++;
    model->mixers[at] = *mixer;
    return CANTO_OK;
}

static canto_status read_mixers(reader *in, const canto_key *key, const canto_place *named)
{
    CANTO_TRY(expect_list(in, key, named));
    canto_model_config *model = &in->config->model;
    memset(model->mixers, 0, sizeof model->mixers);
    model->mixers_n = 0;
    if (!in->predefined) {
        CANTO_TRY(canto_config_yaml_list(key, named, true, key->initial, in->config));
    }
    bool given[256] = {false};
    CANTO_TRY(next(in));
    while (in->event.type != YAML_SEQUENCE_END_EVENT) {
        const canto_place place = here(in);
        canto_mixer_config mixer;
        CANTO_TRY(read_mixer(in, &mixer));
        if (given[(unsigned char)mixer.letter]) {
            return canto_config_fail(&place, "model.mixers has letter %c twice", mixer.letter);
        }
        given[(unsigned char)mixer.letter] = true;
        CANTO_TRY(put_mixer(model, &mixer, &place));
        CANTO_TRY(next(in));
    }
    return CANTO_OK;
}

// --- sections ---

static canto_status read_value(reader *in, const canto_key *key, const canto_place *named)
{
    if (key->type == CANTO_KEY_INTS) return read_ints(in, key, named);
    if (key->type == CANTO_KEY_MIXERS) return read_mixers(in, key, named);
    return read_scalar(in, key, named, in->config);
}

static canto_status read_section(reader *in, const char *section)
{
    char prefix[sizeof(canto_quote) + 1], where[sizeof(canto_quote) + 16];
    snprintf(prefix, sizeof prefix, "%s.", section);
    snprintf(where, sizeof where, "section %s", section);
    CANTO_TRY(next(in));
    while (in->event.type != YAML_MAPPING_END_EVENT) {
        char name[sizeof(canto_quote)];
        const canto_place place = here(in);
        CANTO_TRY(read_name(in, sizeof name, name));
        const canto_key *key = canto_key_find(canto_keys, prefix, name);
        if (!key) return fail_unknown(canto_keys, prefix, name, where, &place);
        canto_setting *setting = &in->settings[key - canto_keys];
        if (setting->origin == CANTO_ORIGIN_FILE) {
            return canto_config_fail(&place, "%s is given twice, first in line %lld", key->name,
                                     (long long)setting->line);
        }
        CANTO_TRY(next(in));
        const canto_place value = here(in);
        *setting = (canto_setting){CANTO_ORIGIN_FILE, value.line, value.column};
        CANTO_TRY(read_value(in, key, &place));
        CANTO_TRY(next(in));
    }
    return CANTO_OK;
}

static canto_status fail_section(const char *name, const canto_place *place)
{
    char hint[96];
    canto_section_suggest(name, sizeof hint, hint);
    if (hint[0] == '\0') canto_key_suggest(canto_keys, "", name, sizeof hint, hint);
    return canto_config_fail(place, "unknown section '%s'%s", name, hint);
}

static canto_status fail_section_value(const reader *in, const char *name, const canto_place *named)
{
    const canto_place place = here(in);
    if (scalar_null(in)) {
        return canto_config_fail(named, "section %s has no keys: write some below it, or remove it",
                                 name);
    }
    return canto_config_fail(&place, "section %s must consist of keys: write key: value", name);
}

static canto_status read_sections(reader *in)
{
    char seen[256] = " "; // " train model "
    CANTO_TRY(next(in));
    while (in->event.type != YAML_MAPPING_END_EVENT) {
        char name[sizeof(canto_quote)], word[sizeof(canto_quote) + 2];
        const canto_place place = here(in);
        CANTO_TRY(read_name(in, sizeof name, name));
        if (!canto_key_is_section(name)) return fail_section(name, &place);
        snprintf(word, sizeof word, " %s ", name);
        if (strstr(seen, word)) {
            return canto_config_fail(&place, "section %s is given twice: join the two", name);
        }
        strncat(seen, word + 1, sizeof seen - strlen(seen) - 1);
        CANTO_TRY(next(in));
        if (in->event.type != YAML_MAPPING_START_EVENT) return fail_section_value(in, name, &place);
        CANTO_TRY(read_section(in, name));
        CANTO_TRY(next(in));
    }
    return CANTO_OK;
}

// --- whole texts ---

static canto_status fail_root(const reader *in)
{
    const canto_place place = here(in);
    if (in->command_line) return canto_config_fail(&place, "no value: write [] for an empty list");
    if (in->event.type == YAML_STREAM_END_EVENT || scalar_null(in)) {
        return canto_config_fail(&place, "the file is empty: it has no section such as 'train:'");
    }
    return canto_config_fail(&place, "a configuration must consist of sections such as 'train:'");
}

// From the first event to the one that begins the only document.
static canto_status open_document(reader *in)
{
    CANTO_TRY(next(in)); // start of the stream
    CANTO_TRY(next(in));
    if (in->event.type == YAML_STREAM_END_EVENT) return fail_root(in);
    return next(in);
}

static canto_status close_document(reader *in)
{
    CANTO_TRY(next(in)); // end of the document
    CANTO_TRY(next(in));
    if (in->event.type == YAML_STREAM_END_EVENT) return CANTO_OK;
    const canto_place place = here(in);
    return canto_config_fail(&place, "a second document: a configuration has only one");
}

static canto_status read_file(reader *in)
{
    CANTO_TRY(open_document(in));
    if (in->event.type != YAML_MAPPING_START_EVENT) return fail_root(in);
    CANTO_TRY(read_sections(in));
    return close_document(in);
}

static canto_status read_list(reader *in, const canto_key *key)
{
    CANTO_TRY(open_document(in));
    const canto_place place = here(in);
    CANTO_TRY(read_value(in, key, &place));
    return close_document(in);
}

static canto_status open_reader(reader *in, const char *text, size_t length)
{
    if (!yaml_parser_initialize(&in->parser)) {
        CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for a YAML parser");
    }
    yaml_parser_set_encoding(&in->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&in->parser, (const unsigned char *)text, length);
    return CANTO_OK;
}

static void close_reader(reader *in)
{
    yaml_event_delete(&in->event);
    yaml_parser_delete(&in->parser);
}

canto_status canto_config_yaml(const char *name, const char *text, size_t length, canto_config *out,
                               canto_config_source *source)
{
    reader in = {.origin = {.name = name}, .config = out, .settings = source->settings};
    if (length > CANTO_CONFIG_FILE_MAX) {
        return canto_config_fail(&in.origin, "a configuration of more than %d bytes",
                                 CANTO_CONFIG_FILE_MAX);
    }
    const canto_place start = {.name = name, .line = 1, .column = 1};
    CANTO_TRY(canto_config_characters(&start, true, text, length));
    CANTO_TRY(open_reader(&in, text, length));
    canto_status status = read_file(&in);
    close_reader(&in);
    return status;
}

canto_status canto_config_yaml_list(const canto_key *key, const canto_place *place, bool predefined,
                                    const char *text, canto_config *out)
{
    reader in = {.origin = *place, .command_line = true, .predefined = predefined, .config = out};
    CANTO_TRY(open_reader(&in, text, strlen(text)));
    canto_status status = read_list(&in, key);
    close_reader(&in);
    return status;
}
