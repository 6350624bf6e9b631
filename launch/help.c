// `canto --help` and `canto GROUP --help`: the commands, from their table.
#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/version.h"

enum { NAME_WIDTH = 12 };

static void write_row(const char *name, const char *arguments, bool options, const char *summary,
                      FILE *stream)
{
    const char *rest = !options ? "" : *arguments ? " [OPTION...]" : "[OPTION...]";
    fprintf(stream, *arguments || options ? "  canto %-*s  %s%s\n" : "  canto %*s%s%s\n",
            *arguments || options ? NAME_WIDTH : 0, name, arguments, rest);
    fprintf(stream, "        %-*s  %s\n", NAME_WIDTH, "", summary);
}

static void write_commands(const char *group, FILE *stream)
{
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (group && !canto_command_in_group(c, group)) continue;
        write_row(c->name, c->positional, c->options != NULL, c->summary, stream);
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
    write_row("--version", "", false, "this build and its libraries", stream);
    fprintf(stream, "\n`canto COMMAND --help` tells more. Exit codes:\n\n");
    canto_exit_table(stream, false);
}
