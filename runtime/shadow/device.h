// Inside the shadow device; for runtime/backend_shadow.c, runtime/comm_shadow*.c and
// runtime/shadow/ only.
#ifndef CANTO_RUNTIME_SHADOW_DEVICE_H
#define CANTO_RUNTIME_SHADOW_DEVICE_H

#include "runtime/device.h"
#include "runtime/shadow/calls.h"
#include "runtime/shadow/memory.h"
#include "runtime/shadow/streams.h"

typedef struct canto_shadow_device {
    canto_device base;
    canto_kernels kernels; // each records a call
    canto_shadow_calls *calls;
    canto_shadow_memory memory;
    canto_shadow_streams *streams;
    int queue; // the stream of kernels and copies
} canto_shadow_device;

// The device is the caller's, though const: who got it from canto_device_open may change it.
static inline canto_shadow_device *canto_shadow_of(const canto_device *device)
{
    return (canto_shadow_device *)device;
}

// The slots lane and host_lane of its backend, and what the latter decorates.
canto_status canto_comm_shadow_open(const canto_device *device, canto_comm *host, canto_comm **out);
canto_status canto_comm_shadow_host_open(const canto_device *device, canto_comm *host,
                                         canto_comm **out);
canto_comm *canto_comm_shadow_host_inner(const canto_comm *host);

#endif
