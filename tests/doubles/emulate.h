// Runs a grid of blocks of threads on the host, one at a time, as fibers.
#ifndef CANTO_TESTS_DOUBLES_EMULATE_H
#define CANTO_TESTS_DOUBLES_EMULATE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CANTO_EMULATED_THREADS = 256 };

typedef struct canto_emulated_index {
    unsigned x;
} canto_emulated_index;

// Of the thread that runs; the size of the grid.
extern canto_emulated_index canto_emulated_thread, canto_emulated_block, canto_emulated_grid;

// Calls thread(argument) for each thread of each block. Ends the process if some threads of a block
// end while others wait at a barrier.
void canto_emulate(int64_t blocks, void (*thread)(void *), void *argument);
void canto_emulated_barrier(void);

#ifdef __cplusplus
}
#endif

#endif
