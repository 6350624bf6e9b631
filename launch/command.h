// The commands of the program: each takes its own arguments (argv[0] is the command's name) and
// returns the exit code.
#ifndef CANTO_LAUNCH_COMMAND_H
#define CANTO_LAUNCH_COMMAND_H

#include <stdbool.h>

typedef struct canto_command {
    const char *name;
    const char *arguments; // for --help
    const char *help;      // one line
    bool alone;            // one process: under a launcher only its rank 0 does it
    int (*run)(int argc, char **argv);
} canto_command;

extern const canto_command canto_commands[]; // ended by name NULL

int canto_command_train(int argc, char **argv);
int canto_command_eval(int argc, char **argv);
int canto_command_generate(int argc, char **argv);
int canto_command_ckpt(int argc, char **argv);
int canto_command_config(int argc, char **argv);
int canto_command_plot(int argc, char **argv);
int canto_command_man(int argc, char **argv);

#endif
