// The CUDA backend: memory, one stream of kernels, copies through a pinned staging buffer that is
// taken once, and products by cuBLAS. Compiled and emulated, not yet run on a GPU.
//
// Kernels return nothing, so the device keeps the first error of queued work and tells it at the
// next copy or finish. While the host waits for an event it looks after the lanes (comm_nccl.c): a
// rank that has died must not leave the others waiting in their streams.
#include "runtime/cuda/cuda_device.h"
#include "runtime/cuda/kernels.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CAPABILITY_MIN = 8 }; // sm_80 is the oldest that kernels.cu is compiled for

// --- errors ---

static canto_status device_failed(const canto_cuda *cuda, cudaError_t result, const char *call)
{
    CANTO_FAIL(CANTO_ERROR_DEVICE,
               "%s: %s: %s (%s); the last kernel in the queue was %s, and CUDA_LAUNCH_BLOCKING=1 "
               "shows which one failed",
               cuda->name, call, cudaGetErrorString(result), cudaGetErrorName(result),
               cuda->last_slot ? cuda->last_slot : "none");
}

canto_status canto_cuda_check(const canto_cuda *cuda, int result, const char *call)
{
    return result == cudaSuccess ? CANTO_OK : device_failed(cuda, (cudaError_t)result, call);
}

// The first error of queued work.
static canto_status kept_error(const canto_cuda *cuda)
{
    if (cuda->error == cudaSuccess) return CANTO_OK;
    if (cuda->error == CANTO_CUDA_ERROR_CUBLAS)
        CANTO_FAIL(CANTO_ERROR_DEVICE, "%s: %s: cuBLAS: %s; see whether the device has memory left",
                   cuda->name, cuda->error_slot,
                   cublasGetStatusString((cublasStatus_t)cuda->error_detail));
    CANTO_FAIL(CANTO_ERROR_DEVICE,
               "%s: the kernel %s could not be queued: %s (%s); this build has kernels for sm_80, "
               "sm_90 and sm_100",
               cuda->name, cuda->error_slot, cudaGetErrorString((cudaError_t)cuda->error),
               cudaGetErrorName((cudaError_t)cuda->error));
}

static void keep_error(canto_cuda *cuda, int error, int detail, const char *slot)
{
    if (cuda->error != cudaSuccess) return;
    cuda->error = error;
    cuda->error_detail = detail;
    cuda->error_slot = slot;
}

void canto_cuda_launched(const canto_device *device, const char *slot)
{
    canto_cuda *cuda = canto_cuda_of(device);
    cuda->last_slot = slot;
    const cudaError_t result = cudaGetLastError();
    if (result != cudaSuccess) keep_error(cuda, (int)result, 0, slot);
}

// Other ranks wait for this one in their streams: they hear of its error.
static canto_status told(canto_cuda *cuda, canto_status status)
{
    return status == CANTO_OK ? CANTO_OK : canto_cuda_lanes_fail(cuda, status);
}

// --- waiting ---

canto_status canto_cuda_query(const canto_cuda *cuda, struct CUevent_st *event, bool *done)
{
    const cudaError_t result = cudaEventQuery(event);
    *done = result == cudaSuccess;
    if (result != cudaErrorNotReady) return canto_cuda_check(cuda, (int)result, "cudaEventQuery");
    (void)cudaGetLastError(); // where it would be taken for an error of the next kernel
    return CANTO_OK;
}

canto_status canto_cuda_await(canto_cuda *cuda, struct CUevent_st *event)
{
    for (bool done = false;;) {
        CANTO_TRY(canto_cuda_query(cuda, event, &done));
        if (done) return CANTO_OK;
        CANTO_TRY(canto_cuda_lanes_turn(cuda));
        sched_yield();
    }
}

static canto_status finish(canto_cuda *cuda)
{
    CANTO_TRY(kept_error(cuda));
    CANTO_TRY(canto_cuda_check(cuda, (int)cudaEventRecord(cuda->finished, cuda->compute),
                               "cudaEventRecord"));
    CANTO_TRY(canto_cuda_await(cuda, cuda->finished));
    return kept_error(cuda);
}

static canto_status cuda_finish(const canto_device *device)
{
    canto_cuda *cuda = canto_cuda_of(device);
    return told(cuda, finish(cuda));
}

// --- memory ---

