// How a kernel is put into a stream; tests that run kernels on the host replace this file.
#ifndef CANTO_RUNTIME_CUDA_LAUNCH_CUH
#define CANTO_RUNTIME_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>

enum { CANTO_CUDA_THREADS = 256, CANTO_CUDA_BLOCKS_MAX = 8192 };

template <typename Kernel, typename... Arguments>
void canto_cuda_launch(Kernel kernel, int64_t blocks, cudaStream_t stream, Arguments... arguments)
{
    kernel<<<(unsigned)blocks, CANTO_CUDA_THREADS, 0, stream>>>(arguments...);
}

#endif
