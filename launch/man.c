// canto man: the manual page, made from the tables of commands, keys and exit codes.
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/config.h"
#include "launch/exit_code.h"
#include "launch/version.h"

#include <stdio.h>

static void commands(void)
{
    printf(".SH COMMANDS\n");
    for (const canto_command *c = canto_commands; c->name; c++)
        printf(".TP\n.B %s %s\n%s\n", c->name, c->arguments, c->help);
}

int canto_command_man(int argc, char **argv)
{
    canto_arguments a;
    int code = canto_arguments_parse(&canto_arguments_man, argc, argv, &a);
    if (code >= 0) return code;
    printf(".TH CANTO 1 \"\" \"canto %s\"\n.SH NAME\ncanto \\- train and run language models on "
           "long sequences, over MPI\n",
           canto_version());
    printf(".SH SYNOPSIS\n.B canto\n.I COMMAND\n[arguments]\n.br\n.B mpirun \\-n\n.I RANKS\n.B "
           "canto train\n.I CONFIG\n[KEY=VALUE...]\n");
    printf(
        ".SH DESCRIPTION\nA configuration is a YAML file with the keys below; any of them can be "
        "given on the command line as KEY=VALUE.\n");
    commands();
    canto_config_help(stdout, true);
    printf(".SH EXIT STATUS\n");
    canto_exit_table(stdout, true);
    printf(".SH SIGNALS\n.TP\n.B USR1\nsave after the current step\n.TP\n.B USR2\nsave after the "
           "current step and leave with status 75\n");
    return CANTO_EXIT_DONE;
}
