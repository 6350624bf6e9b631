// Cristian's algorithm (Distributed Computing 3, 1989): of several round trips the shortest bounds
// the difference of two clocks best. Sends 2 * ROUNDS messages of 8 bytes for each rank, one rank
// after the other.
#include "runtime/trace_clock.h"

#include "runtime/clock.h"

#include <math.h>

enum { ROUNDS = 20 };

static canto_status send_time(canto_comm *comm, int peer, double *time_s)
{
    canto_request request;
    CANTO_TRY(canto_comm_send(comm, peer, canto_tensor_vector(CANTO_F64, time_s, 1), &request));
    return canto_comm_wait(comm, &request);
}

static canto_status receive_time(canto_comm *comm, int peer, double *time_s)
{
    canto_request request;
    CANTO_TRY(canto_comm_recv(comm, peer, canto_tensor_vector(CANTO_F64, time_s, 1), &request));
    return canto_comm_wait(comm, &request);
}

// Rank 0's side.
static canto_status ask(canto_comm *comm, int rank)
{
    double theirs;
    for (int i = 0; i < ROUNDS; i++) {
        double mine = canto_clock_s();
        CANTO_TRY(send_time(comm, rank, &mine));
        CANTO_TRY(receive_time(comm, rank, &theirs));
    }
    double now = canto_clock_s();
    return send_time(comm, rank, &now); // ends the last round
}

// A round seen from here: my answer to one question and the next question, which tells when rank 0
// had the answer.
static canto_status answer(canto_comm *comm, canto_clock_offset *out)
{
    double before, after;
    out->error_s = INFINITY;
    CANTO_TRY(receive_time(comm, 0, &before));
    for (int i = 0; i < ROUNDS; i++) {
        double mine = canto_clock_s();
        CANTO_TRY(send_time(comm, 0, &mine));
        CANTO_TRY(receive_time(comm, 0, &after));
        if ((after - before) / 2 < out->error_s)
            *out = (canto_clock_offset){mine, mine - (before + after) / 2, (after - before) / 2};
        before = after;
    }
    if (fabs(out->offset_s) <= out->error_s) out->offset_s = 0;
    return CANTO_OK;
}

canto_status canto_clock_compare(canto_comm *comm, canto_clock_offset *out)
{
    *out = (canto_clock_offset){.at_s = canto_clock_s()};
    if (comm->rank != 0) return answer(comm, out);
    for (int r = 1; r < comm->size; r++) CANTO_TRY(ask(comm, r));
    return CANTO_OK;
}

double canto_clock_align(const canto_clock_offset *first, const canto_clock_offset *last,
                         double time_s)
{
    const double span_s = last->at_s - first->at_s;
    const double drift = span_s > 0 ? (last->offset_s - first->offset_s) / span_s : 0;
    // A clock that runs at another pace than a tenth off is a mistake of the comparison.
    if (!(fabs(drift) < 0.1)) return time_s - first->offset_s;
    return time_s - first->offset_s - drift * (time_s - first->at_s);
}
