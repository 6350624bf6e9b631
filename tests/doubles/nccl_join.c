// How ranks find each other: every rank tells the one that made the unique id who it is; that one
// tells all who is who. Peers greet each other before their first group, which takes both, as
// NCCL's connections do. Nothing blocks.
#include "tests/doubles/nccl_double.h"

#include <stdlib.h>

static bool done(MPI_Request *request)
{
    int flag;
    PMPI_Test(request, &flag, MPI_STATUS_IGNORE);
    return flag != 0;
}

static void send_list(struct ncclComm *comm)
{
    for (int r = 0; r < comm->size; r++) {
        if (comm->members[r].world == comm->me) continue;
        PMPI_Isend(comm->members, comm->size * (int)sizeof *comm->members, MPI_BYTE,
                   comm->members[r].world, comm->tag + TAG_LIST, MPI_COMM_WORLD,
                   &comm->requests[r]);
    }
}

// At the rank that made the id.
static void gather(struct ncclComm *comm)
{
    if (comm->joined == 0) {
        comm->members[comm->rank] = (double_member){comm->rank, comm->me};
        comm->joined = 1;
    }
    while (comm->joined < comm->size) {
        int flag;
        MPI_Status status;
        PMPI_Iprobe(MPI_ANY_SOURCE, comm->tag + TAG_JOIN, MPI_COMM_WORLD, &flag, &status);
        if (!flag) return;
        double_member member;
        PMPI_Recv(&member, sizeof member, MPI_BYTE, status.MPI_SOURCE, comm->tag + TAG_JOIN,
                  MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        comm->members[member.rank] = member;
        comm->joined++;
        if (comm->joined == comm->size) send_list(comm);
    }
}

static void tell(struct ncclComm *comm)
{
    if (comm->joined > 0) return;
    comm->joined = 1;
    comm->members[comm->rank] = (double_member){comm->rank, comm->me};
    // The list comes only after the root has this, so it may be overwritten then.
    PMPI_Send(&comm->members[comm->rank], sizeof *comm->members, MPI_BYTE, comm->root,
              comm->tag + TAG_JOIN, MPI_COMM_WORLD);
    PMPI_Irecv(comm->members, comm->size * (int)sizeof *comm->members, MPI_BYTE, comm->root,
               comm->tag + TAG_LIST, MPI_COMM_WORLD, &comm->requests[0]);
}

void canto_double_join(struct ncclComm *comm, bool *joined)
{
    const bool roots = comm->me == comm->root;
    if (roots)
        gather(comm);
    else
        tell(comm);
    *joined = !roots || comm->joined == comm->size;
    for (int r = 0; *joined && r < comm->size; r++) *joined = done(&comm->requests[r]);
}

void canto_double_greet(struct ncclComm *comm, bool *greeted)
{
    static char hello;
    *greeted = true;
    for (int i = 0; i < comm->pending->n; i++) {
        const int r = comm->pending->messages[i].peer;
        if (!comm->greeted[r]) {
            const int world = comm->members[r].world, tag = comm->tag + TAG_HELLO;
            PMPI_Isend(&hello, 1, MPI_BYTE, world, tag, MPI_COMM_WORLD, &comm->requests[2 * r]);
            PMPI_Irecv(&comm->heard[r], 1, MPI_BYTE, world, tag, MPI_COMM_WORLD,
                       &comm->requests[2 * r + 1]);
            comm->greeted[r] = true;
        }
        const bool sent = done(&comm->requests[2 * r]);
        *greeted = done(&comm->requests[2 * r + 1]) && sent && *greeted;
    }
}

void canto_double_drop(struct ncclComm *comm)
{
    for (int i = 0; i < 2 * comm->size; i++) {
        if (comm->requests[i] == MPI_REQUEST_NULL) continue;
        PMPI_Cancel(&comm->requests[i]);
        PMPI_Request_free(&comm->requests[i]);
    }
}
