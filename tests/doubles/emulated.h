// Lets g++ compile runtime/cuda/kernels.cu for the host: included before it. A grid runs block
// after block; the threads of a block run in a random order from one __syncthreads to the next, so
// that a missing one shows. Warps, caches and atomic operations are not emulated: kernels.cu has
// none.
#ifndef CANTO_TESTS_DOUBLES_EMULATED_H
#define CANTO_TESTS_DOUBLES_EMULATED_H

#include "tests/doubles/emulate.h"

#include <cuda_runtime_api.h>

#undef __global__
#undef __device__
#undef __shared__
#define __global__
#define __device__
#define __shared__      static // one block at a time
#define __syncthreads() canto_emulated_barrier()
#define threadIdx       canto_emulated_thread
#define blockIdx        canto_emulated_block
#define gridDim         canto_emulated_grid

// In the place of runtime/cuda/launch.cuh; a small grid, so that grids go round.
#define CANTO_RUNTIME_CUDA_LAUNCH_CUH

enum { CANTO_CUDA_THREADS = CANTO_EMULATED_THREADS, CANTO_CUDA_BLOCKS_MAX = 7 };

template <typename Call> void canto_emulated_call(void *call)
{
    (*static_cast<Call *>(call))();
}

template <typename Kernel, typename... Arguments>
void canto_cuda_launch(Kernel kernel, int64_t blocks, cudaStream_t stream, Arguments... arguments)
{
    (void)stream;
    auto call = [&] { kernel(arguments...); };
    canto_emulate(blocks, canto_emulated_call<decltype(call)>, &call);
}

#endif
