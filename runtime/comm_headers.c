// Headers of a checked communicator. A message is announced from both ends (one header of 32 bytes
// each way), on a lane of their own. The receiver compares the two and posts its receive only then,
// so that a wrong message never reaches the caller's memory; the sender learns that its message is
// expected. Only the receiver judges: a mistake has one judge, and all ranks get one sentence.
#include "runtime/comm_checked.h"

#include "runtime/clock.h"

static canto_tensor as_tensor(canto_header *header)
{
    return canto_tensor_vector(CANTO_U8, header, sizeof *header);
}

// --- what waits for the other end, on one side or the other ---

static void queue(canto_pairing *pairing, canto_checked_message *message, bool theirs)
{
    message->next = NULL;
    if (pairing->first) {
        pairing->last->next = message;
    } else {
        pairing->first = message;
    }
    pairing->last = message;
    pairing->theirs = theirs;
}

static canto_checked_message *unqueue(canto_pairing *pairing)
{
    canto_checked_message *message = pairing->first;
    pairing->first = message->next;
    return message;
}

bool canto_headers_take(canto_checked *comm, canto_pairing *pairing, canto_header *out)
{
    if (!pairing->first || !pairing->theirs) return false;
    canto_checked_message *theirs = unqueue(pairing);
    *out = theirs->header;
    canto_message_give(comm, theirs);
    return true;
}

// --- matching ---

static canto_status compare(const canto_checked *comm, const canto_checked_message *mine,
                            const canto_header *theirs)
{
    const canto_header *own = &mine->header;
    if (own->which == theirs->which && own->bytes == theirs->bytes &&
        own->number == theirs->number) {
        return CANTO_OK;
    }
    CANTO_FAIL(CANTO_ERROR_MISMATCH,
               "lane %s: message %lld: rank %d sends %lld bytes of %s, rank %d receives %lld bytes "
               "of %s",
               comm->base.lane, (long long)own->number, comm->names[mine->peer],
               (long long)theirs->bytes, canto_dtype_name((canto_dtype)theirs->which),
               comm->names[comm->base.rank], (long long)own->bytes,
               canto_dtype_name((canto_dtype)own->which));
}

static canto_status match(canto_checked *comm, canto_checked_message *mine,
                          const canto_header *theirs)
{
    mine->matched = true;
    if (mine->deed == CANTO_SEND) return CANTO_OK;
    CANTO_TRY(compare(comm, mine, theirs));
    return canto_comm_recv(comm->inner, mine->peer, mine->data, &mine->payload);
}

// A header of `peer` about its deed; mine that meets it is the opposite one.
static canto_status arrive(canto_checked *comm, canto_peer *peer, const canto_header *header)
{
    static const canto_deed opposite[] = {CANTO_RECV, CANTO_SEND, CANTO_COLLECTIVE};
    if (header->what == CANTO_HEADER_NOTE) {
        peer->waits = true;
        peer->awaited = *header;
        comm->peers[header->root].note_from = (int)(peer - comm->peers);
        comm->peers[header->root].passed_on = false;
        return CANTO_OK;
    }
    if (header->what == CANTO_HEADER_GOODBYE) {
        peer->left = true;
        return CANTO_OK;
    }
    canto_pairing *pairing = &peer->pairs[opposite[header->what]];
    if (pairing->first && !pairing->theirs) return match(comm, unqueue(pairing), header);
    canto_checked_message *theirs;
    CANTO_TRY(canto_message_take(comm, &theirs));
    theirs->header = *header;
    queue(pairing, theirs, true);
    return CANTO_OK;
}

canto_status canto_headers_announce(canto_checked *comm, canto_checked_message *message)
{
    message->header = (canto_header){
        .what = message->deed,
        .which = message->data.dtype,
        .bytes = (int64_t)canto_tensor_bytes(&message->data),
        .number = message->number,
    };
    CANTO_TRY(canto_headers_listen(comm, message->peer));
    CANTO_TRY(canto_comm_send(comm->headers, message->peer, as_tensor(&message->header),
                              &message->header_request));
    canto_pairing *pairing = &comm->peers[message->peer].pairs[message->deed];
    canto_header theirs;
    if (canto_headers_take(comm, pairing, &theirs)) return match(comm, message, &theirs);
    queue(pairing, message, false);
    return CANTO_OK;
}

// --- the wire ---

canto_status canto_headers_listen(canto_checked *comm, int r)
{
    canto_peer *peer = &comm->peers[r];
    if (peer->listening) return CANTO_OK;
    peer->listening = true;
    return canto_comm_recv(comm->headers, r, as_tensor(&peer->in), &peer->in_request);
}

static canto_status take_in(canto_checked *comm, int r)
{
    canto_peer *peer = &comm->peers[r];
    while (!peer->left) {
        bool done;
        CANTO_TRY(canto_comm_poll(comm->headers, &peer->in_request, &done));
        if (!done) break;
        CANTO_TRY(arrive(comm, peer, &peer->in));
        if (peer->left) break;
        CANTO_TRY(canto_comm_recv(comm->headers, r, as_tensor(&peer->in), &peer->in_request));
    }
    return CANTO_OK;
}

canto_status canto_headers_progress(canto_checked *comm)
{
    for (int r = 0; r < comm->base.size; r++) {
        if (comm->peers[r].listening) CANTO_TRY(take_in(comm, r));
    }
    return CANTO_OK;
}

canto_status canto_headers_goodbye(canto_checked *comm)
{
    comm->goodbye.what = CANTO_HEADER_GOODBYE;
    for (int r = 0; r < comm->base.size; r++) {
        canto_peer *peer = &comm->peers[r];
        if (!peer->listening) continue;
        CANTO_TRY(
            canto_comm_send(comm->headers, r, as_tensor(&comm->goodbye), &peer->goodbye_request));
    }
    for (int r = 0; r < comm->base.size; r++) {
        canto_peer *peer = &comm->peers[r];
        canto_blocked blocked = {.peer = r,
                                 .deed = CANTO_COLLECTIVE,
                                 .number = comm->collectives,
                                 .kind = "destroy",
                                 .since_s = canto_clock_s(),
                                 .noted = true};
        for (bool sent = false; peer->listening && !(sent && peer->left);) {
            CANTO_TRY(canto_comm_poll(comm->headers, &peer->goodbye_request, &sent));
            CANTO_TRY(canto_checked_turn(comm, &blocked));
        }
    }
    return CANTO_OK;
}
