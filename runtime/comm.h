// Messages between ranks.
//
// A communicator is one *lane*: all ranks start the same operations on it in the same order, and
// operations match in that order; there are no tags. Between one pair of ranks the n-th send of the
// one meets the n-th receive of the other. Two things that progress independently (a layer's
// schedule, the gradient reduction, control) use lanes of their own, made by canto_comm_split with
// one colour.
//
// Nothing here makes progress by itself: call canto_comm_poll between pieces of work.
// After any error a communicator may only be destroyed; launch/ then ends the job.
#ifndef CANTO_RUNTIME_COMM_H
#define CANTO_RUNTIME_COMM_H

#include "runtime/status.h"
#include "runtime/tensor.h"

#include <stdbool.h>

typedef struct canto_comm canto_comm;
struct canto_trace; // runtime/trace.h

// A message under way. 0 = none: waiting for none returns at once.
typedef int64_t canto_request;
enum { CANTO_REQUEST_NONE = 0 };

enum { CANTO_GATHER_SMALL_MAX = 1024 }; // bytes of one rank's record in canto_comm_gather_small

// What a communicator has done since it was made. Messages are those of canto_comm_send and
// canto_comm_recv, counted when they are started; what a collective or a check sends is not
// counted.
typedef struct canto_comm_counts {
    int64_t messages_sent;
    int64_t bytes_sent; // payload
    int64_t messages_received;
    int64_t bytes_received;
    int64_t collectives;
    double wait_s; // seconds spent inside canto_comm_wait and the collectives
} canto_comm_counts;

typedef struct canto_comm_ops {
    const char *name; // "self", "mpi", "checked"
    canto_status (*send)(canto_comm *comm, int peer, canto_tensor data, canto_request *out);
    canto_status (*recv)(canto_comm *comm, int peer, canto_tensor data, canto_request *out);
    canto_status (*wait)(canto_comm *comm, canto_request *request);
    canto_status (*poll)(canto_comm *comm, canto_request *request, bool *done);
    canto_status (*reserve)(canto_comm *comm, int messages);
    canto_status (*group_begin)(canto_comm *comm);
    canto_status (*group_end)(canto_comm *comm);
    canto_status (*bcast)(canto_comm *comm, int root, canto_tensor data);
    canto_status (*gather_small)(canto_comm *comm, size_t bytes, const void *mine, void *all);
    canto_status (*split)(canto_comm *comm, const char *lane, int color, canto_comm **out);
    canto_status (*fail)(canto_comm *comm, canto_status status); // NULL: nobody to tell
    void (*destroy)(canto_comm *comm);
    void (*abort)(canto_comm *comm, int code);
} canto_comm_ops;

// Implementations embed this as their first member.
struct canto_comm {
    const canto_comm_ops *ops;
    const char *lane; // borrowed, a literal: "world", "schedule", "gradients", "control"
    int rank;
    int size;
    double timeout_s; // longest wait for another rank, of whoever keeps a limit; 0: none
    // Kept by the functions below, for every implementation:
    canto_comm_counts counts;
    canto_status failed; // the first error: from then on the communicator may only be destroyed
    void *scratch;       // owned, one CANTO_GATHER_SMALL_MAX record a rank
    struct canto_trace *trace; // borrowed; NULL: off. Work on this lane's behalf is told here, too
};

// --- opening and closing ---

// One rank, no messages. Sending to oneself is an error.
canto_status canto_comm_self_open(canto_comm **out);

// Rank `rank` of `size` that do not run, for plans: it says who it is, its small collectives answer
// as if every rank had said the same (a split has the same rank and size), and messages are errors.
canto_status canto_comm_planned_open(const char *lane, int rank, int size, canto_comm **out);

// Starts MPI (MPI_THREAD_FUNNELED) unless it runs, and opens the world. Errors are returned on our
// own duplicate only; the caller's world keeps its handler. canto_comm_mpi_finalize ends MPI if we
// started it.
canto_status canto_comm_mpi_open(canto_comm **out);
void canto_comm_mpi_finalize(void);

