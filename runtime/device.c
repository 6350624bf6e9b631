// Devices by way of their backend's table.
#include "runtime/device.h"

#include <string.h>

const canto_backend *canto_backend_find(const char *name)
{
    for (int i = 0; canto_backends[i]; i++) {
        if (strcmp(canto_backends[i]->name, name) == 0) return canto_backends[i];
    }
    return NULL;
}

canto_status canto_device_open(const canto_backend *backend, int ordinal, const canto_device **out)
{
    *out = NULL;
    return backend->open(ordinal, out);
}

canto_status canto_device_close(const canto_device **device)
{
    const canto_device *closed = *device;
    *device = NULL;
    return closed ? closed->backend->close(closed) : CANTO_OK;
}

canto_status canto_device_alloc(const canto_device *device, size_t bytes, void **out)
{
    return device->backend->alloc(device, bytes, out);
}

void canto_device_release(const canto_device *device, void *memory, size_t bytes)
{
    if (memory) device->backend->release(device, memory, bytes);
}

canto_status canto_device_upload(const canto_device *device, void *to, const void *from,
                                 size_t bytes)
{
    return bytes > 0 ? device->backend->upload(device, to, from, bytes) : CANTO_OK;
}

canto_status canto_device_download(const canto_device *device, void *to, const void *from,
                                   size_t bytes)
{
    return bytes > 0 ? device->backend->download(device, to, from, bytes)
                     : canto_device_finish(device);
}

canto_status canto_device_finish(const canto_device *device)
{
    return device->backend->finish(device);
}

canto_status canto_device_lane(const canto_device *device, canto_comm *host, canto_comm **out)
{
    struct canto_trace *trace = host->trace; // the lane may take the host's apart
    CANTO_TRY(device->backend->lane(device, host, out));
    (*out)->trace = trace;
    return CANTO_OK;
}

canto_status canto_device_host_lane(const canto_device *device, canto_comm *host, canto_comm **out)
{
    *out = host;
    return device->backend->host_lane ? device->backend->host_lane(device, host, out) : CANTO_OK;
}
