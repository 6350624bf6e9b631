// A lane of a CUDA device: its messages, and the line of groups that they travel in. For
// comm_nccl.c and nccl_line.c, which include NCCL's header.
//
// A group is FILLING between group_begin and group_end, QUEUED until NCCL takes it, LAUNCHING while
// NCCL puts it into the stream, RUNNING until its event has happened, and then DONE until its last
// message has been waited for.
#ifndef CANTO_RUNTIME_CUDA_NCCL_LANE_H
#define CANTO_RUNTIME_CUDA_NCCL_LANE_H

#include "runtime/comm_base.h"
#include "runtime/cuda/cuda_device.h"

struct ncclComm;

enum {
    CANTO_NCCL_NONE = -1,
    CANTO_NCCL_GROUPS_FIRST = 16,
    CANTO_NCCL_MESSAGES_FIRST = 64,
};

typedef enum canto_nccl_state {
    CANTO_NCCL_FREE,
    CANTO_NCCL_FILLING,
    CANTO_NCCL_QUEUED,
    CANTO_NCCL_LAUNCHING,
    CANTO_NCCL_RUNNING,
    CANTO_NCCL_DONE
} canto_nccl_state;

typedef struct canto_nccl_message {
    bool used, sending;
    int peer;
    canto_tensor data;
    int group;
    int next; // in the group, or free
} canto_nccl_message;

typedef struct canto_nccl_group {
    canto_nccl_state state;
    struct CUevent_st *ready, *done; // owned
    int first, last;                 // messages, until they are in the stream
    int messages;                    // number of them
    int open;                        // of them, neither waited for nor polled to the end
    canto_nccl_message about;        // the first one, for sentences
    int64_t number;
    double since_s; // when others were first waited for; 0: not yet
    int next;       // in the line, or free
} canto_nccl_group;

struct canto_cuda_lane {
    canto_comm base;
    canto_cuda *cuda;      // borrowed
    canto_comm *host;      // owned
    struct ncclComm *nccl; // owned
    struct CUstream_st *stream;
    canto_nccl_group *groups; // owned
    int groups_n, free_group;
    canto_nccl_message *messages; // owned; request - 1
    int messages_n, free_message;
    bool grouping;
    int filling;             // between group_begin and group_end
    int front, back, launch; // the line; launch: the first that is not in the stream
    int64_t started;
    canto_cuda_lane *next; // of the device
};

// --- nccl_line.c ---

canto_status canto_nccl_grow_messages(canto_cuda_lane *lane, int n);
canto_status canto_nccl_grow_groups(canto_cuda_lane *lane, int n);
canto_status canto_nccl_take_message(canto_cuda_lane *lane, int *out);
canto_status canto_nccl_take_group(canto_cuda_lane *lane, int *out);
void canto_nccl_give_group(canto_cuda_lane *lane, int index);

// Puts a filled group at the end of the line.
canto_status canto_nccl_join_line(canto_cuda_lane *lane, int index);
// Hears of errors, gives NCCL the groups that it can take, takes groups out that are done.
canto_status canto_nccl_turn(canto_cuda_lane *lane);
// Blocks until a call of NCCL that takes the other ranks, too, has ended; `call` is its name.
canto_status canto_nccl_await_ranks(canto_cuda_lane *lane, const char *call);

// What NCCL's answer (a ncclResult_t) to `call` means: it may be still at it.
canto_status canto_nccl_check(const canto_cuda_lane *lane, int result, const char *call);
// Every error of a lane passes through here on its way up, and becomes the error of all ranks.
canto_status canto_nccl_told(canto_cuda_lane *lane, canto_status status);

#endif
