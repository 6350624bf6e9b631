// slots.c on the host: the kernels of runtime/cuda/kernels.cu, compiled by g++ with emulated.h, in
// the host's memory.
#include "tests/gpu/slots.h"

#include "runtime/cuda/cuda_device.h"
#include "runtime/cuda/kernels.h"

static double partial_sums[CANTO_CUDA_PARTIAL_SUMS];

void canto_cuda_launched(const canto_device *device, const char *slot)
{
    canto_cuda_of(device)->last_slot = slot;
}

// cuBLAS has no kernels of ours: test_cuda.c looks at how it is called.
void canto_cuda_gemm(const canto_device *device, const canto_gemm_shape *shape, const void *a,
                     const void *b, void *c)
{
    canto_device_cpu()->kernels->gemm(device, shape, a, b, c);
}

canto_status canto_test_slots_open(const canto_device **out)
{
    static canto_cuda cuda;
    cuda.base.backend = canto_device_cpu()->backend; // memory, copies and close of the host
    cuda.base.kernels = &canto_kernels_cuda;
    cuda.partial_sums = partial_sums;
    *out = &cuda.base;
    return CANTO_OK;
}
