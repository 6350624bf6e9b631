// Double of CUDA's runtime.
#include "tests/doubles/doubles.h"

#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PINNED_MAX = 16 };

typedef struct pinned {
    char *begin;
    size_t bytes;
} pinned;

static pinned pinned_buffers[PINNED_MAX];

static cudaError_t remember(cudaError_t error)
{
    if (error != cudaSuccess) canto_doubles_state.last_error = (int)error;
    return error;
}

#define REFUSE(code, ...) return remember((cudaError_t)canto_doubles_refuse((code), __VA_ARGS__))

// What an operation of the engine says, as an error of CUDA.
static cudaError_t result_of(canto_status status)
{
    if (status == CANTO_OK) return cudaSuccess;
    return remember((cudaError_t)canto_doubles_take_error(cudaErrorLaunchFailure));
}

// --- errors ---

cudaError_t cudaGetLastError(void)
{
    CANTO_DOUBLE(cudaError_t);
    const cudaError_t failed = result_of(canto_shadow_status(canto_doubles_state.streams));
    if (failed != cudaSuccess) return failed;
    const cudaError_t last = (cudaError_t)canto_doubles_state.last_error;
    canto_doubles_state.last_error = cudaSuccess;
    return last;
}

const char *cudaGetErrorString(cudaError_t error)
{
    if (error == cudaSuccess) return "no error";
    return canto_doubles_state.sentence[0] ? canto_doubles_state.sentence : "an error";
}

const char *cudaGetErrorName(cudaError_t error)
{
    static char name[32];
    snprintf(name, sizeof name, "cudaError %d", (int)error);
    return name;
}

// --- devices ---

cudaError_t cudaGetDeviceCount(int *count)
{
    CANTO_DOUBLE(cudaError_t);
    *count = canto_doubles_state.devices;
    if (*count == 0) REFUSE(cudaErrorNoDevice, "no CUDA-capable device is detected");
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    CANTO_DOUBLE(cudaError_t);
    if (device < 0 || device >= canto_doubles_state.devices)
        REFUSE(cudaErrorInvalidDevice, "there is no device %d", device);
    memset(properties, 0, sizeof *properties);
    snprintf(properties->name, sizeof properties->name, "double of a GPU");
    properties->major = canto_doubles_state.major;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    CANTO_DOUBLE(cudaError_t);
    if (device < 0 || device >= canto_doubles_state.devices)
        REFUSE(cudaErrorInvalidDevice, "there is no device %d", device);
    return cudaSuccess;
}

// --- memory ---

cudaError_t cudaMemGetInfo(size_t *left, size_t *all)
{
    CANTO_DOUBLE(cudaError_t);
    *left = 1 << 20;
    *all = 1 << 30;
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    CANTO_DOUBLE(cudaError_t);
    if (canto_shadow_alloc(&canto_doubles_state.memory, bytes, out) == CANTO_OK) {
        // What is there is not zero, unlike an engine's.
        void *place;
        canto_shadow_translate(&canto_doubles_state.memory, "cudaMalloc", *out, bytes, &place);
        memset(place, 0xff, bytes);
        return cudaSuccess;
    }
    return remember((cudaError_t)canto_doubles_take_error(cudaErrorMemoryAllocation));
}

// Waits for everything, as the real one does.
cudaError_t cudaFree(void *memory)
{
    CANTO_DOUBLE(cudaError_t);
    if (!memory) return cudaSuccess;
    (void)canto_shadow_run_all(canto_doubles_state.streams);
    return result_of(canto_shadow_release(&canto_doubles_state.memory, memory));
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    CANTO_DOUBLE(cudaError_t);
    int i = 0;
    while (i < PINNED_MAX && pinned_buffers[i].begin) i++;
    *out = i < PINNED_MAX ? malloc(bytes) : NULL;
    if (!*out) REFUSE(cudaErrorMemoryAllocation, "no %zu bytes of pinned memory", bytes);
    pinned_buffers[i] = (pinned){*out, bytes};
    canto_doubles_state.objects++;
    return cudaSuccess;
}

cudaError_t cudaFreeHost(void *memory)
{
    CANTO_DOUBLE(cudaError_t);
    if (!memory) return cudaSuccess;
    for (int i = 0; i < PINNED_MAX; i++) {
        if (pinned_buffers[i].begin != memory) continue;
        pinned_buffers[i].begin = NULL;
        free(memory);
        canto_doubles_state.objects--;
        return cudaSuccess;
    }
    REFUSE(cudaErrorInvalidValue, "cudaFreeHost of %p, which is not pinned memory", memory);
}

static bool is_pinned(const char *begin, size_t bytes)
{
    for (int i = 0; i < PINNED_MAX; i++) {
        const pinned *at = &pinned_buffers[i];
        if (at->begin && begin >= at->begin && begin + bytes <= at->begin + at->bytes) return true;
    }
    return false;
}

// --- streams ---

