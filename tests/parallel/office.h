// A communicator for all ranks of a test in one process: a post office that delivers messages late
// and in random order.
#ifndef CANTO_TESTS_PARALLEL_OFFICE_H
#define CANTO_TESTS_PARALLEL_OFFICE_H

#include "runtime/comm.h"

enum { OFFICE_LETTERS_MAX = 4096 };

typedef struct letter {
    bool send, done;
    int from, to, order; // the order-th between these two
    int64_t count;
    float *data;
} letter;

// Zeroed by the caller, who sets the seed.
typedef struct office {
    int letters_n, opened; // opened: sends that were started
    letter letters[OFFICE_LETTERS_MAX];
    uint64_t draws, seed;
} office;

// One rank's end: base with ops office_ops, rank and size, and the office, borrowed.
typedef struct office_comm {
    canto_comm base;
    office *office;
} office_comm;

extern const canto_comm_ops office_ops;

// The next random number below n.
int64_t office_draw(office *post, int64_t n);

#endif
