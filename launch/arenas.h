// The three arenas of a model, twice: to measure and for real. Local.
//
//     canto_arenas_measure(&a);  create(&a);  sizes = a;  canto_arenas_destroy(&a);
//     canto_arenas_allocate(&a, &sizes);  create(&a);
#ifndef CANTO_LAUNCH_ARENAS_H
#define CANTO_LAUNCH_ARENAS_H

#include "layers/model.h"

enum { CANTO_ARENAS_N = 3 }; // parameters, activations, work

canto_status canto_arenas_measure(canto_arenas *arenas);
// Real arenas of the sizes that measuring ones have reached.
canto_status canto_arenas_allocate(canto_arenas *arenas, const canto_arenas *measured);
// The arenas tell these of every piece from now on; what the ledgers held before is forgotten.
void canto_arenas_keep_books(canto_arenas *arenas, canto_ledger ledgers[CANTO_ARENAS_N]);
void canto_arenas_destroy(canto_arenas *arenas); // also of zeroed arenas

#endif
