// Levels of the cpu backend: the same kernels compiled for different sets of instructions. The
// highest one that this machine can run is chosen by what the processor and the system say they
// can do, never by the name of the processor; the environment variable CANTO_ISA names a lower one.
// Local.
#ifndef CANTO_RUNTIME_CPU_LEVELS_H
#define CANTO_RUNTIME_CPU_LEVELS_H

#include "runtime/device.h"

typedef struct canto_cpu_level {
    const char *name;                    // "avx2", as in CANTO_ISA
    const char *needs;                   // for people: "AVX2, FMA and F16C"
    bool (*works)(void);                 // whether this machine has what it needs
    canto_device device;                 // the cpu at this level
    const struct canto_cpu_tiles *tiles; // its building blocks: runtime/cpu/tiles.h
    const struct canto_cpu_roofs *roofs; // what a core can do at most: runtime/cpu/roofs.h
} canto_cpu_level;

// The kernels of the first level.
extern const canto_kernels canto_cpu_kernels_portable;

// Lowest first, ended by name NULL. The first one works on every machine.
extern const canto_cpu_level canto_cpu_levels[];

// The level that CANTO_ISA names if it is one that works, else the highest that works.
const canto_cpu_level *canto_cpu_level_now(void);
// CANTO_ERROR_CONFIG, with the names that would do, if CANTO_ISA names none, or one that needs what
// this machine lacks.
canto_status canto_cpu_level_check(void);

#endif
