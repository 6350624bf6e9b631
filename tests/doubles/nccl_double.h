// Inside the double of NCCL. A communicator is a list of ranks of MPI_COMM_WORLD (which nobody else
// sends on: the program has its own duplicate) and four tags of its own.
#ifndef CANTO_TESTS_DOUBLES_NCCL_DOUBLE_H
#define CANTO_TESTS_DOUBLES_NCCL_DOUBLE_H

#include "tests/doubles/doubles.h"

#include <mpi.h>

enum { DOUBLE_GROUP_BYTES = CANTO_SHADOW_ARGUMENT_MAX };

typedef enum double_tag { TAG_JOIN, TAG_LIST, TAG_HELLO, TAG_HEADER, TAG_DATA, TAGS } double_tag;

typedef enum double_state {
    STATE_JOINING,
    STATE_READY,
    STATE_LAUNCHING,
    STATE_FINALIZING,
    STATE_FINALIZED
} double_state;

typedef struct double_header {
    int64_t count;
    int32_t type, group;
} double_header;

typedef struct double_message {
    bool sends, matched;
    int peer; // rank in the communicator
    size_t bytes;
    void *place;
    double_header mine, theirs;
    MPI_Request header, data;
} double_message;

// What is put into a stream.
typedef struct double_group {
    struct ncclComm *comm;
    int number, n;
    bool started;
    double since_s;
    double_message messages[];
} double_group;

typedef struct double_member {
    int rank, world;
} double_member;

struct ncclComm {
    bool open, aborted;
    int rank, size, root, tag, me; // root, me: in the world
    double_state state;
    int error;              // a ncclResult_t, for good
    int polls;              // that a call still takes
    double_member *members; // owned; by rank, once all are known
    int joined;             // of them
    MPI_Request *requests;  // owned, [2 * size]: of joining, then of hellos
    bool *greeted;          // owned, [size]
    char *heard;            // owned, [size]
    double_group *pending;  // owned, DOUBLE_GROUP_BYTES: given, and not in the stream yet
    struct CUstream_st *stream;
    int outstanding; // groups in the stream
    int groups;      // so far
};

// --- nccl_join.c ---

// Forms the communicator over MPI; *joined: every rank is known.
void canto_double_join(struct ncclComm *comm, bool *joined);
// Greets the peers of the pending group that it has not met; *greeted: all have answered.
void canto_double_greet(struct ncclComm *comm, bool *greeted);
// Forgets what is under way.
void canto_double_drop(struct ncclComm *comm);

// --- nccl_group.c ---

// Runs a group in its stream: a canto_shadow_work.
canto_status canto_double_run_group(void *argument, bool *done);

#endif