static canto_status no_memory(const canto_cuda *cuda, size_t bytes)
{
    (void)cudaGetLastError(); // told here
    size_t left = 0, all = 0;
    (void)cudaMemGetInfo(&left, &all);
    CANTO_FAIL(CANTO_ERROR_MEMORY,
               "memory: %s has %zu of its %zu bytes free, %zu are wanted; use a smaller model, "
               "shorter sequences or more ranks",
               cuda->name, left, all, bytes);
}

static canto_status cuda_alloc(const canto_device *device, size_t bytes, void **out)
{
    canto_cuda *cuda = canto_cuda_of(device);
    *out = NULL; // cudaMalloc aligns to 256 bytes
    const cudaError_t result = cudaMalloc(out, bytes);
    if (result == cudaErrorMemoryAllocation) return no_memory(cuda, bytes);
    CANTO_TRY(canto_cuda_check(cuda, (int)result, "cudaMalloc"));
    const cudaError_t cleared = cudaMemsetAsync(*out, 0, bytes, cuda->compute);
    if (cleared == cudaSuccess) return CANTO_OK;
    (void)cudaFree(*out);
    *out = NULL;
    return device_failed(cuda, cleared, "cudaMemsetAsync");
}

// cudaFree waits for all work, so that nothing in a queue can meet memory that is gone.
static void cuda_release(const canto_device *device, void *memory, size_t bytes)
{
    (void)device, (void)bytes;
    (void)cudaFree(memory);
    (void)cudaGetLastError(); // of an earlier failure, which has been told
}

// --- copies ---

// The next piece of the staging buffer, once the copy that used it last is done.
static canto_status next_piece(canto_cuda *cuda, int *out)
{
    *out = cuda->next_piece;
    cuda->next_piece = (cuda->next_piece + 1) % CANTO_CUDA_PIECES;
    return canto_cuda_await(cuda, cuda->staged[*out]);
}

static char *staging(const canto_cuda *cuda, int piece)
{
    return cuda->staging + (size_t)piece * CANTO_CUDA_PIECE_BYTES;
}

static canto_status queue_copy(canto_cuda *cuda, void *to, const void *from, size_t bytes,
                               enum cudaMemcpyKind kind, int piece)
{
    CANTO_TRY(canto_cuda_check(cuda, (int)cudaMemcpyAsync(to, from, bytes, kind, cuda->compute),
                               "cudaMemcpyAsync"));
    return canto_cuda_check(cuda, (int)cudaEventRecord(cuda->staged[piece], cuda->compute),
                            "cudaEventRecord");
}

static size_t piece_bytes(size_t left)
{
    return left < CANTO_CUDA_PIECE_BYTES ? left : CANTO_CUDA_PIECE_BYTES;
}

static canto_status upload(canto_cuda *cuda, char *to, const char *from, size_t bytes)
{
    CANTO_TRY(kept_error(cuda));
    for (size_t at = 0; at < bytes; at += CANTO_CUDA_PIECE_BYTES) {
        const size_t n = piece_bytes(bytes - at);
        int piece;
        CANTO_TRY(next_piece(cuda, &piece));
        memcpy(staging(cuda, piece), from + at, n);
        CANTO_TRY(
            queue_copy(cuda, to + at, staging(cuda, piece), n, cudaMemcpyHostToDevice, piece));
    }
    return CANTO_OK;
}

// One piece is on its way while the one before it is taken out.
static canto_status download(canto_cuda *cuda, char *to, const char *from, size_t bytes)
{
    CANTO_TRY(kept_error(cuda));
    int piece = 0, before = 0;
    for (size_t at = 0; at < bytes + CANTO_CUDA_PIECE_BYTES; at += CANTO_CUDA_PIECE_BYTES) {
        if (at < bytes) {
            CANTO_TRY(next_piece(cuda, &piece));
            CANTO_TRY(queue_copy(cuda, staging(cuda, piece), from + at, piece_bytes(bytes - at),
                                 cudaMemcpyDeviceToHost, piece));
        }
        if (at > 0) {
            const size_t taken = at - CANTO_CUDA_PIECE_BYTES;
            CANTO_TRY(canto_cuda_await(cuda, cuda->staged[before]));
            memcpy(to + taken, staging(cuda, before), piece_bytes(bytes - taken));
        }
        before = piece;
    }
    return kept_error(cuda);
}

static canto_status cuda_upload(const canto_device *device, void *to, const void *from,
                                size_t bytes)
{
    canto_cuda *cuda = canto_cuda_of(device);
    return told(cuda, upload(cuda, to, from, bytes));
}

