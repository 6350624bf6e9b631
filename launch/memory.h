// The memory of a rank by what it is for, from the arenas of a trainer: one that runs, or one that
// measures.
#ifndef CANTO_LAUNCH_MEMORY_H
#define CANTO_LAUNCH_MEMORY_H

#include "launch/trainer.h"

typedef enum canto_memory_kind {
    CANTO_MEMORY_PARAMETERS,
    CANTO_MEMORY_GRADIENTS,
    CANTO_MEMORY_OPTIMIZER, // first and second moments of my pieces
    CANTO_MEMORY_ACTIVATIONS,
    CANTO_MEMORY_WORK,
    CANTO_MEMORY_MESSAGES, // received keys, values, sums, states and gradients
    CANTO_MEMORY_TABLES,   // who holds what, schedules, documents
    CANTO_MEMORY_KINDS
} canto_memory_kind;

const char *canto_memory_name(int kind);

typedef struct canto_memory {
    int rank;
    int64_t kinds[CANTO_MEMORY_KINDS]; // bytes; all that is taken when the run starts
    int64_t arenas;                    // their sum
    int64_t saving;                    // bytes more while a checkpoint is written (runtime/store.h)
    // What this rank alone keeps and updates: a value and two moments of 4 bytes for each parameter
    // of its pieces, 12 P/W bytes of P parameters on W ranks. The values lie in the parameters,
    // which every rank has whole, the moments in the optimizer.
    int64_t owned;
} canto_memory;

// Local.
canto_status canto_memory_of(canto_trainer *trainer, canto_memory *out);

// The least and the most of n >= 1 ranks, field by field.
typedef struct canto_memory_range {
    canto_memory least, most;
} canto_memory_range;
void canto_memory_join(int n, const canto_memory *all, canto_memory_range *out);

#endif
