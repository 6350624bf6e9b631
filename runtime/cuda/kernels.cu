// CUDA kernels for what is element-wise or row-wise. Compiled and emulated, not yet run on a GPU.
//
// Each follows the formula of the cpu's kernel of the same name (runtime/cpu/), which is its
// meaning. Sums are taken in an order that the shapes alone decide, so two runs give the same bits.
// Blocks have CANTO_CUDA_THREADS threads; a grid that is smaller than the work goes round.
extern "C" {
#include "runtime/cuda/cuda_device.h"
}
#include "runtime/cuda/kernels.h"
#include "runtime/cuda/launch.cuh"

#include <math.h>
#include <string.h>

enum { THREADS = CANTO_CUDA_THREADS };

// Where rows are summed: columns of a block, and slices of the rows.
enum { COLUMNS = 32, SLICES = THREADS / COLUMNS };

static int64_t at_most(int64_t n, int64_t limit)
{
    return n < limit ? n : limit;
}

static int64_t blocks_for(int64_t n, int64_t each)
{
    return at_most((n + each - 1) / each, CANTO_CUDA_BLOCKS_MAX);
}

static cudaStream_t stream_of(const canto_device *device)
{
    return canto_cuda_of(device)->compute;
}

// One thread for each of n elements, as far as the grid goes.
template <typename... Parameters, typename... Arguments>
static void each_element(const canto_device *device, const char *slot, int64_t n,
                         void (*kernel)(int64_t, Parameters...), Arguments... arguments)
{
    if (n <= 0) return;
    canto_cuda_launch(kernel, blocks_for(n, THREADS), stream_of(device), n, arguments...);
    canto_cuda_launched(device, slot);
}

// One block for each of n rows, as far as the grid goes.
template <typename... Parameters, typename... Arguments>
static void each_row(const canto_device *device, const char *slot, int64_t n,
                     void (*kernel)(int64_t, Parameters...), Arguments... arguments)
{
    if (n <= 0) return;
    canto_cuda_launch(kernel, blocks_for(n, 1), stream_of(device), n, arguments...);
    canto_cuda_launched(device, slot);
}

static __device__ int64_t first_element()
{
    return (int64_t)blockIdx.x * THREADS + threadIdx.x;
}

static __device__ int64_t all_threads()
{
    return (int64_t)gridDim.x * THREADS;
}

// --- sums and maxima over a block; every thread gets the result ---

static __device__ double block_sum(double own)
{
    __shared__ double parts[THREADS];
    parts[threadIdx.x] = own;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
        __syncthreads();
    }
    const double sum = parts[0];
    __syncthreads(); // before the parts are written again
    return sum;
}

static __device__ float block_max(float own)
{
    __shared__ float parts[THREADS];
    parts[threadIdx.x] = own;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half)
            parts[threadIdx.x] = fmaxf(parts[threadIdx.x], parts[threadIdx.x + half]);
        __syncthreads();
    }
    const float largest = parts[0];
    __syncthreads();
    return largest;
}

static __device__ float sigmoid(float x)
{
    return 1.0f / (1.0f + expf(-x));
}

// --- element-wise ---

static __global__ void fill(int64_t n, float value, float *x)
{
    for (int64_t i = first_element(); i < n; i += all_threads()) x[i] = value;
}

static __global__ void add(int64_t n, const float *x, float *y)
{
    for (int64_t i = first_element(); i < n; i += all_threads()) y[i] += x[i];
}

static __global__ void multiply(int64_t n, const float *x, const float *y, float *z)
{
    for (int64_t i = first_element(); i < n; i += all_threads()) z[i] = x[i] * y[i];
}

static __global__ void scale(int64_t n, float factor, float *x)
{
    for (int64_t i = first_element(); i < n; i += all_threads()) x[i] *= factor;
}

static __global__ void copy(int64_t n, const float *x, float *y)
{
    for (int64_t i = first_element(); i < n; i += all_threads()) y[i] = x[i];
}

static __global__ void adamw(int64_t n, canto_adamw a, const float *grad, float *param,
                             float *first, float *second)
{
    for (int64_t i = first_element(); i < n; i += all_threads()) {
        const float g = grad[i] * a.grad_scale;
        first[i] = a.beta1 * first[i] + (1.0f - a.beta1) * g;
        second[i] = a.beta2 * second[i] + (1.0f - a.beta2) * g * g;
        const float step = first[i] / a.correction1 / (sqrtf(second[i] / a.correction2) + a.eps);
        param[i] -= a.lr * (step + a.weight_decay * param[i]);
    }
}