static cudaError_t open_stream(cudaStream_t *out, const char *name)
{
    canto_doubles *state = &canto_doubles_state;
    struct CUstream_st *stream = calloc(1, sizeof *stream); // kept, so that stale ones are known
    snprintf(stream->name, sizeof stream->name, "%s", name);
    const canto_status status =
        canto_shadow_stream_open(state->streams, "messages", &stream->number);
    if (status != CANTO_OK) return result_of(status);
    stream->open = true;
    state->objects++;
    *out = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    CANTO_DOUBLE(cudaError_t);
    canto_doubles *state = &canto_doubles_state;
    if (flags != cudaStreamNonBlocking || state->compute_used)
        REFUSE(cudaErrorInvalidValue,
               "one stream of kernels, with cudaStreamNonBlocking, is all there is");
    state->compute_used = state->compute.open = true;
    state->objects++;
    *out = &state->compute;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest)
{
    CANTO_DOUBLE(cudaError_t);
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int priority)
{
    CANTO_DOUBLE(cudaError_t);
    if (flags != cudaStreamNonBlocking || priority != -5)
        REFUSE(cudaErrorInvalidValue, "a stream of messages with flags %u and priority %d", flags,
               priority);
    return open_stream(out, "messages");
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    CANTO_DOUBLE(cudaError_t);
    canto_doubles *state = &canto_doubles_state;
    if (!canto_doubles_is_stream(stream))
        REFUSE(cudaErrorInvalidResourceHandle, "cudaStreamDestroy of no stream");
    stream->open = false;
    state->objects--;
    if (stream != &state->compute)
        return result_of(canto_shadow_stream_close(state->streams, stream->number));
    state->compute_used = false;
    return result_of(
        canto_shadow_run(state->streams, canto_shadow_end(state->streams, stream->number)));
}

// --- events ---

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    CANTO_DOUBLE(cudaError_t);
    if (flags != cudaEventDisableTiming)
        REFUSE(cudaErrorInvalidValue, "an event with timing, which costs more");
    *out = calloc(1, sizeof **out); // kept, so that stale ones are known
    (*out)->open = true;
    canto_doubles_state.objects++;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    CANTO_DOUBLE(cudaError_t);
    if (!event || !event->open)
        REFUSE(cudaErrorInvalidResourceHandle, "cudaEventDestroy of no event");
    event->open = false;
    canto_doubles_state.objects--;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream)
{
    CANTO_DOUBLE(cudaError_t);
    if (!event || !event->open || !canto_doubles_is_stream(stream))
        REFUSE(cudaErrorInvalidResourceHandle, "cudaEventRecord: no event or no stream");
    event->point = canto_shadow_end(canto_doubles_state.streams, stream->number);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    CANTO_DOUBLE(cudaError_t);
    const canto_shadow_streams *streams = canto_doubles_state.streams;
    if (!event || !event->open)
        REFUSE(cudaErrorInvalidResourceHandle, "cudaEventQuery of no event");
    canto_doubles_let_run();
    const cudaError_t failed = result_of(canto_shadow_status(streams));
    if (failed != cudaSuccess) return failed;
    return canto_shadow_reached(streams, event->point) ? cudaSuccess : remember(cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags)
{
    CANTO_DOUBLE(cudaError_t);
    if (!event || !event->open || !canto_doubles_is_stream(stream) || flags != 0)
        REFUSE(cudaErrorInvalidResourceHandle, "cudaStreamWaitEvent: no event or no stream");
    return result_of(
        canto_shadow_follow(canto_doubles_state.streams, stream->number, event->point));
}

// --- copies ---

typedef struct copy {
    void *to; // NULL: set
    const void *from;
    size_t bytes;
} copy;

static canto_status run_copy(void *argument, bool *done)
{
    const copy *it = argument;
    if (it->from)
        memcpy(it->to, it->from, it->bytes);
    else
        memset(it->to, 0, it->bytes);
    *done = true;
    return CANTO_OK;
}

static cudaError_t put_copy(cudaStream_t stream, const char *what, const copy *it)
{
    return result_of(canto_shadow_put(canto_doubles_state.streams, stream->number, what, run_copy,
                                      sizeof *it, it));
}

static canto_status place_of(const void *address, size_t bytes, void **out)
{
    return canto_shadow_translate(&canto_doubles_state.memory, "cudaMemcpyAsync", address, bytes,
                                  out);
}

// Reads and writes when the stream gets there, so that staging that is used again too early shows.
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    CANTO_DOUBLE(cudaError_t);
    copy it = {.to = to, .from = from, .bytes = bytes};
    void *place = NULL;
    if (!canto_doubles_is_stream(stream))
        REFUSE(cudaErrorInvalidResourceHandle, "cudaMemcpyAsync: no stream");
    if (kind != cudaMemcpyHostToDevice && kind != cudaMemcpyDeviceToHost)
        REFUSE(cudaErrorInvalidMemcpyDirection, "cudaMemcpyAsync of kind %d", (int)kind);
    const bool up = kind == cudaMemcpyHostToDevice;
    if (!is_pinned(up ? from : to, bytes))
        REFUSE(cudaErrorInvalidValue, "cudaMemcpyAsync %s %zu bytes that are not pinned",
               up ? "from" : "to", bytes);
    if (place_of(up ? to : from, bytes, &place) != CANTO_OK)
        return remember((cudaError_t)canto_doubles_take_error(cudaErrorInvalidValue));
    if (up)
        it.to = place;
    else
        it.from = place;
    return put_copy(stream, "a copy", &it);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    CANTO_DOUBLE(cudaError_t);
    copy it = {.bytes = bytes};
    if (!canto_doubles_is_stream(stream) || value != 0)
        REFUSE(cudaErrorInvalidResourceHandle, "cudaMemsetAsync: no stream, or not of zeros");
    if (place_of(to, bytes, &it.to) != CANTO_OK)
        return remember((cudaError_t)canto_doubles_take_error(cudaErrorInvalidValue));
    return put_copy(stream, "zeros", &it);
}
