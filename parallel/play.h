// Plays the messages of all ranks without sending any, in memory of its own: what verify and price
// share. A rank enters a step, starts the messages of that step, computes, and leaves the step when
// both ends have started every message of its that ends there (rendezvous: the hardest case, a
// message library may buffer). Clocks run along: the result is the longest path, not a sum of the
// slowest ranks of each step. Local.
#ifndef CANTO_PARALLEL_PLAY_H
#define CANTO_PARALLEL_PLAY_H

#include "parallel/moves.h"

typedef struct canto_play {
    int size, steps;
    canto_arena arena; // owned; holds all arrays
    canto_moves moves;
    double *move_s;  // [moves.n]: seconds from the later start to the end; 0 at first
    double *tiles_s; // [size, steps]: seconds a rank computes in a step; 0 at first
    double *ready_s; // [size, steps]: when the last message that ends there is through
    double *start_s; // [moves.n]: the later start so far
    int *pending;    // [size, steps]: messages that end there and have not been started by both
    int8_t *started; // [moves.n]: by how many ends
    int *order;      // [2 moves.n]: moves by rank, in order
    int64_t *first;  // [size + 1]: into order
    int64_t *next;   // [size]: into order
    double *clock_s; // [size]
    int *at;         // [size]: step
    bool *asleep;    // [size]: waiting in step `at`
    int *awake;      // [size]: a stack of ranks that may go on
    int awake_n;
} canto_play;

// Makes the moves of a schedule of all ranks (rank -1), forward or backward. Close it whatever the
// outcome.
canto_status canto_play_open(const canto_schedule *schedule, bool backward, canto_play *out);
void canto_play_close(canto_play *play);

// Once. CANTO_ERROR_MISMATCH, naming a rank, a step and a message, if the play does not end.
canto_status canto_play_run(canto_play *play, double *seconds);

#endif
