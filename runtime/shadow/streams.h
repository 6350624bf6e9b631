// Streams of work that run late, in any order that their rules allow: work of one stream runs in
// the order in which it was put there, streams know nothing of each other but what
// canto_shadow_follow says, and nothing runs until somebody waits for it (or, now and then, polls).
// The order is drawn from a seed, so that a failure can be repeated.
//
// Everything runs inside the calls below, on the caller's thread; there is no other. The first
// error of any work ends all of it: from then on every call returns it. All functions are local,
// but work may stand for messages to others.
#ifndef CANTO_RUNTIME_SHADOW_STREAMS_H
#define CANTO_RUNTIME_SHADOW_STREAMS_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CANTO_SHADOW_STREAMS_MAX = 64 };
enum { CANTO_SHADOW_ARGUMENT_MAX = 1 << 17 }; // bytes

typedef struct canto_shadow_streams canto_shadow_streams;

// One piece of work, with its copy of the argument (aligned to 16 bytes; changes of it are kept
// from one call to the next). It is called until it sets *done, which is false when it is called:
// a kernel is done at once, a message when it has arrived. It must not put, follow or run anything.
typedef canto_status (*canto_shadow_work)(void *argument, bool *done);

// A place in a stream, what is called an event elsewhere: it is reached when all that was put
// before it is done. {0}: reached.
typedef struct canto_shadow_point {
    int stream;
    int64_t position;
} canto_shadow_point;

// Number in the environment variable CANTO_SHADOW_SEED, 1 without it.
uint64_t canto_shadow_seed(void);

// The order is a function of seed and `who`, so that ranks draw different ones; the seed stands in
// sentences. stall_s: longest time in which nothing gets done while somebody waits, before
// CANTO_ERROR_TIMEOUT with a sentence that names what every stream is about to do.
canto_status canto_shadow_streams_open(uint64_t seed, int who, double stall_s,
                                       canto_shadow_streams **out);
void canto_shadow_set_stall(canto_shadow_streams *streams, double stall_s); // for tests
// Closes all streams, drops what they hold and sets *streams to NULL. CANTO_ERROR_ARGUMENT if there
// was work left, or the first error.
canto_status canto_shadow_streams_close(canto_shadow_streams **streams);

// `name` is a literal, for sentences. Streams are numbered from 1 and no number is used twice.
canto_status canto_shadow_stream_open(canto_shadow_streams *streams, const char *name, int *out);
// Runs what is left in it first. After an error it only forgets the stream.
canto_status canto_shadow_stream_close(canto_shadow_streams *streams, int stream);

// Puts work at the end of a stream; copies the argument, at most CANTO_SHADOW_ARGUMENT_MAX bytes.
// `what` is a literal. Allocates nothing: when the stream is full, work runs until there is room.
canto_status canto_shadow_put(canto_shadow_streams *streams, int stream, const char *what,
                              canto_shadow_work work, size_t bytes, const void *argument);
// The end of a stream as it is now.
canto_shadow_point canto_shadow_end(const canto_shadow_streams *streams, int stream);
// What is put into the stream from now on runs after the point is reached.
canto_status canto_shadow_follow(canto_shadow_streams *streams, int stream,
                                 canto_shadow_point point);

bool canto_shadow_reached(const canto_shadow_streams *streams, canto_shadow_point point);
bool canto_shadow_idle(const canto_shadow_streams *streams); // there is no work at all
// Runs work until the point is reached; until there is no work; a little, now and then, for those
// who poll. *moved: whether any work got done.
canto_status canto_shadow_run(canto_shadow_streams *streams, canto_shadow_point point);
canto_status canto_shadow_run_all(canto_shadow_streams *streams);
canto_status canto_shadow_let_run(canto_shadow_streams *streams);
canto_status canto_shadow_turn(canto_shadow_streams *streams, bool *moved); // one burst
// CANTO_ERROR_TIMEOUT if somebody who calls canto_shadow_turn in a loop has seen nothing move since
// *since_s for too long; *since_s 0: starts now. To be called after a turn that did not move.
canto_status canto_shadow_check_stall(canto_shadow_streams *streams, double *since_s);

// The first error so far, with its sentence. `fail` notes one that was found elsewhere.
canto_status canto_shadow_status(const canto_shadow_streams *streams);
canto_status canto_shadow_fail(canto_shadow_streams *streams, canto_status status);

#endif
