// What a checked communicator does while it waits: listens to the alarm, takes headers in, tells
// the rank it waits for so, after a while, and ends the wait when ranks wait for each other in a
// circle or the time is over. Without headers this sends nothing.
#include "runtime/comm_checked.h"

#include "runtime/clock.h"

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

// --- circles of ranks that wait for each other ---
//
// A blocked rank sends a note to the rank it waits for; a rank that is blocked itself, and has not
// started what the note's sender waits for, passes it on to the rank it waits for. A note that
// comes back has seen only ranks that cannot go on (Chandy, Misra and Haas, TOCS 1983). Notes
// travel behind all that their sender announced, so what has been started is known to who judges.

// `sent` stays false while an earlier note is still on its way.
static canto_status send_note(canto_checked *comm, const canto_blocked *blocked, int started_at,
                              bool *sent)
{
    bool idle;
    CANTO_TRY(canto_comm_poll(comm->headers, &comm->note_request, &idle));
    *sent = idle;
    if (!idle) return CANTO_OK;
    comm->note = (canto_header){.what = CANTO_HEADER_NOTE,
                                .which = blocked->deed,
                                .root = started_at,
                                .number = blocked->number};
    return canto_comm_send(comm->headers, blocked->peer,
                           canto_tensor_vector(CANTO_U8, &comm->note, sizeof comm->note),
                           &comm->note_request);
}

static bool still_waits(const canto_peer *peer)
{
    const canto_header *awaited = &peer->awaited;
    return peer->waits && peer->pairs[awaited->which].started <= awaited->number;
}

static canto_status circle(const canto_checked *comm, const canto_blocked *blocked, int last)
{
    const canto_header *awaited = &comm->peers[last].awaited;
    char theirs[PHRASE_MAX];
    char mine[PHRASE_MAX];
    phrase(theirs, (canto_deed)awaited->which, awaited->number);
    phrase(mine, blocked->deed, blocked->number);
    const int me = comm->names[comm->base.rank];
    CANTO_FAIL(CANTO_ERROR_MISMATCH,
               "lane %s: rank %d waits for rank %d %s, and rank %d waits for rank %d %s%s",
               comm->base.lane, me, comm->names[blocked->peer], mine, comm->names[last], me, theirs,
               last == blocked->peer ? "" : "; the ranks between them wait, too");
}

static canto_status search(canto_checked *comm, canto_blocked *blocked)
{
    if (!blocked->noted) {
        for (int r = 0; r < comm->base.size; r++) comm->peers[r].passed_on = false;
        CANTO_TRY(send_note(comm, blocked, comm->base.rank, &blocked->noted));
    }
    for (int r = 0; r < comm->base.size; r++) {
        canto_peer *start = &comm->peers[r];
        if (start->note_from < 0) continue;
        if (!still_waits(&comm->peers[start->note_from])) {
            start->note_from = -1;
        } else if (r == comm->base.rank) {
            return circle(comm, blocked, start->note_from);
        } else if (!start->passed_on) {
            CANTO_TRY(send_note(comm, blocked, r, &start->passed_on));
        }
    }
    return CANTO_OK;
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
    const double waited_s = canto_clock_s() - blocked->since_s;
    if (comm->headers && !blocked->announced && waited_s > note_after_s) {
        CANTO_TRY(search(comm, blocked));
    }
    return check_time(comm, blocked, waited_s);
}
