// The shadow: the cpu's kernels behind memory that the host cannot touch, and a queue that runs
// late, in a random order among the device's lanes. It computes what the cpu computes, to the bit,
// unless somebody touches a tensor or leaves out a wait; so it is for tests, and runs everywhere.
//
// The environment variable CANTO_SHADOW_SEED draws another order.
#include "runtime/cpu_levels.h"
#include "runtime/shadow/device.h"

#include <stdlib.h>
#include <string.h>

extern const canto_backend canto_backend_shadow;

static const double stall_s = 60;
enum { UPLOAD_BYTES = 64 << 10 }; // at a time

static canto_status open_parts(canto_shadow_device *device, int ordinal)
{
    CANTO_TRY(canto_shadow_streams_open(canto_shadow_seed(), ordinal, stall_s, &device->streams));
    CANTO_TRY(canto_shadow_stream_open(device->streams, "kernels", &device->queue));
    CANTO_TRY(canto_shadow_calls_open(canto_device_cpu()->kernels, &device->memory, device->streams,
                                      device->queue, &device->kernels, &device->calls));
    device->kernels.name = "shadow";
    return CANTO_OK;
}

static canto_status shadow_close(const canto_device *base)
{
    canto_shadow_device *device = canto_shadow_of(base);
    canto_status status = CANTO_OK;
    if (device->streams) {
        status = canto_shadow_run_all(device->streams);
        const canto_status dropped = canto_shadow_streams_close(&device->streams);
        if (status == CANTO_OK) status = dropped;
    }
    const canto_status leak = canto_shadow_memory_close(&device->memory);
    canto_shadow_calls_close(&device->calls);
    free(device);
    return status != CANTO_OK ? status : leak;
}

static canto_status shadow_open(int ordinal, const canto_device **out)
{
    canto_shadow_device *device = calloc(1, sizeof *device);
    if (!device) CANTO_FAIL(CANTO_ERROR_MEMORY, "shadow: no memory for a device");
    device->base.backend = &canto_backend_shadow;
    device->base.kernels = &device->kernels;
    const canto_status status = open_parts(device, ordinal);
    if (status == CANTO_OK)
        *out = &device->base;
    else
        shadow_close(&device->base);
    return status;
}

static canto_status shadow_alloc(const canto_device *device, size_t bytes, void **out)
{
    return canto_shadow_alloc(&canto_shadow_of(device)->memory, bytes, out);
}

// Whatever may still use it is done first. There is nobody to tell of an error but who waits next.
static void shadow_release(const canto_device *base, void *memory, size_t bytes)
{
    (void)bytes;
    canto_shadow_device *device = canto_shadow_of(base);
    canto_shadow_run_all(device->streams);
    canto_shadow_fail(device->streams, canto_shadow_release(&device->memory, memory));
}

typedef struct upload {
    void *to; // a place
    size_t bytes;
} upload;

typedef struct upload_piece {
    upload head;
    char data[UPLOAD_BYTES];
} upload_piece;

static canto_status run_upload(void *argument, bool *done)
{
    const upload_piece *piece = argument;
    memcpy(piece->head.to, piece->data, piece->head.bytes);
    *done = true;
    return CANTO_OK;
}

static canto_status shadow_upload(const canto_device *base, void *to, const void *from,
                                  size_t bytes)
{
    canto_shadow_device *device = canto_shadow_of(base);
    void *place;
    CANTO_TRY(canto_shadow_translate(&device->memory, "upload", to, bytes, &place));
    for (size_t first = 0; first < bytes; first += UPLOAD_BYTES) {
        const size_t left = bytes - first;
        upload_piece piece;
        piece.head = (upload){(char *)place + first, left < UPLOAD_BYTES ? left : UPLOAD_BYTES};
        memcpy(piece.data, (const char *)from + first, piece.head.bytes);
        CANTO_TRY(canto_shadow_put(device->streams, device->queue, "upload", run_upload,
                                   sizeof piece.head + piece.head.bytes, &piece));
    }
    return CANTO_OK;
}

static canto_status shadow_finish(const canto_device *base)
{
    const canto_shadow_device *device = canto_shadow_of(base);
    return canto_shadow_run(device->streams, canto_shadow_end(device->streams, device->queue));
}

static canto_status shadow_download(const canto_device *base, void *to, const void *from,
                                    size_t bytes)
{
    canto_shadow_device *device = canto_shadow_of(base);
    void *place;
    CANTO_TRY(canto_shadow_translate(&device->memory, "download", from, bytes, &place));
    CANTO_TRY(shadow_finish(base));
    memcpy(to, place, bytes);
    return CANTO_OK;
}

const canto_backend canto_backend_shadow = {
    .name = "shadow",
    .help = "the cpu's kernels behind memory that the host cannot touch and a queue that runs late "
            "in random order: for tests",
    .kernels = &canto_cpu_kernels_portable,
    .host_memory = false,
    .open = shadow_open,
    .close = shadow_close,
    .alloc = shadow_alloc,
    .release = shadow_release,
    .upload = shadow_upload,
    .download = shadow_download,
    .finish = shadow_finish,
    .lane = canto_comm_shadow_open,
    .host_lane = canto_comm_shadow_host_open,
};
