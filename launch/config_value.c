// Values of keys from text and back: numbers in full and nothing after them, in range, finite;
// written in the shortest form that reads back to the same bits.
#define _POSIX_C_SOURCE 200809L
#include "launch/config_keys.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// What is being read: a scalar for a key, at a place.
typedef struct scalar {
    const canto_key *key;
    const canto_config_place *place;
    const char *text; // ended by NUL
    size_t length;
    bool plain;
} scalar;

static void *field_of(const canto_key *key, void *base)
{
    return (char *)base + key->offset;
}

static const void *const_field(const canto_key *key, const void *base)
{
    return (const char *)base + key->offset;
}

static const char *shown(const scalar *from, canto_quote *quote)
{
    *quote = canto_quote_make(from->text, from->length);
    return quote->text;
}

static canto_status fail_type(const scalar *from)
{
    canto_quote quote;
    return canto_config_fail(from->place, "%s must be %s, not %s'%s'", from->key->name,
                             canto_key_type_name(from->key), from->plain ? "" : "the quoted text ",
                             shown(from, &quote));
}

static canto_status fail_range(const scalar *from)
{
    const canto_key *key = from->key;
    canto_quote quote;
    return canto_config_fail(from->place, "%s must lie between %.16g and %.16g, not %s", key->name,
                             key->min, key->max, shown(from, &quote));
}

static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

// Bytes of the decimal number at the start of `text`, 0 if there is none; tells whether it is an
// integer. strtod alone would also take hexadecimal, "nan" and leading blanks.
static size_t number_length(const char *text, bool *integer)
{
    const char *at = text;
    if (*at == '+' || *at == '-') at++;
    size_t whole = digits(at), fraction = 0;
    at += whole;
    *integer = *at != '.';
    if (*at == '.') {
        fraction = digits(at + 1);
        at += 1 + fraction;
    }
    if (whole + fraction == 0) return 0;
    if (*at == 'e' || *at == 'E') {
        size_t sign = at[1] == '+' || at[1] == '-';
        size_t exponent = digits(at + 1 + sign);
        if (exponent > 0) {
            at += 1 + sign + exponent;
            *integer = false;
        }
    }
    return (size_t)(at - text);
}

// Refuses what is no number, what follows one, and quoted numbers.
static canto_status check_number(const scalar *from, bool *integer)
{
    size_t length = number_length(from->text, integer);
    const char *word = from->text + (from->text[0] == '-' || from->text[0] == '+');
    word += *word == '.';
    if (from->plain && (strncasecmp(word, "nan", 3) == 0 || strncasecmp(word, "inf", 3) == 0)) {
        canto_quote quote;
        return canto_config_fail(from->place, "%s must be a finite number, not %s", from->key->name,
                                 shown(from, &quote));
    }
    if (length == 0 || !from->plain) return fail_type(from);
    if (length < from->length) {
        canto_quote quote, rest = canto_quote_make(from->text + length, from->length - length);
        return canto_config_fail(from->place, "%s must be %s, but '%s' has '%s' after the number",
                                 from->key->name, canto_key_type_name(from->key),
                                 shown(from, &quote), rest.text);
    }
    return CANTO_OK;
}

static canto_status read_int(const scalar *from, void *base)
{
    const canto_key *key = from->key;
    bool integer;
    CANTO_TRY(check_number(from, &integer));
    if (!integer) return fail_type(from);
    const char *first = from->text + (from->text[0] == '-' || from->text[0] == '+');
    if (first[0] == '0' && first[1] != '\0') {
        canto_quote quote;
        return canto_config_fail(from->place,
                                 "%s: %s begins with 0, which some read as octal; leave the 0 out",
                                 key->name, shown(from, &quote));
    }
    errno = 0;
    long long value = strtoll(from->text, NULL, 10);
    if (errno == ERANGE || (double)value < key->min || (double)value > key->max) {
        return fail_range(from);
    }
    if (key->size == sizeof(int)) {
        *(int *)field_of(key, base) = (int)value;
    } else {
        *(int64_t *)field_of(key, base) = value;
    }
    return CANTO_OK;
}

