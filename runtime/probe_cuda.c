// NVIDIA's driver and NCCL, by name: this needs neither to build.
#include "runtime/probe.h"

#include <dlfcn.h>
#include <string.h>

// A function of a library; POSIX lets the address be copied into a pointer to one.
static void find(void *library, const char *name, void *function)
{
    void *address = dlsym(library, name);
    memcpy(function, &address, sizeof address);
}

static void look_at_driver(void *library, canto_probe_cuda *out)
{
    int (*init)(unsigned), (*version)(int *), (*devices)(int *), (*device)(int *, int);
    int (*name)(char *, int, int);
    int first;
    find(library, "cuInit", &init);
    find(library, "cuDriverGetVersion", &version);
    find(library, "cuDeviceGetCount", &devices);
    find(library, "cuDeviceGet", &device);
    find(library, "cuDeviceGetName", &name);
    out->status = -1;
    if (!init || !version || !devices || !device || !name) return;
    version(&out->version);
    out->status = init(0);
    if (out->status != 0 || devices(&out->devices) != 0 || out->devices == 0) return;
    if (device(&first, 0) == 0) name(out->name, (int)sizeof out->name, first);
}

canto_probe_cuda canto_probe_cuda_look(void)
{
    canto_probe_cuda out = {0};
    void *cuda = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    void *nccl = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    out.driver = cuda != NULL;
    if (cuda) look_at_driver(cuda, &out); // stays open: the driver does not like to be unloaded
    if (nccl) {
        int (*version)(int *);
        find(nccl, "ncclGetVersion", &version);
        if (version) version(&out.nccl);
        dlclose(nccl);
    }
    return out;
}
