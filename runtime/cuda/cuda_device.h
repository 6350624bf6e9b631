// Inside the CUDA backend; for the files of runtime/cuda/ and their doubles only. CUDA's types are
// named by the structs behind them, so that its headers stay in files that are compiled.
//
// Work is queued on one stream, `compute`; every lane has a stream of its own (comm_nccl.c). The
// host waits in one place, canto_cuda_await, which looks after the lanes while it does.
#ifndef CANTO_RUNTIME_CUDA_CUDA_DEVICE_H
#define CANTO_RUNTIME_CUDA_CUDA_DEVICE_H

#include "runtime/device.h"

enum {
    CANTO_CUDA_PIECES = 8,            // of the staging buffer, used in turn
    CANTO_CUDA_PIECE_BYTES = 1 << 20, // of each
    CANTO_CUDA_WORKSPACE = 32 << 20,  // bytes that cuBLAS works in
    CANTO_CUDA_PARTIAL_SUMS = 512,    // doubles, of sum_squares and loss_sum
    CANTO_CUDA_NAME_MAX = 96,
};

struct CUstream_st;
struct CUevent_st;
struct cublasContext;
typedef struct canto_cuda_lane canto_cuda_lane;

typedef struct canto_cuda {
    canto_device base;
    int ordinal;
    char name[CANTO_CUDA_NAME_MAX];               // "CUDA device 0 (NVIDIA H100)"
    struct CUstream_st *compute;                  // owned
    struct CUevent_st *finished;                  // owned
    struct cublasContext *cublas;                 // owned
    void *workspace;                              // owned, device memory of cuBLAS
    double *partial_sums;                         // owned, device memory
    char *staging;                                // owned, pinned host memory
    struct CUevent_st *staged[CANTO_CUDA_PIECES]; // owned: the piece may be used again
    int next_piece;
    canto_cuda_lane *lanes; // borrowed: every open lane
    // The first error of queued work, until the device is closed:
    int error;        // a cudaError_t, or CANTO_CUDA_ERROR_CUBLAS
    int error_detail; // a cublasStatus_t
    const char *error_slot;
    const char *last_slot; // queued last
} canto_cuda;

enum { CANTO_CUDA_ERROR_CUBLAS = -1 };

static inline canto_cuda *canto_cuda_of(const canto_device *device)
{
    return (canto_cuda *)device; // made by cuda_open, not const
}

// --- backend_cuda.c ---

// CANTO_OK, or the sentence for a result of CUDA's runtime (a cudaError_t) in `call`.
canto_status canto_cuda_check(const canto_cuda *cuda, int result, const char *call);
// Blocks until the event has happened, looking after the lanes meanwhile.
canto_status canto_cuda_await(canto_cuda *cuda, struct CUevent_st *event);
// *done: the event has happened.
canto_status canto_cuda_query(const canto_cuda *cuda, struct CUevent_st *event, bool *done);
// To be called after a kernel was queued for `slot`: keeps the first error for the next finish.
void canto_cuda_launched(const canto_device *device, const char *slot);

// --- comm_nccl.c ---

// Takes host, also when it fails. Collective on host. With one rank it is host itself.
canto_status canto_cuda_lane_open(canto_cuda *cuda, canto_comm *host, canto_comm **out);
// One turn for every open lane: starts what waits, hears of errors and of time limits.
canto_status canto_cuda_lanes_turn(canto_cuda *cuda);
// Tells the other ranks of every open lane of this device's error. Returns what all ranks return.
canto_status canto_cuda_lanes_fail(canto_cuda *cuda, canto_status status);

extern const canto_backend canto_backend_cuda;

// --- kernels_cuda.c: what kernels.cu and cuBLAS have ---
extern const canto_kernels canto_kernels_cuda;

#endif
