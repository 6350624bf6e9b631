// The table of keys as a page for people (plain, or roff for the man page) and as JSON for
// programs.
#define _POSIX_C_SOURCE 200809L
#include "launch/config_keys.h"
#include "launch/json_print.h"
#include "launch/roff.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

enum { NAME_WIDTH = 22 };

static const char *note_of(const canto_key *key, int choice)
{
    return key->choices->note ? key->choices->note(choice) : NULL;
}

static bool is_number(const canto_key *key)
{
    return key->type == CANTO_KEY_INT || key->type == CANTO_KEY_FLOAT;
}

// --- for people ---

static void write_type(const canto_key *key, FILE *stream)
{
    switch (key->type) {
    case CANTO_KEY_INT:
    case CANTO_KEY_FLOAT:
        fprintf(stream, "%s from ", key->type == CANTO_KEY_INT ? "integer" : "number");
        canto_float_write(key->min, stream);
        fputs(" to ", stream);
        canto_float_write(key->max, stream);
        break;
    case CANTO_KEY_CHOICE:
        for (int i = 0; key->choices->name(i); i++) {
            fprintf(stream, "%s%s", i ? ", " : "one of ", key->choices->name(i));
        }
        break;
    default:
        fputs(canto_key_type_name(key), stream);
    }
}

static void write_facts(const canto_key *key, FILE *stream)
{
    write_type(key, stream);
    if (key->type == CANTO_KEY_MIXERS || !key->initial) return;
    fprintf(stream, "; default %s", key->initial[0] ? key->initial : "empty");
}

static void notes_plain(const canto_key *key, const char *indent, FILE *stream)
{
    for (int i = 0; key->type == CANTO_KEY_CHOICE && key->choices->name(i); i++) {
        const char *note = note_of(key, i);
        if (!note) continue;
        fprintf(stream, "%s%-*s    %s: %s\n", indent, NAME_WIDTH, "", key->choices->name(i), note);
    }
}

static void help_plain(const canto_key *table, const char *indent, FILE *stream)
{
    for (const canto_key *key = table; key->name; key++) {
        if (table == canto_keys && canto_key_begins_section(key)) {
            fprintf(stream, "\n%.*s\n", canto_key_section(key), key->name);
        }
        fprintf(stream, "%s%-*s  ", indent, NAME_WIDTH, key->name);
        write_facts(key, stream);
        fprintf(stream, "\n%s%-*s  %s\n", indent, NAME_WIDTH, "", key->help);
        notes_plain(key, indent, stream);
        if (key->type == CANTO_KEY_MIXERS) help_plain(canto_mixer_keys, "    ", stream);
    }
}

static void notes_roff(const canto_key *key, FILE *stream)
{
    for (int i = 0; key->type == CANTO_KEY_CHOICE && key->choices->name(i); i++) {
        const char *note = note_of(key, i);
        if (!note) continue;
        fprintf(stream, ".br\n%s: ", key->choices->name(i));
        canto_roff_write(note, stream);
        fputc('\n', stream);
    }
}

static void help_roff(const canto_key *table, FILE *stream)
{
    for (const canto_key *key = table; key->name; key++) {
        if (table == canto_keys && canto_key_begins_section(key)) {
            fprintf(stream, ".SS %.*s\n", canto_key_section(key), key->name);
        }
        fprintf(stream, ".TP\n.B %s\n", key->name);
        char *facts = NULL;
        size_t length = 0;
        FILE *memory = open_memstream(&facts, &length);
        if (!memory) return;
        write_facts(key, memory);
        fclose(memory);
        canto_roff_write(key->help, stream);
        fputs("\n(", stream);
        canto_roff_write(facts, stream);
        fputs(")\n", stream);
        free(facts);
        notes_roff(key, stream);
        if (key->type == CANTO_KEY_MIXERS) {
            fputs(".RS\n", stream);
            help_roff(canto_mixer_keys, stream);
            fputs(".RE\n", stream);
        }
    }
}

void canto_config_help(FILE *stream, bool roff)
{
    if (roff) {
        fputs(".SH CONFIGURATION\n", stream);
        help_roff(canto_keys, stream);
    } else {
        fputs("Keys of a configuration file (section: key: value), or of the command line "
              "(section.key=value):\n",
              stream);
        help_plain(canto_keys, "  ", stream);
    }
}

// --- for programs ---

static json_t *json_choices(const canto_key *key)
{
    json_t *list = json_array();
    for (int i = 0; key->choices->name(i); i++) {
        const char *note = note_of(key, i);
        json_t *row = json_object();
        json_object_set_new(row, "value", json_string(key->choices->name(i)));
        json_object_set_new(row, "help", note ? json_string(note) : json_null());
        json_array_append_new(list, row);
    }
    return list;
}

static json_t *json_keys(const canto_key *table)
{
    json_t *list = json_array();
    for (const canto_key *key = table; key->name; key++) {
        json_t *row = json_object();
        json_object_set_new(row, "key", json_string(key->name));
        json_object_set_new(row, "type", json_string(canto_key_type_name(key)));
        json_object_set_new(row, "default", key->initial ? json_string(key->initial) : json_null());
        json_object_set_new(row, "help", json_string(key->help));
        if (is_number(key))
            json_object_set_new(row, "range", json_pack("[f, f]", key->min, key->max));
        if (key->type == CANTO_KEY_CHOICE) json_object_set_new(row, "choices", json_choices(key));
        if (key->type == CANTO_KEY_MIXERS)
            json_object_set_new(row, "keys", json_keys(canto_mixer_keys));
        json_array_append_new(list, row);
    }
    return list;
}

void canto_config_keys_json(FILE *stream)
{
    json_t *list = json_keys(canto_keys);
    canto_json_print(list, stream);
}
