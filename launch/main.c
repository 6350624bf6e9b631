// The program: finds the command, reads its arguments and runs it.
#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/job.h"
#include "launch/version.h"

#include <string.h>

enum { TITLE_BYTES = 64 };

static int run(const canto_command *command, int argc, char **argv)
{
    // Started by mpirun out of habit, it is still done and told once.
    if (command->alone && canto_job_rank_hint() != 0) return CANTO_EXIT_DONE;
    char title[TITLE_BYTES]; // stands in messages
    snprintf(title, sizeof title, "canto %s", command->name);
    argv[0] = title;
    canto_arguments arguments;
    const int code = canto_arguments_parse(command, argc, argv, &arguments);
    return code >= 0 ? code : command->run(&arguments);
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "help") == 0;
}

static int refuse(const char *name, const char *second)
{
    if (canto_command_is_group(name) && !second)
        canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                          "'%s' needs one of its commands; `canto %s --help` lists them", name,
                          name);
    else if (canto_command_is_group(name))
        canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                          "'%s %s' is not a command; `canto %s --help` lists them", name, second,
                          name);
    else
        canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                          "'%s' is not a command; `canto --help` lists them", name);
    return canto_job_refuse(CANTO_ERROR_CONFIG);
}

int main(int argc, char **argv)
{
    int taken;
    const canto_command *command = canto_command_find(argc, argv, &taken);
    if (command) return run(command, argc - taken, argv + taken);
    const char *name = argc > 1 ? argv[1] : "--help";
    const char *second = argc > 2 ? argv[2] : NULL;
    const bool help = is_help(name);
    const bool group = canto_command_is_group(name) && second && is_help(second);
    const bool version = strcmp(name, "--version") == 0;
    if (!help && !group && !version) return refuse(name, second);
    if (canto_job_rank_hint() != 0) return CANTO_EXIT_DONE;
    if (version)
        canto_version_print(stdout);
    else
        canto_help_write(group ? name : NULL, stdout);
    return CANTO_EXIT_DONE;
}
