// The table of keys, and what the files that read, write and check a configuration share. Private
// to launch/config*.c and their test.
#ifndef CANTO_LAUNCH_CONFIG_KEYS_H
#define CANTO_LAUNCH_CONFIG_KEYS_H

#include "launch/config.h"

enum { CANTO_KEYS_MAX = 64, CANTO_CONFIG_FILE_MAX = 1 << 20 };

// How a value is read, checked and written: a row of canto_value_types in config_value.c. The two
// lists are read from YAML events (config_yaml.c).
typedef enum canto_key_type {
    CANTO_KEY_INT, // int or int64_t, by size
    CANTO_KEY_FLOAT,
    CANTO_KEY_BOOL,
    CANTO_KEY_TEXT,
    CANTO_KEY_LETTER,
    CANTO_KEY_CHOICE,
    CANTO_KEY_INTS,
    CANTO_KEY_MIXERS,
} canto_key_type;

// What a resumed run may do with a key.
typedef enum canto_key_resume {
    CANTO_RESUME_FIXED,
    CANTO_RESUME_FREE,
    CANTO_RESUME_UPWARDS
} canto_key_resume;

// The legal words of a key and what they stand for, usually the rows of a registry.
typedef struct canto_choices {
    const char *(*name)(int index); // NULL after the last
    void (*set)(void *field, int index);
    int (*get)(const void *field);  // index, -1: none
    const char *(*note)(int index); // one line about the word; NULL: it speaks for itself
    // What a word that is not there would need; NULL: nothing would help. The function may be NULL.
    const char *(*needs)(const char *word);
} canto_choices;

typedef struct canto_key {
    const char *name; // "train.lr"; in an entry of model.mixers only "heads"
    canto_key_type type;
    canto_key_resume resume;
    size_t offset, size;          // of the field
    size_t count;                 // lists: offset of the number of entries
    double min, max;              // numbers: range; text: smallest length, -
    const char *initial;          // default, as one would write it; NULL: see `help`
    const canto_choices *choices; // CANTO_KEY_CHOICE
    const char *help;             // one sentence
} canto_key;

extern const canto_key canto_keys[];       // of canto_config, by section, ended by name NULL
extern const canto_key canto_mixer_keys[]; // of canto_mixer_config, the same

// The key of that name in a table: `section` with its dot or "", NULL if there is none.
const canto_key *canto_key_find(const canto_key *table, const char *section, const char *name);
// Length of the name of the key's section, 0 in a mixer; whether it is the first key of its
// section.
int canto_key_section(const canto_key *key);
bool canto_key_begins_section(const canto_key *key);
bool canto_key_is_section(const char *name);
// Writes "; did you mean train.lr?" for a name that is no key, or "" if nothing is near. A key of
// that very name in another section is nearer than any misspelling.
void canto_key_suggest(const canto_key *table, const char *section, const char *name, size_t size,
                       char *out);
// The same for a section.
void canto_section_suggest(const char *name, size_t size, char *out);

// Where a value was written.
typedef struct canto_config_place {
    const char *name;     // file; NULL: command line
    const char *override; // the command line's argument, or NULL
    int64_t line, column; // 1-based; 0: unknown
} canto_config_place;

typedef struct canto_setting {
    canto_origin origin;
    int64_t line, column; // CANTO_ORIGIN_FILE
} canto_setting;

struct canto_config_source {
    char name[CANTO_TEXT_MAX];              // of the file, or "defaults"
    canto_setting settings[CANTO_KEYS_MAX]; // in the order of canto_keys
};

// CANTO_ERROR_CONFIG with the place and the sentence. The message carries no place in the program:
// it is for the person who wrote the configuration.
canto_status canto_config_fail(const canto_config_place *place, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// The stored message of a failure elsewhere, with the place before it.
void canto_config_locate(const canto_config_place *place);

// A quoted piece of somebody's text, shortened and without control characters, for messages.
typedef struct canto_quote {
    char text[64];
} canto_quote;
canto_quote canto_quote_make(const char *text, size_t length);

// Sets a field of `base` from text; `plain` as YAML means it: not quoted. Scalars only.
canto_status canto_value_read(const canto_key *key, const canto_config_place *place,
                              const char *text, size_t length, bool plain, void *base);
// Writes a field as YAML that canto_value_read and the YAML reader take back exactly.
void canto_value_write(const canto_key *key, const void *base, FILE *stream);
char *canto_value_text(const canto_key *key, const void *base); // the same; caller frees
const char *canto_key_type_name(const canto_key *key);          // "integer"
bool canto_key_is_list(const canto_key *key);
void canto_mixer_write(const canto_mixer_config *mixer, FILE *stream); // "{letter: L, ...}"
// The shortest decimal that reads back to the same number.
void canto_float_write(double value, FILE *stream);

// UTF-8, and only characters that YAML allows; with `indent`, no tab before the first word of a
// line. The place of a failure is set in a copy of `start`.
canto_status canto_config_characters(const canto_config_place *start, bool indent, const char *text,
                                     size_t length);
// One code point from `text`, and its bytes in *bytes (0: not UTF-8).
uint32_t canto_utf8_decode(const char *text, size_t length, int *bytes);
bool canto_yaml_printable(uint32_t code);

// Sets every key that the YAML text names, and its place in `source`.
canto_status canto_config_yaml(const char *name, const char *text, size_t length, canto_config *out,
                               canto_config_source *source);
// A list from YAML text, for defaults and overrides. `predefined`: the mixers are those that every
// configuration has; else they add to them or redefine them.
canto_status canto_config_yaml_list(const canto_key *key, const canto_config_place *place,
                                    bool predefined, const char *text, canto_config *out);

// What keys demand of each other, after everything is read; resolves the values that follow from
// others.
canto_status canto_config_check(canto_config *config, const canto_config_source *source);

#endif
