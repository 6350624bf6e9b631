// Element-wise kernels: SwiGLU, feature maps, arithmetic, AdamW. Loops are independent per element
// and split over threads when they are long.
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/exp.h"
#include "runtime/cpu/simd.h"

#include <string.h>

void CANTO_CPU(glu_forward)(const canto_device *device, int64_t n, const float *gate,
                            const float *up, float *y)
{
#pragma omp parallel for simd if (n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) y[i] = gate[i] * canto_cpu_sigmoid(gate[i]) * up[i];
}

void CANTO_CPU(glu_backward)(const canto_device *device, int64_t n, const float *gate,
                             const float *up, const float *dy, float *dgate, float *dup)
{
#pragma omp parallel for simd if (n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        float s = canto_cpu_sigmoid(gate[i]);
        dgate[i] = dy[i] * up[i] * s * (1.0f + gate[i] * (1.0f - s));
        dup[i] = dy[i] * gate[i] * s;
    }
}

static void feature_row(canto_feature feature, int64_t n, const float *x, float *y)
{
    switch (feature) {
    case CANTO_FEATURE_IDENTITY:
        for (int64_t i = 0; i < n; i++) y[i] = x[i];
        break;
    case CANTO_FEATURE_ELU1:
        for (int64_t i = 0; i < n; i++) y[i] = x[i] > 0 ? x[i] + 1.0f : canto_cpu_exp(x[i]);
        break;
    case CANTO_FEATURE_SILU:
        for (int64_t i = 0; i < n; i++) y[i] = x[i] * canto_cpu_sigmoid(x[i]);
        break;
    }
}

static void feature_row_backward(canto_feature feature, int64_t n, const float *x, const float *dy,
                                 float *dx)
{
    switch (feature) {
    case CANTO_FEATURE_IDENTITY:
        for (int64_t i = 0; i < n; i++) dx[i] = dy[i];
        break;
    case CANTO_FEATURE_ELU1:
        for (int64_t i = 0; i < n; i++) dx[i] = x[i] > 0 ? dy[i] : dy[i] * canto_cpu_exp(x[i]);
        break;
    case CANTO_FEATURE_SILU:
        for (int64_t i = 0; i < n; i++) {
            float s = canto_cpu_sigmoid(x[i]);
            dx[i] = dy[i] * s * (1.0f + x[i] * (1.0f - s));
        }
        break;
    }
}

void CANTO_CPU(feature_forward)(const canto_device *device, canto_feature feature, int64_t rows,
                                int64_t n, int64_t stride, const float *x, float *y)
{
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++) feature_row(feature, n, x + t * stride, y + t * stride);
}

void CANTO_CPU(feature_backward)(const canto_device *device, canto_feature feature, int64_t rows,
                                 int64_t n, int64_t stride, const float *x, const float *dy,
                                 float *dx)
{
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++) {
        int64_t row = t * stride;
        feature_row_backward(feature, n, x + row, dy + row, dx + row);
    }
}

void CANTO_CPU(fill)(const canto_device *device, int64_t n, float value, float *x)
{
    for (int64_t i = 0; i < n; i++) x[i] = value;
}

void CANTO_CPU(add)(const canto_device *device, int64_t n, const float *x, float *y)
{
#pragma omp parallel for simd if (n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

void CANTO_CPU(multiply)(const canto_device *device, int64_t n, const float *x, const float *y,
                         float *z)
{
#pragma omp parallel for simd if (n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) z[i] = x[i] * y[i];
}

void CANTO_CPU(scale)(const canto_device *device, int64_t n, float factor, float *x)
{
#pragma omp parallel for simd if (n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) x[i] *= factor;
}

void CANTO_CPU(copy)(const canto_device *device, int64_t n, const float *x, float *y)
{
    if (n > 0) memcpy(y, x, sizeof *y * (size_t)n);
}

void CANTO_CPU(narrow)(const canto_device *device, int64_t rows, int64_t n, int64_t stride,
                       const float *x, uint16_t *y)
{
    enum { PIECE = 4096 }; // of a row, which may be all there is
#pragma omp parallel for collapse(2) if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t first = 0; first < n; first += PIECE) {
            const int64_t end = n - first < PIECE ? n : first + PIECE;
            for (int64_t i = first; i < end; i++) y[t * n + i] = vnarrow(x[t * stride + i]);
        }
    }
}

// Summed in a fixed number of slices, so that the number of threads does not change the bits.
void CANTO_CPU(sum_squares)(const canto_device *device, int64_t n, const float *x, double *sum)
{
    enum { SLICES = 64 };
    double partial[SLICES];
#pragma omp parallel for if (n > CANTO_CPU_PARALLEL_MIN)
    for (int slice = 0; slice < SLICES; slice++) {
        int64_t end = n / SLICES * (slice + 1) + (slice == SLICES - 1 ? n % SLICES : 0);
        double own = 0;
#pragma omp simd reduction(+ : own)
        for (int64_t i = n / SLICES * slice; i < end; i++) own += (double)x[i] * x[i];
        partial[slice] = own;
    }
    double total = 0;
    for (int slice = 0; slice < SLICES; slice++) total += partial[slice];
    *sum += total;
}

void CANTO_CPU(adamw)(const canto_device *device, int64_t n, const canto_adamw *how,
                      const float *grad, float *param, float *first, float *second)
{
    const canto_adamw a = *how;
#pragma omp parallel for simd if (n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * a.grad_scale;
        first[i] = a.beta1 * first[i] + (1.0f - a.beta1) * g;
        second[i] = a.beta2 * second[i] + (1.0f - a.beta2) * g * g;
        float step = first[i] / a.correction1 / (sqrtf(second[i] / a.correction2) + a.eps);
        param[i] -= a.lr * (step + a.weight_decay * param[i]);
    }
}