// MPI counts are ints, so a longer message travels as several of at most `bytes` (INT_MAX, unless
// set here before the first message, to the same value on every rank; for tests). comm: from
// canto_comm_mpi_open.
void canto_comm_mpi_limit(canto_comm *comm, size_t bytes);

typedef struct canto_comm_checks {
    bool headers;     // compare operation, dtype and bytes at both ends of every message, and every
                      // collective
    double timeout_s; // longest wait for another rank before CANTO_ERROR_TIMEOUT; 0 = none
} canto_comm_checks;

// Decorates `inner`, which it then owns, also when it fails. Collective on inner. Ranks compare
// what they are about to do, so that a mismatch becomes CANTO_ERROR_MISMATCH with the two ranks'
// names on every rank, instead of a hang. Splits of a checked communicator are checked too, and all
// of them hear one alarm: an error that one rank meets on any of them is told to all other ranks,
// whose waits and polls, on any of them, then return the same status and sentence.
// With headers a send is not finished before the other end has started its receive.
canto_status canto_comm_checked_open(canto_comm *inner, canto_comm_checks checks, canto_comm **out);

// Decorates `inner`, which it then owns, also when it fails. Collective on inner. While `trace` is
// recording, messages, waits and collectives are told to it on the lane of this name; splits of a
// traced communicator are traced, too. Sends one small record a rank when it is split, and nothing
// else. The trace must outlive it.
canto_status canto_comm_traced_open(canto_comm *inner, struct canto_trace *trace, canto_comm **out);

// Collective on comm after success; local after an error. Sets *comm to NULL.
void canto_comm_destroy(canto_comm **comm);

// Ends the whole job with `code` (MPI_Abort, or exit without MPI); for launch/ only.
void canto_comm_abort(canto_comm *comm, int code);

// An error that was met elsewhere on behalf of this communicator (by a device, by a communicator
// that stands on this one): it may only be destroyed from now on, and where it is checked all ranks
// hear of it. Returns what all ranks return. Local.
canto_status canto_comm_fail(canto_comm *comm, canto_status status);

// --- messages ---

// Start a message. The tensor's memory must stay untouched until the request is done. Local.
// Empty messages (0 bytes) are errors: both ends can see that there is nothing to send.
canto_status canto_comm_send(canto_comm *comm, int peer, canto_tensor data, canto_request *out);
canto_status canto_comm_recv(canto_comm *comm, int peer, canto_tensor data, canto_request *out);

// Finish it: blocks, then sets *request to CANTO_REQUEST_NONE.
canto_status canto_comm_wait(canto_comm *comm, canto_request *request);

// Lets all messages of the lane make progress. With request != NULL, *done tells whether that one
// is finished (and sets *request to CANTO_REQUEST_NONE if so).
canto_status canto_comm_poll(canto_comm *comm, canto_request *request, bool *done);

// Messages started between begin and end may be started together (NCCL needs this; elsewhere it
// does nothing).
canto_status canto_comm_group_begin(canto_comm *comm);
canto_status canto_comm_group_end(canto_comm *comm);

// Makes room for this many messages of mine that are open at one time, so that starting them
// allocates nothing; room for more is made when it is needed. Local.
canto_status canto_comm_reserve(canto_comm *comm, int messages);

// --- small collectives, all collective on comm ---

canto_status canto_comm_bcast(canto_comm *comm, int root, canto_tensor data);

// all[r] = rank r's record of `bytes` bytes (at most CANTO_GATHER_SMALL_MAX), for every r.
canto_status canto_comm_gather_small(canto_comm *comm, size_t bytes, const void *mine, void *all);

// Element-wise sum in rank order over at most 64 doubles: the same bits on every rank and in every
// run.
canto_status canto_comm_sum_small(canto_comm *comm, int n, double *inout);

// Ends a setup step that may have failed on some rank: every rank returns the status of the lowest
// rank that failed, and its sentence. All ranks must call it.
canto_status canto_comm_agree(canto_comm *comm, canto_status mine);

// The ranks of equal colour, in rank order, as a new communicator (a lane if all colours are
// equal).
canto_status canto_comm_split(canto_comm *comm, const char *lane, int color, canto_comm **out);

#endif
