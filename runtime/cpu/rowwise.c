// Row-wise kernels: RMSNorm (Zhang and Sennrich, arXiv 1910.07467), rotary positions (Su et al.,
// arXiv 2104.09864), embedding. Sums over rows are split over threads by columns, so that the
// number of threads does not change the bits.
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/exp.h"

#include <math.h>
#include <string.h>

// Columns that one thread takes at a time where rows are summed.
enum { COLUMNS = 64 };

static double row_squares(int64_t n, const float *x)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * x[i];
    return sum;
}

void CANTO_CPU(norm_forward)(const canto_device *device, int64_t rows, int64_t n, float eps,
                             const float *x, const float *w, float *y, float *rstd)
{
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++) {
        const float *xt = x + t * n;
        float *yt = y + t * n;
        float r = (float)(1.0 / sqrt(row_squares(n, xt) / (double)n + eps));
        rstd[t] = r;
        if (w) {
            for (int64_t i = 0; i < n; i++) yt[i] = xt[i] * r * w[i];
        } else {
            for (int64_t i = 0; i < n; i++) yt[i] = xt[i] * r;
        }
    }
}

// dx += r (w dy - x r^2 mean(w dy x))
static void norm_row_backward(int64_t n, const float *x, const float *w, float r, const float *dy,
                              float *dx)
{
    double dot = 0;
#pragma omp simd reduction(+ : dot)
    for (int64_t i = 0; i < n; i++) dot += (double)dy[i] * x[i] * (w ? w[i] : 1.0f);
    float c = (float)(dot / (double)n * r * r * r);
    for (int64_t i = 0; i < n; i++) dx[i] += r * (w ? w[i] : 1.0f) * dy[i] - c * x[i];
}

static void norm_weight_backward(int64_t rows, int64_t n, const float *x, const float *rstd,
                                 const float *dy, float *dw)
{
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t c0 = 0; c0 < n; c0 += COLUMNS) {
        int64_t c1 = c0 + COLUMNS < n ? c0 + COLUMNS : n;
        for (int64_t t = 0; t < rows; t++) {
            for (int64_t i = c0; i < c1; i++) dw[i] += x[t * n + i] * rstd[t] * dy[t * n + i];
        }
    }
}

void CANTO_CPU(norm_backward)(const canto_device *device, int64_t rows, int64_t n, const float *x,
                              const float *w, const float *rstd, const float *dy, float *dx,
                              float *dw)
{
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++)
        norm_row_backward(n, x + t * n, w, rstd[t], dy + t * n, dx + t * n);
    if (dw) norm_weight_backward(rows, n, x, rstd, dy, dw);
}

void CANTO_CPU(log_sigmoid_forward)(const canto_device *device, int64_t rows, int64_t n,
                                    float divisor, const float *x, const float *bias, float *y)
{
    const float factor = 1.0f / divisor;
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t i = 0; i < n; i++)
            y[t * n + i] = factor * canto_cpu_log_sigmoid(x[t * n + i] + bias[i]);
    }
}

void CANTO_CPU(log_sigmoid_backward)(const canto_device *device, int64_t rows, int64_t n,
                                     float divisor, const float *x, const float *bias,
                                     const float *dy, float *dx, float *dbias)
{
    const float factor = 1.0f / divisor;
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t c0 = 0; c0 < n; c0 += COLUMNS) {
        const int64_t width = n - c0 < COLUMNS ? n - c0 : COLUMNS;
        double sum[COLUMNS] = {0};
        for (int64_t t = 0; t < rows; t++) {
            const int64_t row = t * n + c0;
            for (int64_t i = 0; i < width; i++) {
                const float slope = canto_cpu_sigmoid(-(x[row + i] + bias[c0 + i]));
                dx[row + i] = factor * slope * dy[row + i];
                sum[i] += (double)dx[row + i];
            }
        }
        for (int64_t i = 0; i < width; i++) dbias[c0 + i] += (float)sum[i];
    }
}

void CANTO_CPU(rope)(const canto_device *device, int64_t rows, int heads, int dim, int64_t stride,
                     const float *table, int direction, float *x)
{
    const int half = dim / 2;
#pragma omp parallel for if (rows * heads * dim > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++) {
        const float *turn = table + t * dim;
        for (int h = 0; h < heads; h++) {
            float *a = x + t * stride + (int64_t)h * dim;
            float *b = a + half;
            for (int j = 0; j < half; j++) {
                float cosine = turn[2 * j];
                float sine = (float)direction * turn[2 * j + 1];
                float u = a[j];
                float v = b[j];
                a[j] = u * cosine - v * sine;
                b[j] = u * sine + v * cosine;
            }
        }
    }
}

void CANTO_CPU(embed_forward)(const canto_device *device, int64_t tokens, int64_t n,
                              const int32_t *token, const float *table, float *y)
{
    for (int64_t t = 0; t < tokens; t++)
        memcpy(y + t * n, table + token[t] * n, (size_t)n * sizeof *y);
}

void CANTO_CPU(embed_backward)(const canto_device *device, int64_t tokens, int64_t n,
                               const int32_t *token, const float *dy, float *dtable)
{
#pragma omp parallel for if (tokens * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t c0 = 0; c0 < n; c0 += COLUMNS) {
        int64_t c1 = c0 + COLUMNS < n ? c0 + COLUMNS : n;
        for (int64_t t = 0; t < tokens; t++) {
            float *row = dtable + token[t] * n;
            for (int64_t i = c0; i < c1; i++) row[i] += dy[t * n + i];
        }
    }
}
