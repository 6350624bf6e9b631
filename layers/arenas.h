// The memory of a model: made twice, once to measure and once for real. Local.
//
//     canto_arenas_measure(&a);  create(&a);  sizes = a;  canto_arenas_destroy(&a);
//     canto_arenas_allocate(&a, device, &sizes);  create(&a);
#ifndef CANTO_LAYERS_ARENAS_H
#define CANTO_LAYERS_ARENAS_H

#include "runtime/arena.h"

enum { CANTO_ARENAS_N = 4 };

// The first is of the host, the others are of the device.
typedef struct canto_arenas {
    canto_arena tables; // schedules, requests, what the host reads and writes: whole run
    canto_arena params; // values, gradients, optimizer state: whole run
    canto_arena step;   // activations
    canto_arena work;   // shared scratch of one layer at a time, communication buffers
} canto_arenas;

canto_status canto_arenas_measure(canto_arenas *arenas);
// Real arenas of the sizes that measuring ones have reached.
canto_status canto_arenas_allocate(canto_arenas *arenas, const canto_device *device,
                                   const canto_arenas *measured);
// The arenas tell these of every piece from now on; what the ledgers held before is forgotten.
void canto_arenas_keep_books(canto_arenas *arenas, canto_ledger ledgers[CANTO_ARENAS_N]);
void canto_arenas_destroy(canto_arenas *arenas); // also of zeroed arenas

#endif