static canto_status cuda_download(const canto_device *device, void *to, const void *from,
                                  size_t bytes)
{
    canto_cuda *cuda = canto_cuda_of(device);
    return told(cuda, download(cuda, to, from, bytes));
}

// --- products ---

// cuBLAS counts columns first. What lies in memory as a row-major matrix is for cuBLAS its
// transpose, and c' = op(b)' op(a)': the operands change places, and whether each is transposed
// stays (cuBLAS documentation, "Data layout").
void canto_cuda_gemm(const canto_device *device, const canto_gemm_shape *shape, const void *a,
                     const void *b, void *c)
{
    const canto_gemm_shape *s = shape;
    if (s->m <= 0 || s->n <= 0) return;
    canto_cuda *cuda = canto_cuda_of(device);
    const cublasOperation_t op_a = s->trans_a ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t op_b = s->trans_b ? CUBLAS_OP_T : CUBLAS_OP_N;
    const float alpha = 1, beta = s->adds ? 1 : 0;
    cublasStatus_t status;
    if (s->in == CANTO_BF16)
        status = cublasGemmEx_64(cuda->cublas, op_b, op_a, s->n, s->m, s->k, &alpha, b, CUDA_R_16BF,
                                 s->ldb, a, CUDA_R_16BF, s->lda, &beta, c,
                                 s->out == CANTO_BF16 ? CUDA_R_16BF : CUDA_R_32F, s->ldc,
                                 CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
    else
        status = cublasSgemm_64(cuda->cublas, op_b, op_a, s->n, s->m, s->k, &alpha, b, s->ldb, a,
                                s->lda, &beta, c, s->ldc);
    if (status != CUBLAS_STATUS_SUCCESS)
        keep_error(cuda, CANTO_CUDA_ERROR_CUBLAS, (int)status, "gemm");
    cuda->last_slot = "gemm";
}

// --- opening and closing ---

static canto_status choose_device(canto_cuda *cuda, int ordinal)
{
    int devices = 0;
    const cudaError_t result = cudaGetDeviceCount(&devices);
    if (result == cudaErrorInsufficientDriver)
        CANTO_FAIL(
            CANTO_ERROR_UNSUPPORTED,
            "run.device cuda: there is no NVIDIA driver here, or it is older than this build "
            "needs (%s); install a driver, or use run.device=cpu",
            cudaGetErrorString(result));
    if (result != cudaSuccess || devices == 0)
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED,
                   "run.device cuda: cudaGetDeviceCount says: %s; see what nvidia-smi says and "
                   "whether CUDA_VISIBLE_DEVICES hides the GPUs, or use run.device=cpu",
                   result == cudaSuccess ? "no devices" : cudaGetErrorString(result));
    // A launcher that shows each rank its own device only: that one, whatever the rank's number.
    cuda->ordinal = devices == 1 ? 0 : ordinal;
    if (cuda->ordinal < devices) return CANTO_OK;
    CANTO_FAIL(
        CANTO_ERROR_UNSUPPORTED,
        "run.device cuda: this host has %d GPUs, and its rank %d wants one of its own; start "
        "at most %d ranks on a host",
        devices, ordinal, devices);
}

static canto_status look_at_device(canto_cuda *cuda)
{
    struct cudaDeviceProp properties;
    snprintf(cuda->name, sizeof cuda->name, "CUDA device %d", cuda->ordinal);
    CANTO_TRY(canto_cuda_check(cuda, (int)cudaGetDeviceProperties(&properties, cuda->ordinal),
                               "cudaGetDeviceProperties"));
    snprintf(cuda->name, sizeof cuda->name, "CUDA device %d (%.64s)", cuda->ordinal,
             properties.name);
    if (properties.major < CAPABILITY_MIN)
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED,
                   "%s is too old: it has compute capability %d.%d, this build needs %d.0; use "
                   "run.device=cpu",
                   cuda->name, properties.major, properties.minor, CAPABILITY_MIN);
    return canto_cuda_check(cuda, (int)cudaSetDevice(cuda->ordinal), "cudaSetDevice");
}

static canto_status check_cublas(const canto_cuda *cuda, cublasStatus_t status, const char *call)
{
    if (status == CUBLAS_STATUS_SUCCESS) return CANTO_OK;
    CANTO_FAIL(CANTO_ERROR_DEVICE, "%s: %s: %s; see whether the device has memory left", cuda->name,
               call, cublasGetStatusString(status));
}

