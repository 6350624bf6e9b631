// Inside the checked communicator; for the files runtime/comm_*.c only.
//
// Four communicators serve one checked lane: `inner` carries the caller's messages as they are,
// `headers` a header of 32 bytes for each of them in either direction, `small` the collectives,
// and the alarm the errors. Each has its own order, so none can disturb another.
#ifndef CANTO_RUNTIME_COMM_CHECKED_H
#define CANTO_RUNTIME_COMM_CHECKED_H

#include "runtime/comm_alarm.h"
#include "runtime/comm_base.h"

// What a rank can do with another, each counted on its own: the n-th send of the one meets the n-th
// receive of the other; collectives meet each other.
typedef enum canto_deed { CANTO_SEND, CANTO_RECV, CANTO_COLLECTIVE, CANTO_DEEDS } canto_deed;

typedef enum canto_collective { CANTO_BCAST, CANTO_GATHER, CANTO_SPLIT } canto_collective;

// Headers that are not about a deed: what their sender waits for; that it sends no more.
enum { CANTO_HEADER_NOTE = CANTO_DEEDS, CANTO_HEADER_GOODBYE };

typedef struct canto_header {
    int32_t what;  // a canto_deed or CANTO_HEADER_*
    int32_t which; // dtype; canto_collective; the canto_deed awaited
    int32_t root;  // of a broadcast; the rank that a note started from
    int32_t unused;
    int64_t bytes;
    int64_t number; // counted from 0 for each pair and deed
} canto_header;

// A message of the caller under way.
typedef struct canto_checked_message {
    canto_deed deed;
    int peer;
    int64_t number;
    canto_tensor data;
    bool used;
    bool matched; // the other end has announced its side, and it agrees
    canto_header header;
    canto_request header_request;
    canto_request payload;
    int index;                          // request - 1
    struct canto_checked_message *next; // the next one unmatched, or free
} canto_checked_message;

// One deed with one peer, in order: mine that it has not announced, or its that I have not started.
typedef struct canto_pairing {
    int64_t started;                     // by me, and announced
    bool theirs;                         // which of the two; of its messages only the header is set
    canto_checked_message *first, *last; // borrowed
} canto_pairing;

typedef struct canto_peer {
    canto_pairing pairs[CANTO_DEEDS];
    bool listening; // after success both ends of a pair do, or neither
    bool left;      // it has said goodbye
    canto_header in;
    canto_request in_request;
    canto_request goodbye_request;
    bool waits; // it has told what it waits for
    canto_header awaited;
    int note_from;  // the neighbour that brought a note which started at this rank; -1: none
    bool passed_on; // ... and I sent it further, in this wait
} canto_peer;

typedef struct canto_checked {
    canto_comm base;
    canto_comm *inner;   // owned
    canto_comm *small;   // owned
    canto_comm *headers; // owned, NULL unless checks.headers
    canto_alarm *alarm;  // shared
    canto_comm_checks checks;
    int *names;                       // owned: each rank's number where the alarm was opened
    canto_peer *peers;                // owned, one a rank
    canto_checked_message **messages; // owned
    int messages_n;
    canto_checked_message *free;
    int64_t collectives; // started so far
    canto_header collective;
    canto_header goodbye;
    canto_header note;
    canto_request note_request;
} canto_checked;

// What a rank is blocked on, for the sentence of a timeout.
typedef struct canto_blocked {
    int peer;
    canto_deed deed; // what the peer must do
    int64_t number;
    size_t bytes;
    const char *kind; // dtype or name of the collective
    bool announced;   // the peer has done it; only the bytes are missing
    double since_s;
    bool noted;
} canto_blocked;

const char *canto_collective_name(canto_collective which);

// --- comm_checked.c: the pool of messages ---
canto_status canto_message_take(canto_checked *comm, canto_checked_message **out);
void canto_message_give(canto_checked *comm, canto_checked_message *message);

// --- comm_headers.c ---
// Announces a started message to its peer, and matches it if the peer has announced its side.
canto_status canto_headers_announce(canto_checked *comm, canto_checked_message *message);
// Takes in what has arrived. Ranks listen to a peer from their first message with it on.
canto_status canto_headers_progress(canto_checked *comm);
canto_status canto_headers_listen(canto_checked *comm, int peer);
bool canto_headers_take(canto_checked *comm, canto_pairing *pairing, canto_header *out);
// Ends the lane: afterwards no header is on its way in either direction. Collective.
canto_status canto_headers_goodbye(canto_checked *comm);

// --- comm_checked_wait.c ---
// One turn of a wait: alarm, headers, time limit, and ranks that wait for each other in a circle.
canto_status canto_checked_turn(canto_checked *comm, canto_blocked *blocked);

// --- comm_checked_small.c ---
canto_status canto_checked_bcast(canto_comm *base, int root, canto_tensor data);
canto_status canto_checked_gather_small(canto_comm *base, size_t bytes, const void *mine,
                                        void *all);
// The same under the name of a split.
canto_status canto_checked_gather_colors(canto_checked *comm, const int *color, int *all);

#endif
