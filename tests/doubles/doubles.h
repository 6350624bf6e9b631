// Link-time doubles of CUDA's runtime, cuBLAS and NCCL: the functions that the CUDA backend calls,
// with the prototypes of the vendors' headers, on the shadow's memory and streams. Device memory is
// inaccessible, streams run late and in a random order as far as events allow (CANTO_SHADOW_SEED
// draws another), every pointer, count, stream and group is checked, and NCCL's messages travel
// over MPI. The device goes on whenever the host asks it, or MPI, for something.
//
// kernels.cu is not run: the table of kernels is the recorder's, on the cpu's kernels, and complete
// (attention, too, which the CUDA backend lacks); only the product goes through the backend's own
// code, to the double of cuBLAS. What is refused is told by cudaGetErrorString and
// ncclGetLastError.
#ifndef CANTO_TESTS_DOUBLES_DOUBLES_H
#define CANTO_TESTS_DOUBLES_DOUBLES_H

#include "runtime/backend.h"
#include "runtime/shadow/memory.h"
#include "runtime/shadow/streams.h"

// --- for tests ---

// The n-th call from now on of the function of this name returns `code` and does nothing; n = 0:
// none. A function of NCCL that returns ncclInProgress may be failed at its end by the name
// "ncclCommGetAsyncError:state".
void canto_doubles_fail(const char *call, int n, int code);
// Number of devices that cudaGetDeviceCount sees, and their compute capability; 8 and 9.0.
void canto_doubles_devices(int n, int major);
// Longest time of a group of messages, in seconds, before it is refused; 10.
void canto_doubles_patience(double seconds);
// Objects that were made and not destroyed: streams, events, communicators, pinned buffers.
int canto_doubles_open_objects(void);
// Forgets errors, so that the next test starts anew.
void canto_doubles_forget(void);

// --- inside ---

struct CUstream_st {
    bool open;
    int number;
    char name[32];
};

struct CUevent_st {
    bool open;
    canto_shadow_point point;
};

typedef struct canto_doubles {
    canto_shadow_memory memory;
    canto_shadow_streams *streams;
    struct CUstream_st compute; // the stream that kernels are recorded on
    bool compute_used;
    double patience_s;
    int devices, major;
    int objects;
    int last_error; // for cudaGetLastError
    char sentence[CANTO_MESSAGE_MAX];
} canto_doubles;

extern canto_doubles canto_doubles_state;

// Whether this call is to fail, with *code.
bool canto_doubles_injected(const char *call, int *code);
// Keeps the sentence and returns `code`.
int canto_doubles_refuse(int code, const char *format, ...) __attribute__((format(printf, 2, 3)));
// The same with the sentence of a failed canto_status, which it clears.
int canto_doubles_take_error(int code);
bool canto_doubles_is_stream(const struct CUstream_st *stream);
// A little of the device's work, now and then.
void canto_doubles_let_run(void);

// Whether this call is to fail; to be the first line of every double.
#define CANTO_DOUBLE(type)                                                                         \
    do {                                                                                           \
        int canto_double_code;                                                                     \
        if (canto_doubles_injected(__func__, &canto_double_code)) return (type)canto_double_code;  \
    } while (0)

#endif
