// How many threads this process should use: the cores it may run on, divided by the ranks that
// share them.
#ifndef CANTO_RUNTIME_TOPOLOGY_H
#define CANTO_RUNTIME_TOPOLOGY_H

#include "runtime/comm.h"

typedef struct canto_threads {
    int cores;      // cores this process may run on (hwloc)
    int sharing;    // ranks on this host whose allowed cores overlap mine, myself included
    int local_rank; // ranks on this host before mine, whatever cores they use
    int threads;    // what was set for OpenMP
    bool forced;    // OMP_NUM_THREADS decided
} canto_threads;

// Collective on comm. Sets the number of threads of OpenMP (OpenBLAS: one): OMP_NUM_THREADS wins,
// else max(1, cores / sharing). Also sets flush-to-zero on every thread, because decayed states
// become denormal numbers. CANTO_ERROR_MEMORY if a thread's stack is too small for the kernels.
canto_status canto_threads_set(canto_comm *comm, canto_threads *out);

#endif
