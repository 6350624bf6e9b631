// 1. The world: ranks, lanes, and one sentence instead of a hang.
//
//     mpirun -n 3 build/examples/01_world
//
// Every program of Canto begins like this: open MPI, wrap it in the checked communicator, work,
// close. Functions return a status; the sentence that explains a failure is kept for whoever prints
// it.
#include "runtime/comm.h"

#include <stdio.h>

// A ring: everybody sends its rank to the right and receives from the left, until each has seen
// all. Messages match by the order in which they are started on a lane, so there are no tags.
static canto_status pass_around(canto_comm *lane, double *seen)
{
    const int right = (lane->rank + 1) % lane->size;
    const int left = (lane->rank + lane->size - 1) % lane->size;
    double mine = lane->rank;
    double theirs = 0;
    *seen = mine;
    for (int hop = 1; hop < lane->size; hop++) {
        canto_request send, receive;
        // Start both, then finish both: nobody waits for a neighbour that waits for it.
        CANTO_TRY(
            canto_comm_recv(lane, left, canto_tensor_vector(CANTO_F64, &theirs, 1), &receive));
        CANTO_TRY(canto_comm_send(lane, right, canto_tensor_vector(CANTO_F64, &mine, 1), &send));
        CANTO_TRY(canto_comm_wait(lane, &receive));
        CANTO_TRY(canto_comm_wait(lane, &send));
        mine = theirs;
        *seen += mine;
    }
    return CANTO_OK;
}

static canto_status run(canto_comm *world)
{
    // Two things that progress independently never share a lane. A lane is a split in which all
    // ranks have one colour.
    canto_comm *lane;
    CANTO_TRY(canto_comm_split(world, "ring", 0, &lane));
    double seen;
    canto_status status = pass_around(lane, &seen);

    // What could fail on one rank ends in an agreement, so that all ranks go the same way.
    const double expected = world->size * (world->size - 1) / 2.0;
    if (status == CANTO_OK && seen != expected) {
        status = canto_error_raise(CANTO_ERROR_COMM, __FILE__, __LINE__,
                                   "the ring gave %g instead of %g", seen, expected);
    }
    status = canto_comm_agree(world, status);
    const canto_comm_counts counts = lane->counts;
    if (status == CANTO_OK) canto_comm_destroy(&lane);
    CANTO_TRY(status);

    if (world->rank == 0) {
        printf("%d ranks passed their numbers around: sum %g as expected, %lld messages of 8 bytes "
               "from each\n",
               world->size, seen, (long long)counts.messages_sent);
    }
    return CANTO_OK;
}

int main(void)
{
    canto_comm *plain;
    canto_comm *world = NULL;
    canto_status status = canto_comm_mpi_open(&plain);
    // headers: both ends of every message compare what they are about to do.
    // timeout_s: a rank that never comes is an error that names it.
    if (status == CANTO_OK) {
        status = canto_comm_checked_open(
            plain, (canto_comm_checks){.headers = true, .timeout_s = 30}, &world);
    }
    if (status == CANTO_OK) status = run(world);
    if (status != CANTO_OK) {
        fprintf(stderr, "%s\n", canto_error_message());
        if (world) canto_comm_abort(world, 1);
        return 1;
    }
    canto_comm_destroy(&world);
    canto_comm_mpi_finalize();
    return 0;
}
