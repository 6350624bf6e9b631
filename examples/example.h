// What all examples but the first share: opening and closing as shown in 01_world.c, reproducible
// numbers, and a check that all ranks make together.
#ifndef CANTO_EXAMPLES_EXAMPLE_H
#define CANTO_EXAMPLES_EXAMPLE_H

#include "runtime/arena.h"
#include "runtime/comm.h"
#include "runtime/rng.h"

#include <stdio.h>

// Element `index` of a named array of standard normal numbers: the same on every rank.
static inline float example_number(const char *name, int64_t index)
{
    return canto_rng_normal(canto_rng_seed(1, name), CANTO_RNG_TEST, (uint64_t)index);
}

// Fails on every rank if `value` exceeds `limit` on any; rank 0 prints what was verified.
static inline canto_status example_check(canto_comm *world, const char *what, double value,
                                         double limit)
{
    canto_status status = CANTO_OK;
    if (!(value <= limit))
        status = canto_error_raise(CANTO_ERROR_NUMBERS, __FILE__, __LINE__,
                                   "%s: %g is more than %g", what, value, limit);
    CANTO_TRY(canto_comm_agree(world, status));
    if (world->rank == 0) printf("verified: %s (%.1e, at most %.0e)\n", what, value, limit);
    return CANTO_OK;
}

// Opens the world, gives `run` an arena of 64 MiB, closes everything. Returns the exit status.
static inline int example_main(canto_status (*run)(canto_comm *world, canto_arena *arena))
{
    canto_comm *plain;
    canto_comm *world = NULL;
    canto_arena arena = {0};
    canto_status status = canto_comm_mpi_open(&plain);
    if (status == CANTO_OK)
        status = canto_comm_checked_open(
            plain, (canto_comm_checks){.headers = true, .timeout_s = 30}, &world);
    if (status == CANTO_OK) status = canto_arena_create(&arena, (size_t)64 << 20);
    if (status == CANTO_OK) status = run(world, &arena);
    canto_arena_destroy(&arena);
    if (status != CANTO_OK) {
        fprintf(stderr, "%s\n", canto_error_message());
        if (world) canto_comm_abort(world, 1);
        return 1;
    }
    canto_comm_destroy(&world);
    canto_comm_mpi_finalize();
    return 0;
}

#endif
