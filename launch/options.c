// The one table of options. Two commands that take an option of one name mean the same by it.
#include "launch/arguments.h"

#define FIELD(member) .offset = offsetof(canto_arguments, member)
#define FLAG          .type = CANTO_OPTION_FLAG
#define TEXT(word)    .type = CANTO_OPTION_TEXT, .value = (word)
#define COUNT(word)   .type = CANTO_OPTION_COUNT, .value = (word)
#define NUMBER(word)  .type = CANTO_OPTION_NUMBER, .value = (word)

// clang-format off
const canto_option canto_options[] = {
    {"check", 0, FLAG, FIELD(check), .help = "exit code 1 if a figure is below its floor"},
    {"dry-run", 0, FLAG, FIELD(dry_run),
     .help = "check everything, print the memory and messages of a step, and touch nothing"},
    {"json", 'j', FLAG, FIELD(json), .help = "print JSON"},
    {"memory", 'm', FLAG, FIELD(memory), .help = "tell the memory of a rank by what it is for"},
    {"orders", 'o', FLAG, FIELD(orders),
     .help = "print Witten-Bell n-gram models of the same text beside it"},
    {"output", 0, TEXT("DIR"), FIELD(output), .help = "where the files go; without it RUN/plots"},
    {"pairs", 0, COUNT("N"), .max = 1000, FIELD(pairs), .initial = "15",
     .help = "measurements of each figure"},
    {"prompt", 'p', TEXT("TEXT"), FIELD(prompt), .initial = "\n",
     .help = "text to continue, or tokens such as 1,2,3 for a run on shards; without it a line break"},
    {"ranks", 'r', COUNT("W"), .max = 1 << 20, FIELD(ranks),
     .help = "plan for so many ranks; with --dry-run: instead of those that run"},
    {"seed", 's', COUNT("N"), .max = INT64_MAX, FIELD(seed), .initial = "1",
     .help = "seed of the random choices"},
    {"step", 'S', .type = CANTO_OPTION_STEP, .value = "STEP", FIELD(step),
     .help = "checkpoint of this step, or \"best\"; without it the newest good one, or all that "
             "are listed"},
    {"temperature", 't', NUMBER("X"), .max = 100, FIELD(temperature), .initial = "0.8",
     .help = "0 takes the likeliest token always"},
    {"tokens", 'n', COUNT("N"), .max = 100000000, FIELD(tokens), .initial = "200",
     .help = "tokens to write"},
    {"top-k", 'k', COUNT("K"), .max = 1 << 30, FIELD(top_k), .initial = "0",
     .help = "draw from the K likeliest tokens only; 0: all"},
    {"trace", 0, TEXT("FILE"), FIELD(trace),
     .help = "write a timeline of the first steps for ui.perfetto.dev"},
    {"trace-steps", 0, TEXT("A-B"), FIELD(trace_steps),
     .help = "steps of this start that --trace records; without it the first 10"},
    {.name = NULL},
};
// clang-format on
