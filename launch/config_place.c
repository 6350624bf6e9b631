// Sentences about a configuration: where it went wrong, and pieces of what was written there.
#define _POSIX_C_SOURCE 200809L
#include "launch/config_keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void write_place(const canto_config_place *place, size_t size, char *out)
{
    if (place->override) {
        canto_quote shown = canto_quote_make(place->override, strlen(place->override));
        snprintf(out, size, "command line: %s: ", shown.text);
    } else if (!place->name) {
        snprintf(out, size, "command line: ");
    } else if (place->line > 0) {
        snprintf(out, size, "%.200s:%lld:%lld: ", place->name, (long long)place->line,
                 (long long)place->column);
    } else {
        snprintf(out, size, "%.200s: ", place->name);
    }
}

canto_status canto_config_fail(const canto_config_place *place, const char *format, ...)
{
    char text[CANTO_MESSAGE_MAX];
    write_place(place, sizeof text, text);
    size_t used = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, sizeof text - used, format, args);
    va_end(args);
    // The first failure wins, as everywhere; adopting it leaves out the place in the program.
    if (canto_error_message()[0] == '\0') canto_error_adopt(text);
    return CANTO_ERROR_CONFIG;
}

void canto_config_locate(const canto_config_place *place)
{
    char text[2 * CANTO_MESSAGE_MAX];
    write_place(place, CANTO_MESSAGE_MAX, text);
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, "%s", canto_error_message());
    canto_error_adopt(text);
}

uint32_t canto_utf8_decode(const char *text, size_t length, int *bytes)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t least; // smaller code points have a shorter form
    } forms[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
    *bytes = 0;
    for (int n = 1; n <= 4 && (size_t)n <= length; n++) {
        unsigned char lead = (unsigned char)text[0];
        if ((lead & forms[n - 1].mask) != forms[n - 1].lead) continue;
        uint32_t code = lead & (unsigned char)~forms[n - 1].mask;
        for (int i = 1; i < n; i++) {
            if (((unsigned char)text[i] & 0xC0) != 0x80) return 0;
            code = code << 6 | ((unsigned char)text[i] & 0x3F);
        }
        bool surrogate = code >= 0xD800 && code <= 0xDFFF;
        if (code < forms[n - 1].least || code > 0x10FFFF || surrogate) return 0;
        *bytes = n;
        return code;
    }
    return 0;
}

bool canto_yaml_printable(uint32_t code)
{
    if (code < 0x20) return code == '\t' || code == '\n' || code == '\r';
    if (code >= 0x7F && code < 0xA0) return false;
    return code != 0xFEFF && code != 0xFFFE && code != 0xFFFF;
}

static bool line_break(uint32_t code, const char *next)
{
    return code == '\n' || (code == '\r' && *next != '\n') || code == 0x2028 || code == 0x2029;
}

canto_status canto_config_characters(const canto_config_place *start, bool indent, const char *text,
                                     size_t length)
{
    canto_config_place place = *start;
    bool blank = indent; // nothing but white space on this line so far
    int bytes;
    for (size_t i = 0; i < length; i += (size_t)bytes) {
        uint32_t code = canto_utf8_decode(text + i, length - i, &bytes);
        if (bytes == 0) {
            return canto_config_fail(&place, "byte 0x%02X is not UTF-8: save the text as UTF-8",
                                     (unsigned char)text[i]);
        }
        if (code == 0xFEFF) {
            return canto_config_fail(&place, "a byte order mark: save the file without it");
        }
        if (!canto_yaml_printable(code)) {
            return canto_config_fail(&place, "control character U+%04X: remove it", (unsigned)code);
        }
        if (blank && code == '\t') {
            return canto_config_fail(&place, "a tab in the indentation: use spaces");
        }
        bool ends = line_break(code, i + 1 < length ? text + i + 1 : "");
        blank = ends ? indent : blank && code == ' ';
        if (place.line > 0) {
            place.line += ends;
            place.column = ends ? 1 : place.column + 1;
        }
    }
    return CANTO_OK;
}

canto_quote canto_quote_make(const char *text, size_t length)
{
    canto_quote quote = {""};
    size_t used = 0;
    int bytes;
    for (size_t i = 0; i < length; i += (size_t)bytes) {
        uint32_t code = canto_utf8_decode(text + i, length - i, &bytes);
        if (used + 8 > sizeof quote.text) {
            memcpy(quote.text + used, "...", 3);
            break;
        }
        bool shown = bytes > 0 && code >= 0x20 && canto_yaml_printable(code);
        if (bytes == 0) bytes = 1;
        memcpy(quote.text + used, shown ? text + i : "?", shown ? (size_t)bytes : 1);
        used += shown ? (size_t)bytes : 1;
    }
    return quote;
}
