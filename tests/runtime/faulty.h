// A system that fails at its N-th call: the process dies, the call reports an error, is
// interrupted, is cut short, or lies; or memory runs out. A program that links faulty.c is linked
// with --wrap for the calls in it, so that nothing in the store knows of it.
#ifndef CANTO_TESTS_RUNTIME_FAULTY_H
#define CANTO_TESTS_RUNTIME_FAULTY_H

#include <stdbool.h>

typedef enum {
    FAULT_NONE,
    FAULT_DIE,      // the process ends before the call
    FAULT_DIE_HALF, // a write takes half of its bytes first
    FAULT_ERROR,    // this call fails
    FAULT_ERRORS,   // this call and all later ones fail
    FAULT_LIE,      // a write reports success and takes nothing
    FAULT_TROUBLE,  // every write takes at most 7 bytes, and every other call of write, fsync and
                    // pread is interrupted
} fault_kind;

void faulty_arm(fault_kind kind, int at, int error); // error: errno
void faulty_arm_memory(int at);
bool faulty_disarm(void); // whether anything was hit

// What is synced and renamed, in order: "sync latest.tmp.*; rename to latest; ...".
void faulty_journal_start(void);
char *faulty_journal_stop(void);

#endif
