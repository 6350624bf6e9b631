// The program: finds the command and runs it.
#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/job.h"
#include "launch/version.h"

#include <stdio.h>
#include <string.h>

const canto_command canto_commands[] = {
    {"train", "CONFIG [KEY=VALUE...]", "start or continue a run", canto_command_train},
    {"eval", "RUN [KEY=VALUE...] [--orders] [--json]", "bits per byte on held-out text",
     canto_command_eval},
    {"generate", "RUN [-p TEXT] [-n N] [--temperature X] [--top-k K] [--seed N]", "write text",
     canto_command_generate},
    {"ckpt", "ls RUN | verify RUN [--step N] [--json]", "list or check checkpoints",
     canto_command_ckpt},
    {"config", "show [CONFIG] [KEY=VALUE...] [--json] | keys", "what is configured, and from where",
     canto_command_config},
    {"plot", "RUN", "loss curve as SVG", canto_command_plot},
    {"man", "", "this program's manual page", canto_command_man},
    {NULL, NULL, NULL, NULL},
};

static void print_help(FILE *stream)
{
    fprintf(stream, "canto %s: trains and runs language models on long sequences, over MPI\n\n",
            canto_version());
    for (const canto_command *c = canto_commands; c->name; c++)
        fprintf(stream, "  canto %-8s %s\n                 %s\n", c->name, c->arguments, c->help);
    fprintf(stream, "  canto --version\n                 this build and its libraries\n\n`canto "
                    "COMMAND --help` tells more. Exit codes:\n\n");
    canto_exit_table(stream, false);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0) {
        print_help(stdout);
        return CANTO_EXIT_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        canto_version_print(stdout);
        return CANTO_EXIT_DONE;
    }
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (strcmp(name, c->name) == 0) return c->run(argc - 1, argv + 1);
    }
    canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                      "'%s' is not a command; `canto --help` lists them", name);
    return canto_job_refuse(CANTO_ERROR_CONFIG);
}
