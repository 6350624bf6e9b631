// Runs a small schedule token by token and pair by pair, with its own derivation of messages and
// matching by brute force: the meaning of a correct schedule, against which the verifier is tested.
#ifndef CANTO_TESTS_PARALLEL_SIMULATE_H
#define CANTO_TESTS_PARALLEL_SIMULATE_H

#include "parallel/schedule.h"

enum { SIM_RANKS = 6, SIM_TOKENS = 16, SIM_VISITS = 160 };

typedef struct sim_problem {
    int ranks, tokens;
    int span[SIM_TOKENS];                 // number of each token's span
    int holder[SIM_TOKENS];               // rank of each token
    bool allowed[SIM_TOKENS][SIM_TOKENS]; // [query][key]
} sim_problem;

// Whether the forward and the backward pass of the schedule are right; *why says what is not.
bool simulate(const sim_problem *problem, const canto_schedule *schedule, const char **why);

#endif