static __global__ void glu_forward(int64_t n, const float *gate, const float *up, float *y)
{
    for (int64_t i = first_element(); i < n; i += all_threads())
        y[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

static __global__ void glu_backward(int64_t n, const float *gate, const float *up, const float *dy,
                                    float *dgate, float *dup)
{
    for (int64_t i = first_element(); i < n; i += all_threads()) {
        const float s = sigmoid(gate[i]);
        dgate[i] = dy[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
        dup[i] = dy[i] * gate[i] * s;
    }
}

static __device__ float feature_of(canto_feature feature, float x)
{
    if (feature == CANTO_FEATURE_ELU1) return x > 0 ? x + 1.0f : expf(x);
    if (feature == CANTO_FEATURE_SILU) return x * sigmoid(x);
    return x;
}

static __device__ float slope_of(canto_feature feature, float x)
{
    if (feature == CANTO_FEATURE_ELU1) return x > 0 ? 1.0f : expf(x);
    if (feature != CANTO_FEATURE_SILU) return 1.0f;
    const float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}

static __global__ void feature_forward(int64_t count, canto_feature feature, int64_t n,
                                       int64_t stride, const float *x, float *y)
{
    for (int64_t i = first_element(); i < count; i += all_threads()) {
        const int64_t at = i / n * stride + i % n;
        y[at] = feature_of(feature, x[at]);
    }
}

static __global__ void feature_backward(int64_t count, canto_feature feature, int64_t n,
                                        int64_t stride, const float *x, const float *dy, float *dx)
{
    for (int64_t i = first_element(); i < count; i += all_threads()) {
        const int64_t at = i / n * stride + i % n;
        dx[at] = slope_of(feature, x[at]) * dy[at];
    }
}

// One thread turns one pair.
static __global__ void rope(int64_t pairs, int heads, int half, int64_t stride, const float *table,
                            int direction, float *x)
{
    for (int64_t i = first_element(); i < pairs; i += all_threads()) {
        const int64_t row = i / ((int64_t)heads * half);
        const int64_t head = i / half % heads;
        const int64_t j = i % half;
        const float cosine = table[(row * half + j) * 2];
        const float sine = (float)direction * table[(row * half + j) * 2 + 1];
        float *a = x + row * stride + head * 2 * half + j;
        const float u = a[0];
        const float v = a[half];
        a[0] = u * cosine - v * sine;
        a[half] = u * sine + v * cosine;
    }
}

static __global__ void embed_forward(int64_t count, int64_t n, const int32_t *token,
                                     const float *table, float *y)
{
    for (int64_t i = first_element(); i < count; i += all_threads())
        y[i] = table[token[i / n] * n + i % n];
}

// One thread adds one column, token after token: a token may come many times.
static __global__ void embed_backward(int64_t n, int64_t tokens, const int32_t *token,
                                      const float *dy, float *dtable)
{
    for (int64_t i = first_element(); i < n; i += all_threads()) {
        for (int64_t t = 0; t < tokens; t++) dtable[token[t] * n + i] += dy[t * n + i];
    }
}

// To the nearest, ties to even; a NaN stays one.
static __global__ void narrow(int64_t count, int64_t n, int64_t stride, const float *x, uint16_t *y)
{
    for (int64_t i = first_element(); i < count; i += all_threads()) {
        const float value = x[i / n * stride + i % n];
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        const uint32_t rounded = bits + 0x7fffu + (bits >> 16 & 1u);
        y[i] = (uint16_t)((value == value ? rounded : bits | 0x400000u) >> 16);
    }
}

extern "C" void canto_cuda_fill(const canto_device *device, int64_t n, float value, float *x)
{
    each_element(device, "fill", n, fill, value, x);
}

extern "C" void canto_cuda_add(const canto_device *device, int64_t n, const float *x, float *y)
{
    each_element(device, "add", n, add, x, y);
}

extern "C" void canto_cuda_multiply(const canto_device *device, int64_t n, const float *x,
                                    const float *y, float *z)
{
    each_element(device, "multiply", n, multiply, x, y, z);
}

extern "C" void canto_cuda_scale(const canto_device *device, int64_t n, float factor, float *x)
{
    each_element(device, "scale", n, scale, factor, x);
}

extern "C" void canto_cuda_copy(const canto_device *device, int64_t n, const float *x, float *y)
{
    each_element(device, "copy", n, copy, x, y);
}

extern "C" void canto_cuda_narrow(const canto_device *device, int64_t rows, int64_t n,
                                  int64_t stride, const float *x, uint16_t *y)
{
    each_element(device, "narrow", rows * n, narrow, n, stride, x, y);
}

extern "C" void canto_cuda_adamw(const canto_device *device, int64_t n, const canto_adamw *how,
                                 const float *grad, float *param, float *first, float *second)
{
    each_element(device, "adamw", n, adamw, *how, grad, param, first, second);
}

extern "C" void canto_cuda_glu_forward(const canto_device *device, int64_t n, const float *gate,
                                       const float *up, float *y)
{
    each_element(device, "glu_forward", n, glu_forward, gate, up, y);
}

extern "C" void canto_cuda_glu_backward(const canto_device *device, int64_t n, const float *gate,
                                        const float *up, const float *dy, float *dgate, float *dup)
{
    each_element(device, "glu_backward", n, glu_backward, gate, up, dy, dgate, dup);
}

extern "C" void canto_cuda_feature_forward(const canto_device *device, canto_feature feature,
                                           int64_t rows, int64_t n, int64_t stride, const float *x,
                                           float *y)
{
    each_element(device, "feature_forward", rows * n, feature_forward, feature, n, stride, x, y);
}

extern "C" void canto_cuda_feature_backward(const canto_device *device, canto_feature feature,
                                            int64_t rows, int64_t n, int64_t stride, const float *x,
                                            const float *dy, float *dx)
{
    each_element(device, "feature_backward", rows * n, feature_backward, feature, n, stride, x, dy,
                 dx);
}

extern "C" void canto_cuda_rope(const canto_device *device, int64_t rows, int heads, int dim,
                                int64_t stride, const float *table, int direction, float *x)
{
    const int half = dim / 2;
    each_element(device, "rope", rows * heads * half, rope, heads, half, stride, table, direction,
                 x);
}

extern "C" void canto_cuda_embed_forward(const canto_device *device, int64_t tokens, int64_t n,
                                         const int32_t *token, const float *table, float *y)
{
    each_element(device, "embed_forward", tokens * n, embed_forward, n, token, table, y);
}

extern "C" void canto_cuda_embed_backward(const canto_device *device, int64_t tokens, int64_t n,
                                          const int32_t *token, const float *dy, float *dtable)
{
    if (tokens > 0) each_element(device, "embed_backward", n, embed_backward, tokens, token, dy, dtable);
}

// --- sums over everything: first one number a block, then all of them in one block ---

static __global__ void sum_parts(int64_t parts, const double *part, double *sum)
{
    double own = 0;
    for (int64_t i = threadIdx.x; i < parts; i += THREADS) own += part[i];
    const double all = block_sum(own);
    if (threadIdx.x == 0) *sum += all;
}

static __global__ void square_parts(int64_t n, const float *x, double *part)
{
    double own = 0;
    for (int64_t i = first_element(); i < n; i += all_threads()) own += (double)x[i] * x[i];
    const double all = block_sum(own);
    if (threadIdx.x == 0) part[blockIdx.x] = all;
}

static __global__ void loss_parts(int64_t rows, const int32_t *target, const float *lse,
                                  const float *picked, double *part)
{
    double own = 0;
    for (int64_t t = first_element(); t < rows; t += all_threads()) {
        if (target[t] >= 0) own += (double)lse[t] - picked[t];
    }
    const double all = block_sum(own);
    if (threadIdx.x == 0) part[blockIdx.x] = all;
}

static int64_t parts_for(int64_t n)
{
    return at_most(blocks_for(n, THREADS), CANTO_CUDA_PARTIAL_SUMS);
}

extern "C" void canto_cuda_sum_squares(const canto_device *device, int64_t n, const float *x,
                                       double *sum)
{
    if (n <= 0) return;
    double *const part = canto_cuda_of(device)->partial_sums;
    canto_cuda_launch(square_parts, parts_for(n), stream_of(device), n, x, part);
    canto_cuda_launch(sum_parts, 1, stream_of(device), parts_for(n), (const double *)part, sum);
    canto_cuda_launched(device, "sum_squares");
}

extern "C" void canto_cuda_loss_sum(const canto_device *device, int64_t rows, const int32_t *target,
                                    const float *lse, const float *picked, double *sum)
{
    if (rows <= 0) return;
    double *const part = canto_cuda_of(device)->partial_sums;
    canto_cuda_launch(loss_parts, parts_for(rows), stream_of(device), rows, target, lse, picked,
                      part);
    canto_cuda_launch(sum_parts, 1, stream_of(device), parts_for(rows), (const double *)part, sum);
    canto_cuda_launched(device, "loss_sum");
}

// --- row-wise ---

static __global__ void norm_forward(int64_t rows, int64_t n, float eps, const float *x,
                                    const float *w, float *y, float *rstd)
{
    for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
        double own = 0;
        for (int64_t i = threadIdx.x; i < n; i += THREADS)
            own += (double)x[t * n + i] * x[t * n + i];
        const float r = (float)(1.0 / sqrt(block_sum(own) / (double)n + eps));
        if (threadIdx.x == 0) rstd[t] = r;
        for (int64_t i = threadIdx.x; i < n; i += THREADS)
            y[t * n + i] = x[t * n + i] * r * (w ? w[i] : 1.0f);
    }
}

// dx += r (w dy - x r^2 mean(w dy x))
static __global__ void norm_backward(int64_t rows, int64_t n, const float *x, const float *w,
                                     const float *rstd, const float *dy, float *dx)
{
    for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
        double own = 0;
        for (int64_t i = threadIdx.x; i < n; i += THREADS)
            own += (double)dy[t * n + i] * x[t * n + i] * (w ? w[i] : 1.0f);
        const float r = rstd[t];
        const float c = (float)(block_sum(own) / (double)n * r * r * r);
        for (int64_t i = threadIdx.x; i < n; i += THREADS)
            dx[t * n + i] += r * (w ? w[i] : 1.0f) * dy[t * n + i] - c * x[t * n + i];
    }
}

// dw += sum over rows of x rstd dy. A block takes COLUMNS columns, a slice of its threads every
// SLICES-th row; the slices are added in their order.
static __global__ void norm_weight_backward(int64_t rows, int64_t n, const float *x,
                                            const float *rstd, const float *dy, float *dw)
{
    __shared__ float parts[THREADS];
    const int slice = threadIdx.x / COLUMNS;
    for (int64_t first = (int64_t)blockIdx.x * COLUMNS; first < n;
         first += (int64_t)gridDim.x * COLUMNS) {
        const int64_t i = first + threadIdx.x % COLUMNS;
        float own = 0;
        for (int64_t t = slice; i < n && t < rows; t += SLICES)
            own += x[t * n + i] * rstd[t] * dy[t * n + i];
        parts[threadIdx.x] = own;
        __syncthreads();
        for (int s = 1; slice == 0 && s < SLICES; s++) own += parts[s * COLUMNS + threadIdx.x];
        if (slice == 0 && i < n) dw[i] += own;
        __syncthreads();
    }
}

extern "C" void canto_cuda_norm_forward(const canto_device *device, int64_t rows, int64_t n,
                                        float eps, const float *x, const float *w, float *y,
                                        float *rstd)
{
    each_row(device, "norm_forward", rows, norm_forward, n, eps, x, w, y, rstd);
}

extern "C" void canto_cuda_norm_backward(const canto_device *device, int64_t rows, int64_t n,
                                         const float *x, const float *w, const float *rstd,
                                         const float *dy, float *dx, float *dw)
{
    if (rows <= 0) return;
    each_row(device, "norm_backward", rows, norm_backward, n, x, w, rstd, dy, dx);
    if (!dw) return;
    canto_cuda_launch(norm_weight_backward, blocks_for(n, COLUMNS), stream_of(device), rows, n, x,
                      rstd, dy, dw);
    canto_cuda_launched(device, "norm_backward");
}

// --- cross-entropy over vocabulary tiles ---

static __device__ float log_add(float a, float b)
{
    const float high = a > b ? a : b; // fmaxf would lose what is no number
    const float low = a > b ? b : a;
    return low == -INFINITY ? high : high + log1pf(expf(low - high));
}

static __global__ void loss_tile(int64_t rows, int64_t n, int64_t first, const float *logits,
                                 const int32_t *target, float *lse, float *picked)
{
    for (int64_t t = blockIdx.x; t < rows; t += gridDim.x) {
        const float *row = logits + t * n;
        float own = -INFINITY;
        for (int64_t i = threadIdx.x; i < n; i += THREADS) own = fmaxf(own, row[i]);
        const float largest = block_max(own);
        double sum = 0;
        for (int64_t i = threadIdx.x; i < n; i += THREADS) sum += expf(row[i] - largest);
        const float log_sum = logf((float)block_sum(sum));
        const int64_t at = target[t] - first;
        if (threadIdx.x == 0) lse[t] = log_add(lse[t], largest + log_sum);
        if (threadIdx.x == 0 && at >= 0 && at < n) picked[t] = row[at];
    }
}

static __global__ void loss_tile_backward(int64_t count, int64_t n, int64_t first,
                                          const int32_t *target, const float *lse, float scale,
                                          float *logits)
{
    for (int64_t i = first_element(); i < count; i += all_threads()) {
        const int64_t t = i / n;
        const float softmax = expf(logits[i] - lse[t]);
        const float wanted = target[t] - first == i % n ? 1.0f : 0.0f;
        logits[i] = target[t] < 0 ? 0.0f : scale * (softmax - wanted);
    }
}

extern "C" void canto_cuda_loss_tile(const canto_device *device, int64_t rows, int64_t n,
                                     int64_t first, const float *logits, const int32_t *target,
                                     float *lse, float *picked)
{
    each_row(device, "loss_tile", rows, loss_tile, n, first, logits, target, lse, picked);
}

extern "C" void canto_cuda_loss_tile_backward(const canto_device *device, int64_t rows, int64_t n,
                                              int64_t first, const int32_t *target,
                                              const float *lse, float scale, float *logits)
{
    each_element(device, "loss_tile_backward", rows * n, loss_tile_backward, n, first, target, lse,
                 scale, logits);
}
