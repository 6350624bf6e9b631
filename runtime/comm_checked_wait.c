// What a checked communicator does while it waits: listens to the alarm, takes headers in, tells
// the other rank after a while what it waits for, and ends the wait when two ranks wait for each
// other or the time is over. Without headers this sends nothing.
#include "runtime/comm_checked.h"

#include <stdio.h>

static const double note_after_s = 0.3;

enum { PHRASE_MAX = 96 };

const char *canto_collective_name(canto_collective which)
{
    static const char *const names[] = {"broadcast", "gather", "split"};
    return names[which];
}

// "to send message 3"
static void phrase(char *out, canto_deed deed, int64_t number)
{
    static const char *const verbs[] = {"send message", "receive message", "enter collective"};
    snprintf(out, PHRASE_MAX, "to %s %lld", verbs[deed], (long long)number);
}

static canto_status send_note(canto_checked *comm, canto_blocked *blocked)
{
    bool done;
    CANTO_TRY(canto_comm_poll(comm->headers, &comm->note_request, &done));
    if (!done) return CANTO_OK; // an earlier one is still on its way
    comm->note = (canto_header){
        .what = CANTO_HEADER_NOTE, .which = blocked->deed, .number = blocked->number};
    blocked->noted = true;
    return canto_comm_send(comm->headers, blocked->peer,
                           canto_tensor_vector(CANTO_U8, &comm->note, sizeof comm->note),
                           &comm->note_request);
}

// A note follows all that its sender announced, and its sender starts nothing until it gets what it
// waits for. So if I have not started that, and wait for the sender, neither of us will ever go on.
static canto_status check_knot(const canto_checked *comm, const canto_blocked *blocked)
{
    const canto_peer *peer = &comm->peers[blocked->peer];
    if (!peer->waits) return CANTO_OK;
    const canto_deed deed = (canto_deed)peer->awaited.which;
    const int64_t started =
        deed == CANTO_COLLECTIVE ? comm->collectives : peer->pairs[deed].started;
    if (started > peer->awaited.number) return CANTO_OK;
    char theirs[PHRASE_MAX];
    char mine[PHRASE_MAX];
    phrase(theirs, deed, peer->awaited.number);
    phrase(mine, blocked->deed, blocked->number);
    const int me = comm->names[comm->base.rank];
    const int them = comm->names[blocked->peer];
    CANTO_FAIL(CANTO_ERROR_MISMATCH,
               "lane %s: rank %d waits for rank %d %s, and rank %d waits for rank %d %s",
               comm->base.lane, me, them, mine, them, me, theirs);
}

static canto_status check_time(const canto_checked *comm, const canto_blocked *blocked,
                               double waited_s)
{
    if (comm->checks.timeout_s <= 0 || waited_s < comm->checks.timeout_s) return CANTO_OK;
    char what[PHRASE_MAX];
    phrase(what, blocked->deed, blocked->number);
    CANTO_FAIL(CANTO_ERROR_TIMEOUT,
               "lane %s: rank %d waited %.3g s for rank %d %s (%s, %zu bytes)%s; look there first",
               comm->base.lane, comm->names[comm->base.rank], waited_s, comm->names[blocked->peer],
               what, blocked->kind, blocked->bytes,
               blocked->announced ? ", which it has begun" : "");
}

canto_status canto_checked_turn(canto_checked *comm, canto_blocked *blocked)
{
    CANTO_TRY(canto_alarm_listen(comm->alarm));
    if (comm->headers) CANTO_TRY(canto_headers_progress(comm));
    if (!blocked) return CANTO_OK;
    const double waited_s = canto_comm_clock_s() - blocked->since_s;
    if (comm->headers && !blocked->announced) {
        if (!blocked->noted && waited_s > note_after_s) CANTO_TRY(send_note(comm, blocked));
        CANTO_TRY(check_knot(comm, blocked));
    }
    return check_time(comm, blocked, waited_s);
}
