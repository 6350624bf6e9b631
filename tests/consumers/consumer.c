// A program of somebody else: prices a ring schedule, then every rank tells the next one its price.
#include <canto/parallel/strategy.h>
#include <canto/runtime/comm.h>

#include <stdio.h>

enum { TOKENS = 64, ARENA_BYTES = 1 << 20, ROW_BYTES = 64 };

static canto_status price_ring(canto_arena *arena, int ranks, canto_price *out)
{
    const canto_documents one = {.n = 1, .starts = (int64_t[]){0, TOKENS}};
    const canto_strategy *ring = canto_strategy_find(ranks > 1 ? "ring" : "serial");
    const canto_machine machine = {.beta_s_per_byte = 1e-9};
    canto_shards shards;
    canto_mask mask;
    canto_needs needs;
    canto_schedule all;
    CANTO_TRY(
        canto_shards_create(arena, CANTO_LAYOUT_CONTIGUOUS, ranks, 1, one.starts, NULL, &shards));
    CANTO_TRY(canto_mask_create(arena, 1, &mask));
    CANTO_TRY(canto_mask_set(&mask, &one, CANTO_UNLIMITED, 0));
    CANTO_TRY(canto_needs_create(arena, &shards, 1, &needs));
    CANTO_TRY(canto_needs_make(&needs, &mask, &shards));
    CANTO_TRY(canto_schedule_create(arena, &shards, 1, -1, &all));
    CANTO_TRY(canto_schedule_make(&all, ring, &needs, &shards));
    return canto_schedule_price(&all, &mask, &shards, ROW_BYTES, &machine, out);
}

static canto_status run(canto_comm *world, canto_arena *arena)
{
    canto_price price;
    CANTO_TRY(price_ring(arena, world->size, &price));
    double mine = (double)price.messages, theirs = mine;
    canto_request send, receive;
    const int next = (world->rank + 1) % world->size;
    const int last = (world->rank + world->size - 1) % world->size;
    if (world->size > 1) {
        CANTO_TRY(
            canto_comm_recv(world, last, canto_tensor_vector(CANTO_F64, &theirs, 1), &receive));
        CANTO_TRY(canto_comm_send(world, next, canto_tensor_vector(CANTO_F64, &mine, 1), &send));
        CANTO_TRY(canto_comm_wait(world, &receive));
        CANTO_TRY(canto_comm_wait(world, &send));
    }
    if (theirs != mine)
        CANTO_FAIL(CANTO_ERROR_MISMATCH, "%g messages here, %g there", mine, theirs);
    if (world->rank == 0) printf("%d ranks: %g messages\n", world->size, mine);
    return CANTO_OK;
}

int main(void)
{
    canto_comm *world;
    canto_arena arena = {0};
    canto_status status = canto_comm_mpi_open(&world);
    if (status == CANTO_OK) status = canto_arena_create(&arena, ARENA_BYTES);
    if (status == CANTO_OK) status = run(world, &arena);
    canto_arena_destroy(&arena);
    if (status != CANTO_OK) {
        fprintf(stderr, "%s\n", canto_error_message());
        return 1;
    }
    canto_comm_destroy(&world);
    canto_comm_mpi_finalize();
    return 0;
}