// fp32 as it is: no TF32. The workspace is ours, so that no product allocates.
static canto_status open_cublas(canto_cuda *cuda)
{
    CANTO_TRY(cuda_alloc(&cuda->base, CANTO_CUDA_WORKSPACE, &cuda->workspace));
    CANTO_TRY(check_cublas(cuda, cublasCreate(&cuda->cublas), "cublasCreate"));
    CANTO_TRY(check_cublas(cuda, cublasSetStream(cuda->cublas, cuda->compute), "cublasSetStream"));
    CANTO_TRY(check_cublas(cuda,
                           cublasSetWorkspace(cuda->cublas, cuda->workspace, CANTO_CUDA_WORKSPACE),
                           "cublasSetWorkspace"));
    return check_cublas(cuda, cublasSetMathMode(cuda->cublas, CUBLAS_DEFAULT_MATH),
                        "cublasSetMathMode");
}

static canto_status make_event(const canto_cuda *cuda, struct CUevent_st **out)
{
    return canto_cuda_check(cuda, (int)cudaEventCreateWithFlags(out, cudaEventDisableTiming),
                            "cudaEventCreateWithFlags");
}

static canto_status open_parts(canto_cuda *cuda, int ordinal)
{
    CANTO_TRY(choose_device(cuda, ordinal));
    CANTO_TRY(look_at_device(cuda));
    CANTO_TRY(canto_cuda_check(
        cuda, (int)cudaStreamCreateWithFlags(&cuda->compute, cudaStreamNonBlocking),
        "cudaStreamCreateWithFlags"));
    CANTO_TRY(make_event(cuda, &cuda->finished));
    for (int i = 0; i < CANTO_CUDA_PIECES; i++) CANTO_TRY(make_event(cuda, &cuda->staged[i]));
    CANTO_TRY(canto_cuda_check(
        cuda,
        (int)cudaMallocHost((void **)&cuda->staging, CANTO_CUDA_PIECES * CANTO_CUDA_PIECE_BYTES),
        "cudaMallocHost"));
    CANTO_TRY(cuda_alloc(&cuda->base, CANTO_CUDA_PARTIAL_SUMS * sizeof *cuda->partial_sums,
                         (void **)&cuda->partial_sums));
    return open_cublas(cuda);
}

// What the calls here say is not looked at: an earlier failure comes back in each of them.
static void close_parts(canto_cuda *cuda)
{
    if (cuda->cublas) (void)cublasDestroy(cuda->cublas);
    (void)cudaFree(cuda->workspace);
    (void)cudaFree(cuda->partial_sums);
    (void)cudaFreeHost(cuda->staging);
    for (int i = 0; i < CANTO_CUDA_PIECES; i++) {
        if (cuda->staged[i]) (void)cudaEventDestroy(cuda->staged[i]);
    }
    if (cuda->finished) (void)cudaEventDestroy(cuda->finished);
    if (cuda->compute) (void)cudaStreamDestroy(cuda->compute);
    free(cuda);
}

static canto_status cuda_close(const canto_device *device)
{
    canto_cuda *cuda = canto_cuda_of(device);
    const canto_status status = finish(cuda);
    close_parts(cuda);
    return status;
}

static canto_status cuda_open(int ordinal, const canto_device **out)
{
    canto_cuda *cuda = calloc(1, sizeof *cuda);
    if (!cuda) CANTO_FAIL(CANTO_ERROR_MEMORY, "memory: none for the CUDA device");
    cuda->base = (canto_device){.backend = &canto_backend_cuda, .kernels = &canto_kernels_cuda};
    const canto_status status = open_parts(cuda, ordinal);
    if (status != CANTO_OK) {
        close_parts(cuda);
        return status;
    }
    *out = &cuda->base;
    return CANTO_OK;
}

static canto_status cuda_lane(const canto_device *device, canto_comm *host, canto_comm **out)
{
    return canto_cuda_lane_open(canto_cuda_of(device), host, out);
}

const canto_backend canto_backend_cuda = {
    .name = "cuda",
    .help = "an NVIDIA GPU: compiled and emulated, not yet run on one; attention is missing",
    .kernels = &canto_kernels_cuda,
    .host_memory = false,
    .open = cuda_open,
    .close = cuda_close,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .finish = cuda_finish,
    .lane = cuda_lane,
};
