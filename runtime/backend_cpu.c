// The cpu backend: the memory and the queue of a device that is this host itself, which does every
// work at once. Its kernels are those of one of the levels in runtime/cpu_levels.h.
#define _GNU_SOURCE
#include "runtime/cpu_levels.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HUGE_PAGE = 2 << 20 };

// Memory of this host; without limit if the system does not tell.
static size_t host_bytes(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && page_bytes > 0 ? (size_t)pages * (size_t)page_bytes : SIZE_MAX;
}

static canto_status cpu_open(int ordinal, const canto_device **out)
{
    (void)ordinal; // all ranks of a host share it
    CANTO_TRY(canto_cpu_level_check());
    *out = canto_device_cpu();
    return CANTO_OK;
}

static canto_status cpu_close(const canto_device *device)
{
    (void)device;
    return CANTO_OK;
}

static canto_status cpu_alloc(const canto_device *device, size_t bytes, void **out)
{
    (void)device;
    // The mapping itself would succeed, and the system end the process once it is touched.
    if (bytes > host_bytes()) {
        CANTO_FAIL(CANTO_ERROR_MEMORY,
                   "memory: %zu bytes are more than the %zu of this host; use a smaller model, "
                   "shorter sequences or more ranks",
                   bytes, host_bytes());
    }
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    *out = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (*out == MAP_FAILED) {
        *out = NULL;
        CANTO_FAIL(CANTO_ERROR_MEMORY,
                   "memory: the system has no %zu bytes; use a smaller model or more ranks", bytes);
    }
#ifdef MADV_HUGEPAGE
    // A wish: fewer pages to fault in and to look up. Less than one such page is left as it is.
    if (bytes >= HUGE_PAGE) (void)madvise(*out, bytes, MADV_HUGEPAGE);
#endif
    return CANTO_OK;
}

static void cpu_release(const canto_device *device, void *memory, size_t bytes)
{
    (void)device;
    munmap(memory, bytes);
}

static canto_status cpu_copy(const canto_device *device, void *to, const void *from, size_t bytes)
{
    (void)device;
    memcpy(to, from, bytes);
    return CANTO_OK;
}

static canto_status cpu_finish(const canto_device *device)
{
    (void)device;
    return CANTO_OK;
}

static canto_status cpu_lane(const canto_device *device, canto_comm *host, canto_comm **out)
{
    (void)device;
    *out = host;
    return CANTO_OK;
}

const canto_backend canto_backend_cpu = {
    .name = "cpu",
    .help = "this host's processor",
    .kernels = &canto_cpu_kernels_portable,
    .host_memory = true,
    .open = cpu_open,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .upload = cpu_copy,
    .download = cpu_copy,
    .finish = cpu_finish,
    .lane = cpu_lane,
};

const canto_device *canto_device_cpu(void)
{
    return &canto_cpu_level_now()->device;
}
