// Cross-entropy over tiles of the vocabulary: an online log-sum-exp takes in one tile of logits
// after the other (Milakov and Gimelshein, arXiv 1805.02867), so that no more than one tile ever
// exists.
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/exp.h"

static float row_max(int64_t n, const float *x)
{
    float largest = -INFINITY;
#pragma omp simd reduction(max : largest)
    for (int64_t i = 0; i < n; i++) largest = x[i] > largest ? x[i] : largest;
    return largest;
}

static float row_sum_exp(int64_t n, const float *x, float shift)
{
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) sum += canto_cpu_exp(x[i] - shift);
    return sum;
}

static float log_add(float a, float b)
{
    float high = a > b ? a : b;
    float low = a > b ? b : a;
    return low == -INFINITY ? high : high + log1pf(expf(low - high));
}

void CANTO_CPU(loss_tile)(const canto_device *device, int64_t rows, int64_t n, int64_t first,
                          const float *logits, const int32_t *target, float *lse, float *picked)
{
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++) {
        const float *row = logits + t * n;
        float largest = row_max(n, row);
        lse[t] = log_add(lse[t], largest + logf(row_sum_exp(n, row, largest)));
        int64_t at = target[t] - first;
        if (at >= 0 && at < n) picked[t] = row[at];
    }
}

void CANTO_CPU(loss_sum)(const canto_device *device, int64_t rows, const int32_t *target,
                         const float *lse, const float *picked, double *sum)
{
    double own = 0;
    for (int64_t t = 0; t < rows; t++) {
        if (target[t] >= 0) own += (double)lse[t] - picked[t];
    }
    *sum += own;
}

void CANTO_CPU(loss_tile_backward)(const canto_device *device, int64_t rows, int64_t n,
                                   int64_t first, const int32_t *target, const float *lse,
                                   float scale, float *logits)
{
#pragma omp parallel for if (rows * n > CANTO_CPU_PARALLEL_MIN)
    for (int64_t t = 0; t < rows; t++) {
        float *row = logits + t * n;
        if (target[t] < 0) {
            CANTO_CPU(fill)(device, n, 0, row);
            continue;
        }
        for (int64_t i = 0; i < n; i++) row[i] = scale * canto_cpu_exp(row[i] - lse[t]);
        int64_t at = target[t] - first;
        if (at >= 0 && at < n) row[at] -= scale;
    }
}
