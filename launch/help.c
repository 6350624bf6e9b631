// `canto --help` and `canto GROUP --help`: the commands, from their table.
#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/version.h"

enum { NAME_WIDTH = 12 };

static void write_commands(const char *group, FILE *stream)
{
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (group && !canto_command_in_group(c, group)) continue;
        fprintf(stream, "  canto %-*s  %s%s\n        %-*s  %s\n", NAME_WIDTH, c->name,
                c->positional, c->options ? *c->positional ? " [OPTION...]" : "[OPTION...]" : "",
                NAME_WIDTH, "", c->summary);
    }
}

void canto_help_write(const char *group, FILE *stream)
{
    if (group) {
        fprintf(stream, "Usage: canto %s COMMAND [ARGUMENT...]\n\n", group);
        write_commands(group, stream);
        fprintf(stream, "\n`canto %s COMMAND --help` tells more.\n", group);
        return;
    }
    fprintf(stream, "canto %s: trains and runs language models on long sequences, over MPI\n\n",
            canto_version());
    write_commands(NULL, stream);
    fprintf(stream, "  canto %-*s\n        %-*s  this build and its libraries\n\n", NAME_WIDTH,
            "--version", NAME_WIDTH, "");
    fprintf(stream, "`canto COMMAND --help` tells more. Exit codes:\n\n");
    canto_exit_table(stream, false);
}