static canto_status read_float(const scalar *from, void *base)
{
    bool integer;
    CANTO_TRY(check_number(from, &integer));
    double value = strtod(from->text, NULL);
    if (!(value >= from->key->min && value <= from->key->max)) return fail_range(from);
    *(double *)field_of(from->key, base) = value;
    return CANTO_OK;
}

static canto_status read_bool(const scalar *from, void *base)
{
    bool yes = strcmp(from->text, "true") == 0;
    if (!from->plain || (!yes && strcmp(from->text, "false") != 0)) return fail_type(from);
    *(bool *)field_of(from->key, base) = yes;
    return CANTO_OK;
}

static canto_status read_text(const scalar *from, void *base)
{
    const canto_key *key = from->key;
    if (strlen(from->text) != from->length) {
        return canto_config_fail(from->place, "%s must not contain a NUL byte", key->name);
    }
    if (from->length >= key->size) {
        return canto_config_fail(from->place, "%s must be at most %zu bytes long, not %zu",
                                 key->name, key->size - 1, from->length);
    }
    if ((double)from->length < key->min) {
        return canto_config_fail(from->place, "%s must not be empty", key->name);
    }
    memset(field_of(key, base), 0, key->size);
    memcpy(field_of(key, base), from->text, from->length);
    return CANTO_OK;
}

static canto_status read_letter(const scalar *from, void *base)
{
    if (from->length != 1 || !isalpha((unsigned char)from->text[0])) return fail_type(from);
    *(char *)field_of(from->key, base) = from->text[0];
    return CANTO_OK;
}

static canto_status read_choice(const scalar *from, void *base)
{
    const canto_choices *choices = from->key->choices;
    char list[256] = "";
    size_t used = 0;
    for (int i = 0; choices->name(i); i++) {
        if (strcmp(choices->name(i), from->text) == 0 && strlen(from->text) == from->length) {
            choices->set(field_of(from->key, base), i);
            return CANTO_OK;
        }
        if (used < sizeof list) {
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                     choices->name(i));
        }
    }
    canto_quote quote;
    const char *needs = choices->needs ? choices->needs(from->text) : NULL;
    if (needs)
        return canto_config_fail(from->place, "%s must be one of %s here; '%s' needs %s",
                                 from->key->name, list, shown(from, &quote), needs);
    return canto_config_fail(from->place, "%s must be one of %s, not '%s'", from->key->name, list,
                             shown(from, &quote));
}

static void write_int(const canto_key *key, const void *base, FILE *stream)
{
    const void *field = const_field(key, base);
    int64_t value = key->size == sizeof(int) ? *(const int *)field : *(const int64_t *)field;
    fprintf(stream, "%lld", (long long)value);
}

void canto_float_write(double value, FILE *stream)
{
    char text[40];
    if (value == rint(value) && fabs(value) < 1e15) { // 300, not 3e+02
        fprintf(stream, "%.0f", value);
        return;
    }
    for (int precision = 1; precision <= 17; precision++) {
        snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value) break;
    }
    fputs(text, stream);
}

static void write_float(const canto_key *key, const void *base, FILE *stream)
{
    canto_float_write(*(const double *)const_field(key, base), stream);
}

static void write_bool(const canto_key *key, const void *base, FILE *stream)
{
    fputs(*(const bool *)const_field(key, base) ? "true" : "false", stream);
}

