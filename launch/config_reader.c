// libyaml's events as nodes, and the two nodes that everything consists of: names and scalars.
#include "launch/config_reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

typedef struct library {
    yaml_parser_t parser;
    yaml_event_t event; // current; YAML_NO_EVENT before the first
} library;

static canto_config_place place_of(const canto_reader *in, yaml_mark_t mark)
{
    canto_config_place place = in->origin;
    if (place.line > 0) {
        place.line = (int64_t)mark.line + 1;
        place.column = (int64_t)mark.column + 1;
    }
    return place;
}

canto_status canto_reader_open(canto_reader *in, const canto_config_place *origin, const char *text,
                               size_t length)
{
    library *yaml = calloc(1, sizeof *yaml);
    if (!yaml || !yaml_parser_initialize(&yaml->parser)) {
        free(yaml);
        CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for a YAML parser");
    }
    yaml_parser_set_encoding(&yaml->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&yaml->parser, (const unsigned char *)text, length);
    *in = (canto_reader){.origin = *origin, .place = *origin, .yaml = yaml};
    return CANTO_OK;
}

void canto_reader_close(canto_reader *in)
{
    library *yaml = in->yaml;
    yaml_event_delete(&yaml->event);
    yaml_parser_delete(&yaml->parser);
    free(yaml);
    in->yaml = NULL;
}

static canto_status fail_syntax(const canto_reader *in, const yaml_parser_t *parser)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to read the configuration");
    }
    bool reading = parser->error == YAML_READER_ERROR;
    const canto_config_place place = place_of(in, reading ? parser->mark : parser->problem_mark);
    const char *problem = parser->problem ? parser->problem : "cannot be read";
    if (!parser->context || place.line == 0) {
        return canto_config_fail(&place, "not valid YAML: %s", problem);
    }
    return canto_config_fail(&place, "not valid YAML: %s (%s that began in line %zu)", problem,
                             parser->context, parser->context_mark.line + 1);
}

// What the event's type is called here, and what it carries that is not used here.
static canto_node translate(const yaml_event_t *event, const yaml_char_t **anchor,
                            const yaml_char_t **tag)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        *anchor = event->data.scalar.anchor;
        *tag = event->data.scalar.tag;
        return CANTO_NODE_SCALAR;
    case YAML_SEQUENCE_START_EVENT:
        *anchor = event->data.sequence_start.anchor;
        *tag = event->data.sequence_start.tag;
        return CANTO_NODE_LIST;
    case YAML_MAPPING_START_EVENT:
        *anchor = event->data.mapping_start.anchor;
        *tag = event->data.mapping_start.tag;
        return CANTO_NODE_MAPPING;
    case YAML_ALIAS_EVENT:
        *anchor = event->data.alias.anchor;
        return CANTO_NODE_SCALAR;
    case YAML_SEQUENCE_END_EVENT:
        return CANTO_NODE_LIST_END;
    case YAML_MAPPING_END_EVENT:
        return CANTO_NODE_MAPPING_END;
    case YAML_DOCUMENT_START_EVENT:
        return CANTO_NODE_DOCUMENT;
    case YAML_DOCUMENT_END_EVENT:
        return CANTO_NODE_DOCUMENT_END;
    default:
        return CANTO_NODE_END;
    }
}

canto_status canto_reader_next(canto_reader *in)
{
    library *yaml = in->yaml;
    do {
        yaml_event_delete(&yaml->event);
        if (!yaml_parser_parse(&yaml->parser, &yaml->event)) return fail_syntax(in, &yaml->parser);
    } while (yaml->event.type == YAML_STREAM_START_EVENT);
    const yaml_char_t *anchor = NULL, *tag = NULL;
    in->node = translate(&yaml->event, &anchor, &tag);
    in->place = place_of(in, yaml->event.start_mark);
    if (anchor) {
        return canto_config_fail(&in->place,
                                 "anchors and aliases are not used here: write the value out");
    }
    if (tag) return canto_config_fail(&in->place, "tags are not used here: remove it");
    if (in->node == CANTO_NODE_SCALAR) {
        in->text = (const char *)yaml->event.data.scalar.value;
        in->length = yaml->event.data.scalar.length;
        in->plain = yaml->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    }
    return CANTO_OK;
}

bool canto_reader_null(const canto_reader *in)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
    if (in->node != CANTO_NODE_SCALAR || !in->plain) return false;
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++) {
        if (strcmp(in->text, nulls[i]) == 0) return true;
    }
    return false;
}

canto_status canto_reader_name(const canto_reader *in, size_t size, char *name)
{
    if (in->node != CANTO_NODE_SCALAR) {
        return canto_config_fail(&in->place, "a key must be a word");
    }
    snprintf(name, size, "%s", canto_quote_make(in->text, in->length).text);
    return CANTO_OK;
}

canto_status canto_reader_scalar(const canto_reader *in, const canto_key *key,
                                 const canto_config_place *named, void *base)
{
    if (in->node != CANTO_NODE_SCALAR) {
        return canto_config_fail(&in->place, "%s must be %s, not a %s", key->name,
                                 canto_key_type_name(key),
                                 in->node == CANTO_NODE_LIST ? "list" : "mapping of keys");
    }
    if (canto_reader_null(in)) {
        return canto_config_fail(named, "%s has no value: write one, or remove the key", key->name);
    }
    return canto_value_read(key, &in->place, in->text, in->length, in->plain, base);
}
