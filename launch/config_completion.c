// The table of keys as functions of bash: the keys, and what a key's value may be.
#include "launch/config_keys.h"

#include <string.h>

static bool ends_in(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);
    return n >= m && strcmp(name + n - m, end) == 0;
}

static void write_choices(const canto_key *key, FILE *stream)
{
    if (key->type == CANTO_KEY_CHOICE) {
        fprintf(stream, "    %s) choices='", key->name);
        for (int i = 0; key->choices->name(i); i++)
            fprintf(stream, "%s%s", i ? " " : "", key->choices->name(i));
        fputs("' ;;\n", stream);
    } else if (key->type == CANTO_KEY_BOOL) {
        fprintf(stream, "    %s) choices='true false' ;;\n", key->name);
    } else if (key->type == CANTO_KEY_TEXT && ends_in(key->name, ".path")) {
        fprintf(stream, "    %s) kind=file ;;\n", key->name);
    } else if (key->type == CANTO_KEY_TEXT && ends_in(key->name, ".dir")) {
        fprintf(stream, "    %s) kind=directory ;;\n", key->name);
    }
}

void canto_config_completion(FILE *stream)
{
    fputs("\n_canto_keys()\n{\n    echo '", stream);
    for (const canto_key *key = canto_keys; key->name; key++)
        fprintf(stream, "%s%s=", key == canto_keys ? "" : " ", key->name);
    fputs("'\n}\n\n_canto_choices()\n{\n    case $1 in\n", stream);
    for (const canto_key *key = canto_keys; key->name; key++) write_choices(key, stream);
    fputs("    esac\n}\n", stream);
}
