// The commands of the program, their arguments and options: one table of each, from which the
// parser, --help, the manual pages and the completion of shells come. A new command is a row of
// canto_commands (command.c), a new option a row of canto_options (options.c) and a field of
// canto_arguments.
#ifndef CANTO_LAUNCH_COMMAND_H
#define CANTO_LAUNCH_COMMAND_H

#include "launch/arguments.h"

#include <stdio.h>

typedef struct canto_command {
    const char *name;       // "train"; a command in a group: "ckpt ls"
    const char *positional; // words of canto_words, each NAME, [NAME] or, last, [NAME...]
    const char *options;    // names of canto_options, with blanks between; NULL: none
    const char *summary;    // a line, for lists
    const char *text;       // paragraphs, for its own help; lines are filled
    const char *examples;   // command lines, each ended by '\n'; NULL: none
    bool alone;             // one process: under a launcher only its rank 0 does it
    int (*run)(const canto_arguments *arguments); // returns the exit code
} canto_command;

extern const canto_command canto_commands[]; // ended by name NULL

// How a shell completes a word.
typedef enum canto_completes {
    CANTO_COMPLETES_NOTHING,
    CANTO_COMPLETES_FILE,
    CANTO_COMPLETES_DIRECTORY,
    CANTO_COMPLETES_KEY, // KEY=VALUE of the configuration
    CANTO_COMPLETES_COMMAND,
} canto_completes;

// What a word in capitals means, as an argument or as the value of an option.
typedef struct canto_word {
    const char *word; // "RUN"
    canto_completes completes;
    const char *help; // one line; NULL: the option that takes it says so
} canto_word;

extern const canto_word canto_words[]; // ended by word NULL

// The command that argv[1], and of a group argv[2], names; *taken becomes the number of these
// words. NULL: none.
const canto_command *canto_command_find(int argc, char **argv, int *taken);
// First word of the command's name: the group, or the name itself. Commands of a group are
// neighbours in the table.
int canto_command_group(const canto_command *command); // its length
bool canto_command_in_group(const canto_command *command, const char *group);
bool canto_command_begins_group(const canto_command *command);
bool canto_command_is_group(const char *name); // of commands with two words
bool canto_command_takes(const canto_command *command, const canto_option *option);
const canto_word *canto_word_find(const char *word, size_t length); // NULL: none

// A step through the words of `positional`: the next one's bare name and length in *word and
// *length, false after the last. Start with *at = command->positional.
typedef struct canto_positional {
    const char *word; // not ended
    size_t length;
    bool optional, repeated;
} canto_positional;
bool canto_positional_next(const char **at, canto_positional *out);

// "canto --help" and "canto GROUP --help".
void canto_help_write(const char *group, FILE *stream); // group NULL: all commands

int canto_command_train(const canto_arguments *arguments);
int canto_command_plan(const canto_arguments *arguments);
int canto_command_bench_attention(const canto_arguments *arguments);
int canto_command_bench_linear(const canto_arguments *arguments);
int canto_command_bench_step(const canto_arguments *arguments);
int canto_command_bench_decode(const canto_arguments *arguments);
int canto_command_bench_roofs(const canto_arguments *arguments);
int canto_command_doctor(const canto_arguments *arguments);
int canto_command_eval(const canto_arguments *arguments);
int canto_command_generate(const canto_arguments *arguments);
int canto_command_ckpt_diff(const canto_arguments *arguments);
int canto_command_ckpt_ls(const canto_arguments *arguments);
int canto_command_ckpt_verify(const canto_arguments *arguments);
int canto_command_config_show(const canto_arguments *arguments);
int canto_command_config_keys(const canto_arguments *arguments);
int canto_command_plot(const canto_arguments *arguments);
int canto_command_man(const canto_arguments *arguments);
int canto_command_completion_bash(const canto_arguments *arguments);

// launch/completion.bash, put into the program by the build.
extern const char canto_completion_bash[];

#endif
