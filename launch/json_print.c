// One form of JSON for all commands.
#include "launch/json_print.h"

#include <jansson.h>

void canto_json_print(json_t *value, FILE *stream)
{
    json_dumpf(value, stream, JSON_INDENT(2));
    fputc('\n', stream);
    json_decref(value);
}
