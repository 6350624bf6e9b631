// A hyphen in roff is typographic; in names and numbers it has to stay what was typed.
#include "launch/roff.h"

#include <stdbool.h>

void canto_roff_write(const char *text, FILE *stream)
{
    bool first = true; // of a line, where a dot or an apostrophe begins a request
    for (const char *at = text; *at; at++) {
        if (first && (*at == '.' || *at == '\'')) fputs("\\&", stream);
        first = *at == '\n';
        switch (*at) {
        case '-':
            fputs("\\-", stream);
            break;
        case '\\':
            fputs("\\e", stream);
            break;
        case '\'':
            fputs("\\(aq", stream);
            break;
        case '`':
            fputs("\\(ga", stream);
            break;
        case '"':
            fputs("\\(dq", stream);
            break;
        case '~':
            fputs("\\(ti", stream);
            break;
        case '^':
            fputs("\\(ha", stream);
            break;
        default:
            fputc(*at, stream);
        }
    }
}
