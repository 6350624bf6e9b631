// The cpu backend: the complete table of kernels, and so the meaning of each slot; the memory and
// the queue of a device that is this host itself, which does every work at once.
#define _GNU_SOURCE
#include "runtime/cpu/cpu.h"
#include "runtime/device.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

const canto_kernels canto_kernels_cpu = {
    .name = "cpu",
    .gemm = canto_cpu_gemm,
    .attention_forward = canto_cpu_attention_forward,
    .attention_backward = canto_cpu_attention_backward,
    .attention_merge = canto_cpu_attention_merge,
    .attention_delta = canto_cpu_attention_delta,
    .linear_work_bytes = canto_cpu_linear_work_bytes,
    .linear_forward = canto_cpu_linear_forward,
    .linear_summary = canto_cpu_linear_summary,
    .linear_read = canto_cpu_linear_read,
    .linear_backward_summary = canto_cpu_linear_backward_summary,
    .linear_backward = canto_cpu_linear_backward,
    .state_join = canto_cpu_state_join,
    .linear_normalise = canto_cpu_linear_normalise,
    .linear_normalise_backward = canto_cpu_linear_normalise_backward,
    .norm_forward = canto_cpu_norm_forward,
    .norm_backward = canto_cpu_norm_backward,
    .glu_forward = canto_cpu_glu_forward,
    .glu_backward = canto_cpu_glu_backward,
    .feature_forward = canto_cpu_feature_forward,
    .feature_backward = canto_cpu_feature_backward,
    .log_sigmoid_forward = canto_cpu_log_sigmoid_forward,
    .log_sigmoid_backward = canto_cpu_log_sigmoid_backward,
    .rope = canto_cpu_rope,
    .embed_forward = canto_cpu_embed_forward,
    .embed_backward = canto_cpu_embed_backward,
    .loss_tile = canto_cpu_loss_tile,
    .loss_sum = canto_cpu_loss_sum,
    .loss_tile_backward = canto_cpu_loss_tile_backward,
    .fill = canto_cpu_fill,
    .add = canto_cpu_add,
    .multiply = canto_cpu_multiply,
    .scale = canto_cpu_scale,
    .copy = canto_cpu_copy,
    .sum_squares = canto_cpu_sum_squares,
    .adamw = canto_cpu_adamw,
};

// Memory of this host; without limit if the system does not tell.
static size_t host_bytes(void)
{
    const long pages = sysconf(_SC_PHYS_PAGES), page_bytes = sysconf(_SC_PAGE_SIZE);
    return pages > 0 && page_bytes > 0 ? (size_t)pages * (size_t)page_bytes : SIZE_MAX;
}

static canto_status cpu_open(int ordinal, const canto_device **out)
{
    (void)ordinal; // all ranks of a host share it
    *out = &canto_device_cpu;
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
    .kernels = &canto_kernels_cpu,
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

const canto_device canto_device_cpu = {
    .backend = &canto_backend_cpu,
    .kernels = &canto_kernels_cpu,
};
