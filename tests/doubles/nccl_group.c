// A group of messages as it runs in its stream: all start together, and the group ends when all of
// them have. The ends of a message compare headers first, and a send is not done before the other
// end has begun its receive, so that groups which wait for each other in a circle really wait.
#include "tests/doubles/nccl_double.h"

#include "runtime/clock.h"

#include <stdio.h>
#include <string.h>

static int world_of(const double_group *g, const double_message *m)
{
    return g->comm->members[m->peer].world;
}

static void start(double_group *g)
{
    const int tag = g->comm->tag + TAG_HEADER;
    g->started = true;
    g->since_s = canto_clock_s();
    for (int i = 0; i < g->n; i++) {
        double_message *m = &g->messages[i];
        m->mine.group = g->number;
        m->header = m->data = MPI_REQUEST_NULL;
        if (!m->sends) {
            memset(m->place, 0xff, m->bytes);
            PMPI_Irecv(&m->theirs, sizeof m->theirs, MPI_BYTE, world_of(g, m), tag, MPI_COMM_WORLD,
                       &m->header);
            continue;
        }
        PMPI_Issend(&m->mine, sizeof m->mine, MPI_BYTE, world_of(g, m), tag, MPI_COMM_WORLD,
                    &m->header);
        PMPI_Isend(m->place, (int)m->bytes, MPI_BYTE, world_of(g, m), g->comm->tag + TAG_DATA,
                   MPI_COMM_WORLD, &m->data);
        m->matched = true;
    }
}

static bool finished(MPI_Request *request)
{
    int flag;
    PMPI_Test(request, &flag, MPI_STATUS_IGNORE);
    return flag != 0;
}

static canto_status compare(const double_group *g, const double_message *m)
{
    if (m->mine.count == m->theirs.count && m->mine.type == m->theirs.type) return CANTO_OK;
    CANTO_FAIL(CANTO_ERROR_MISMATCH,
               "NCCL: rank %d, group %d receives %lld of type %d from rank %d, which sends %lld of "
               "type %d in its group %d",
               g->comm->rank, g->number, (long long)m->mine.count, m->mine.type, m->peer,
               (long long)m->theirs.count, m->theirs.type, m->theirs.group);
}

// Data come in the order of headers, so a later message with the same peer waits for this one.
static bool is_next(const double_group *g, int index)
{
    for (int i = 0; i < index; i++) {
        const double_message *m = &g->messages[i];
        if (!m->sends && !m->matched && m->peer == g->messages[index].peer) return false;
    }
    return true;
}

static canto_status match(double_group *g, int index)
{
    double_message *m = &g->messages[index];
    if (m->matched || !is_next(g, index) || !finished(&m->header)) return CANTO_OK;
    CANTO_TRY(compare(g, m));
    m->matched = true;
    PMPI_Irecv(m->place, (int)m->bytes, MPI_BYTE, world_of(g, m), g->comm->tag + TAG_DATA,
               MPI_COMM_WORLD, &m->data);
    return CANTO_OK;
}

// Says what is missing, once it has been for too long.
static canto_status check_patience(const double_group *g, const double_message *m)
{
    const double waited_s = canto_clock_s() - g->since_s;
    if (waited_s < canto_doubles_state.patience_s) return CANTO_OK;
    CANTO_FAIL(
        CANTO_ERROR_TIMEOUT,
        "NCCL: rank %d, group %d of %d messages: nothing for %.3g s; it still waits for rank "
        "%d to %s %lld of type %d: its other end is in a later group, or nowhere",
        g->comm->rank, g->number, g->n, waited_s, m->peer, m->sends ? "receive" : "send",
        (long long)m->mine.count, m->mine.type);
}

static void drop(double_group *g)
{
    for (int i = 0; g->started && i < g->n; i++) {
        MPI_Request *const both[] = {&g->messages[i].header, &g->messages[i].data};
        for (int k = 0; k < 2; k++) {
            if (*both[k] == MPI_REQUEST_NULL) continue;
            PMPI_Cancel(both[k]);
            PMPI_Request_free(both[k]);
        }
    }
}

canto_status canto_double_run_group(void *argument, bool *done)
{
    double_group *g = argument;
    *done = true;
    if (g->comm->aborted) {
        drop(g);
        return CANTO_OK;
    }
    if (!g->started) start(g);
    for (int i = 0; i < g->n; i++) {
        double_message *m = &g->messages[i];
        CANTO_TRY(match(g, i));
        const bool header = m->sends ? finished(&m->header) : m->matched;
        if (header && m->matched && finished(&m->data)) continue;
        CANTO_TRY(check_patience(g, m));
        *done = false;
    }
    if (*done) g->comm->outstanding--;
    return CANTO_OK;
}
