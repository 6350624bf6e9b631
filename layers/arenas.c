// Tables, parameters, activations and scratch in one go.
#include "layers/arenas.h"

canto_status canto_arenas_measure(canto_arenas *arenas)
{
    CANTO_TRY(canto_arena_create_measuring(&arenas->tables));
    CANTO_TRY(canto_arena_create_measuring(&arenas->params));
    CANTO_TRY(canto_arena_create_measuring(&arenas->step));
    return canto_arena_create_measuring(&arenas->work);
}

canto_status canto_arenas_allocate(canto_arenas *arenas, const canto_device *device,
                                   const canto_arenas *measured)
{
    CANTO_TRY(canto_arena_create(&arenas->tables, measured->tables.peak));
    CANTO_TRY(canto_arena_create_on(&arenas->params, device, measured->params.peak));
    CANTO_TRY(canto_arena_create_on(&arenas->step, device, measured->step.peak));
    return canto_arena_create_on(&arenas->work, device, measured->work.peak);
}

void canto_arenas_keep_books(canto_arenas *arenas, canto_ledger ledgers[CANTO_ARENAS_N])
{
    canto_arena *const list[CANTO_ARENAS_N] = {&arenas->tables, &arenas->params, &arenas->step,
                                               &arenas->work};
    for (int i = 0; i < CANTO_ARENAS_N; i++) {
        canto_ledger_destroy(&ledgers[i]);
        list[i]->ledger = &ledgers[i];
    }
}

void canto_arenas_destroy(canto_arenas *arenas)
{
    canto_arena_destroy(&arenas->tables);
    canto_arena_destroy(&arenas->params);
    canto_arena_destroy(&arenas->step);
    canto_arena_destroy(&arenas->work);
}
