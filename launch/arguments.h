// Command-line arguments of all commands, over glibc's argp: one set of options, of which each
// command takes some.
#ifndef CANTO_LAUNCH_ARGUMENTS_H
#define CANTO_LAUNCH_ARGUMENTS_H

#include <stdbool.h>
#include <stdint.h>

enum { CANTO_POSITIONAL_MAX = 256 };

typedef struct canto_arguments {
    int positional_n;
    char *positional[CANTO_POSITIONAL_MAX]; // borrowed from argv
    bool json;
    const char *prompt;
    int64_t tokens; // -n
    double temperature;
    int64_t top_k; // 0: all
    int64_t seed;
    int64_t step; // -1: newest
    bool orders;  // print n-gram models beside an evaluation
} canto_arguments;

// What one command takes; a const table in the command's file.
typedef struct canto_arguments_spec {
    const char *usage;   // "CONFIG [KEY=VALUE...]"
    const char *help;    // paragraph
    const char *options; // letters of the options it takes: "j" json, "p" prompt, "n" tokens, "t"
                         // temperature, "k" top-k, "s" seed, "S" step, "o" orders
    int positional_min, positional_max;
} canto_arguments_spec;

extern const canto_arguments_spec canto_arguments_train, canto_arguments_eval,
    canto_arguments_generate, canto_arguments_ckpt, canto_arguments_config, canto_arguments_plot,
    canto_arguments_man;

// Returns -1 to go on. After --help and after a wrong argument, which is told once, the launcher's
// rank 0 ends the process here (exit codes 0 and 2); other ranks return the code to leave with.
int canto_arguments_parse(const canto_arguments_spec *spec, int argc, char **argv,
                          canto_arguments *out);

#endif
