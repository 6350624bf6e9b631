// The three arenas of a model, twice: to measure and for real. Local.
//
//     canto_arenas_measure(&a);  create(&a);  sizes = a;  canto_arenas_destroy(&a);
//     canto_arenas_allocate(&a, &sizes);  create(&a);
#ifndef CANTO_LAUNCH_ARENAS_H
#define CANTO_LAUNCH_ARENAS_H

#include "layers/model.h"

canto_status canto_arenas_measure(canto_arenas *arenas);
// Real arenas of the sizes that measuring ones have reached.
canto_status canto_arenas_allocate(canto_arenas *arenas, const canto_arenas *measured);
void canto_arenas_destroy(canto_arenas *arenas); // also of zeroed arenas

#endif
