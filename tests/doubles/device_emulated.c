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
void canto_cuda_gemm(const canto_device *device, bool trans_a, bool trans_b, int64_t m, int64_t n,
                     int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                     int64_t ldb, float beta, float *c, int64_t ldc)
{
    canto_device_cpu()->kernels->gemm(device, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb,
                                      beta, c, ldc);
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
