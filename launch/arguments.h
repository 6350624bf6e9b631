// Command-line arguments of all commands, over glibc's argp: one table of options, of which each
// command takes some.
#ifndef CANTO_LAUNCH_ARGUMENTS_H
#define CANTO_LAUNCH_ARGUMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CANTO_POSITIONAL_MAX = 256 };

// Fields of options are set by the table in options.c, which also holds what they are when the
// option is not given.
typedef struct canto_arguments {
    int positional_n;
    char *positional[CANTO_POSITIONAL_MAX]; // borrowed from argv; the command's name is not in it
    bool json;
    const char *prompt;
    int64_t tokens;
    double temperature;
    int64_t top_k; // 0: all
    int64_t seed;
    int64_t step;      // -1: newest
    bool orders;       // print n-gram models beside an evaluation
    const char *trace; // file of a timeline
    const char *trace_steps;
    const char *output; // directory
    bool dry_run;       // check and plan, and touch nothing
    bool memory;
    bool check;    // of a benchmark: compare with the floors
    int64_t pairs; // of a benchmark
    int64_t ranks; // to plan for; -1: not given
} canto_arguments;

typedef enum canto_option_type {
    CANTO_OPTION_FLAG,   // bool
    CANTO_OPTION_TEXT,   // const char *, borrowed from argv
    CANTO_OPTION_STEP,   // int64_t, see canto_step_read
    CANTO_OPTION_COUNT,  // int64_t in 0..max
    CANTO_OPTION_NUMBER, // double in 0..max
} canto_option_type;

typedef struct canto_option {
    const char *name; // "top-k"
    char letter;      // 'k' for -k; 0: none
    canto_option_type type;
    const char *value;   // the word for its value: "K", or one of canto_words; NULL: a flag
    int64_t max;         // of a count or a number
    const char *initial; // what it is when not given; NULL: false, NULL, or -1 for both numbers
    size_t offset;       // of the field of canto_arguments
    const char *help;    // a line, without the default of a count or number
} canto_option;

extern const canto_option canto_options[]; // ended by name NULL

struct canto_command;

// argv[0] stands in messages: "canto train". Returns -1 to go on. After --help and after a wrong
// argument, which is told once, the launcher's rank 0 ends the process here (exit codes 0 and 2);
// other ranks return the code to leave with.
int canto_arguments_parse(const struct canto_command *command, int argc, char **argv,
                          canto_arguments *out);

#endif
