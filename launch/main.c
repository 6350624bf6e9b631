// The program: finds the command and runs it.
#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/job.h"
#include "launch/version.h"

#include <stdio.h>
#include <string.h>

const canto_command canto_commands[] = {
    {"train", "CONFIG [KEY=VALUE...]", "start or continue a run", false, canto_command_train},
    {"eval", "RUN [KEY=VALUE...] [--step N] [--orders] [--json]", "bits per byte on held-out text",
     false, canto_command_eval},
    {"generate", "RUN [-p TEXT] [-n N] [--temperature X] [--top-k K] [--seed N] [--step N]",
     "write text", true, canto_command_generate},
    {"ckpt", "ls RUN | verify RUN [--step N] [--json]", "list or check checkpoints", true,
     canto_command_ckpt},
    {"config", "show [CONFIG] [KEY=VALUE...] | keys [--json]", "what is configured, and from where",
     true, canto_command_config},
    {"plot", "RUN", "loss curve as SVG", true, canto_command_plot},
    {"man", "", "this program's manual page", true, canto_command_man},
    {NULL, NULL, NULL, false, NULL},
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

static const canto_command *find_command(const char *name)
{
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (strcmp(name, c->name) == 0) return c;
    }
    return NULL;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "--help";
    const canto_command *command = find_command(name);
    bool help = strcmp(name, "--help") == 0 || strcmp(name, "help") == 0;
    bool version = strcmp(name, "--version") == 0;
    if (!command && !help && !version) {
        canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                          "'%s' is not a command; `canto --help` lists them", name);
        return canto_job_refuse(CANTO_ERROR_CONFIG);
    }
    // Started by mpirun out of habit, it is still done and told once.
    if ((!command || command->alone) && canto_job_rank_hint() != 0) return CANTO_EXIT_DONE;
    if (command) return command->run(argc - 1, argv + 1);
    if (help)
        print_help(stdout);
    else
        canto_version_print(stdout);
    return CANTO_EXIT_DONE;
}
