// A device as one rank uses it: memory, kernels, and one queue in which work is done in the order
// in which it was asked for.
//
// Kernels (device->kernels) and copies only put work into the queue: what they write is there when
// later work of the same queue reads it, and for the host after canto_device_download or
// canto_device_finish. On the cpu the queue is always empty, because every call does its work at
// once. The host must not touch memory of a device, unless backend->host_memory says that it may;
// code that is to run on every device never does.
//
// Messages about device memory travel on lanes of the device (canto_device_lane): a message reads
// and writes memory after the work that was queued before it was started, and work that is queued
// after canto_comm_wait comes after the message. So starting and waiting need not block the host.
// Small collectives of such a lane are about the host's memory, as those of every other.
//
// All functions are local.
#ifndef CANTO_RUNTIME_DEVICE_H
#define CANTO_RUNTIME_DEVICE_H

#include "runtime/backend.h"
#include "runtime/comm.h"

typedef struct canto_backend {
    const char *name;             // "cpu", "shadow", "cuda"
    const char *help;             // one line
    const canto_kernels *kernels; // a slot may be NULL: see canto_kernels_missing
    bool host_memory;             // the host may read and write the device's memory
    canto_status (*open)(int ordinal, const canto_device **out);
    canto_status (*close)(const canto_device *device);
    canto_status (*alloc)(const canto_device *device, size_t bytes, void **out);
    void (*release)(const canto_device *device, void *memory, size_t bytes);
    canto_status (*upload)(const canto_device *device, void *to, const void *from, size_t bytes);
    canto_status (*download)(const canto_device *device, void *to, const void *from, size_t bytes);
    canto_status (*finish)(const canto_device *device);
    canto_status (*lane)(const canto_device *device, canto_comm *host, canto_comm **out);
    // NULL: the device goes on by itself, and host lanes are as they are.
    canto_status (*host_lane)(const canto_device *device, canto_comm *host, canto_comm **out);
} canto_backend;

struct canto_device {
    const canto_backend *backend;
    const canto_kernels *kernels; // the backend's, or of the same slots
};

// The backends of this build, the cpu first; ended by NULL.
extern const canto_backend *const canto_backends[];
const canto_backend *canto_backend_find(const char *name);

// This host's processor and memory, at the level that CANTO_ISA names or the highest that works
// (runtime/cpu_levels.h; a name that is none is told by canto_device_open alone). Needs no opening
// and no closing. Always the same one in a process.
const canto_device *canto_device_cpu(void);

// The `ordinal`-th device of its kind that this process can see (ranks that share a host take
// different ones). CANTO_ERROR_UNSUPPORTED with a sentence if there is none.
canto_status canto_device_open(const canto_backend *backend, int ordinal, const canto_device **out);
// Ends its work and sets *device to NULL. Errors of earlier work, and memory that was not given
// back, are told here; the device is closed all the same.
canto_status canto_device_close(const canto_device **device);

// Zero-filled, aligned to 64 bytes. bytes > 0. CANTO_ERROR_MEMORY.
canto_status canto_device_alloc(const canto_device *device, size_t bytes, void **out);
void canto_device_release(const canto_device *device, void *memory, size_t bytes);

// Copies in the order of the queue. `from` of an upload may change as soon as it returns; what a
// download brings is there when it returns. Errors of earlier work are told here, too.
canto_status canto_device_upload(const canto_device *device, void *to, const void *from,
                                 size_t bytes);
canto_status canto_device_download(const canto_device *device, void *to, const void *from,
                                   size_t bytes);
// All work is done, or the first error of any of it.
canto_status canto_device_finish(const canto_device *device);

// A lane for messages about this device's memory between the ranks of `host`, which it then owns,
// also when it fails. Collective on host. On the cpu it is `host` itself.
canto_status canto_device_lane(const canto_device *device, canto_comm *host, canto_comm **out);
// A lane for the host's own memory whose operations block the host only: the work of the device
// goes on beside them, so that ranks may wait here for one whose device waits for theirs. Takes
// `host`, also when it fails. Collective on host. Where devices go on by themselves it is `host`.
canto_status canto_device_host_lane(const canto_device *device, canto_comm *host, canto_comm **out);

#endif
