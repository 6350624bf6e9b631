// The table of the CUDA backend. Attention, softmax and linear, is not written yet: its slots are
// not here, and canto_kernels_missing says so by name.
#include "runtime/cuda/cuda_device.h"
#include "runtime/cuda/kernels.h"

const canto_kernels canto_kernels_cuda = {
    .name = "cuda",
    .gemm = canto_cuda_gemm,
    .norm_forward = canto_cuda_norm_forward,
    .norm_backward = canto_cuda_norm_backward,
    .glu_forward = canto_cuda_glu_forward,
    .glu_backward = canto_cuda_glu_backward,
    .feature_forward = canto_cuda_feature_forward,
    .feature_backward = canto_cuda_feature_backward,
    .rope = canto_cuda_rope,
    .embed_forward = canto_cuda_embed_forward,
    .embed_backward = canto_cuda_embed_backward,
    .loss_tile = canto_cuda_loss_tile,
    .loss_sum = canto_cuda_loss_sum,
    .loss_tile_backward = canto_cuda_loss_tile_backward,
    .fill = canto_cuda_fill,
    .add = canto_cuda_add,
    .multiply = canto_cuda_multiply,
    .scale = canto_cuda_scale,
    .copy = canto_cuda_copy,
    .narrow = canto_cuda_narrow,
    .sum_squares = canto_cuda_sum_squares,
    .adamw = canto_cuda_adamw,
};