// In double quotes, with escapes for what YAML would not take, fold or misread.
static void write_text(const canto_key *key, const void *base, FILE *stream)
{
    const char *text = const_field(key, base);
    size_t length = strlen(text);
    int bytes;
    fputc('"', stream);
    for (size_t i = 0; i < length; i += (size_t)bytes) {
        uint32_t code = canto_utf8_decode(text + i, length - i, &bytes);
        if (bytes == 0) bytes = 1; // cannot be: texts are checked when they are read
        if (code == '"' || code == '\\') {
            fprintf(stream, "\\%c", (char)code);
        } else if (code == '\n') {
            fputs("\\n", stream);
        } else if (code < 0x20 || code == 0x2028 || code == 0x2029 || !canto_yaml_printable(code)) {
            fprintf(stream, "\\u%04X", (unsigned)code);
        } else {
            fwrite(text + i, 1, (size_t)bytes, stream);
        }
    }
    fputc('"', stream);
}

static void write_letter(const canto_key *key, const void *base, FILE *stream)
{
    fputc(*(const char *)const_field(key, base), stream);
}

static void write_choice(const canto_key *key, const void *base, FILE *stream)
{
    int index = key->choices->get(const_field(key, base));
    fputs(index < 0 ? "null" : key->choices->name(index), stream);
}

static int list_count(const canto_key *key, const void *base)
{
    return *(const int *)((const char *)base + key->count);
}

static void write_ints(const canto_key *key, const void *base, FILE *stream)
{
    const int *list = const_field(key, base);
    fputc('[', stream);
    for (int i = 0; i < list_count(key, base); i++) {
        fprintf(stream, "%s%d", i ? ", " : "", list[i]);
    }
    fputc(']', stream);
}

void canto_mixer_write(const canto_mixer_config *mixer, FILE *stream)
{
    fputc('{', stream);
    for (const canto_key *key = canto_mixer_keys; key->name; key++) {
        fprintf(stream, "%s%s: ", key == canto_mixer_keys ? "" : ", ", key->name);
        canto_value_write(key, mixer, stream);
    }
    fputc('}', stream);
}

static void write_mixers(const canto_key *key, const void *base, FILE *stream)
{
    const canto_mixer_config *list = const_field(key, base);
    fputc('[', stream);
    for (int i = 0; i < list_count(key, base); i++) {
        if (i) fputs(", ", stream);
        canto_mixer_write(&list[i], stream);
    }
    fputc(']', stream);
}

static const struct {
    const char *name;
    canto_status (*read)(const scalar *from, void *base); // NULL: a list
    void (*write)(const canto_key *key, const void *base, FILE *stream);
} types[] = {
    [CANTO_KEY_INT] = {"an integer", read_int, write_int},
    [CANTO_KEY_FLOAT] = {"a number", read_float, write_float},
    [CANTO_KEY_BOOL] = {"true or false", read_bool, write_bool},
    [CANTO_KEY_TEXT] = {"text", read_text, write_text},
    [CANTO_KEY_LETTER] = {"a letter", read_letter, write_letter},
    [CANTO_KEY_CHOICE] = {"a word", read_choice, write_choice},
    [CANTO_KEY_INTS] = {"a list of integers", NULL, write_ints},
    [CANTO_KEY_MIXERS] = {"a list of mixers", NULL, write_mixers},
};

const char *canto_key_type_name(const canto_key *key)
{
    return types[key->type].name;
}

bool canto_key_is_list(const canto_key *key)
{
    return !types[key->type].read;
}

canto_status canto_value_read(const canto_key *key, const canto_config_place *place,
                              const char *text, size_t length, bool plain, void *base)
{
    const scalar from = {key, place, text, length, plain};
    if (canto_key_is_list(key)) return fail_type(&from);
    return types[key->type].read(&from, base);
}

void canto_value_write(const canto_key *key, const void *base, FILE *stream)
{
    types[key->type].write(key, base, stream);
}

char *canto_value_text(const canto_key *key, const void *base)
{
    char *text = NULL;
    size_t length = 0;
    FILE *stream = open_memstream(&text, &length);
    if (!stream) return NULL;
    canto_value_write(key, base, stream);
    fclose(stream);
    return text;
}
