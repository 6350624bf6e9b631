// Chunks and powers of gates; see the header.
#include "runtime/cpu/gated_block.h"

#include "runtime/cpu/exp.h"

// sum += row; whether all sums stay in range. NaN does not, so that it begins a chunk.
static bool add_row(int n, const float *row, double *sum)
{
    int outside = 0;
#pragma omp simd reduction(+ : outside)
    for (int d = 0; d < n; d++) {
        sum[d] += (double)row[d];
        outside += !(sum[d] >= -CANTO_GATED_RANGE);
    }
    return outside == 0;
}

// The digits of a sum that a float has no room for count: it may be 60.
static void raise_row(int n, const double *sum, float *rise)
{
#pragma omp simd
    for (int d = 0; d < n; d++) {
        const float high = (float)sum[d];
        const float low = (float)(sum[d] - (double)high);
        const float power = canto_cpu_exp(high);
        rise[d] = power + power * low;
    }
}

int canto_gated_chunk(const canto_linear_head *it, const float *gates, int64_t tokens, int64_t t,
                      float *rise, double *sum)
{
    const int dim = it->shape->key_dim;
    const int64_t block = CANTO_CHUNK - t % CANTO_CHUNK;
    const int most = (int)(tokens - t < block ? tokens - t : block);
    double next[CANTO_HEAD_DIM_MAX];
    for (int d = 0; d < dim; d++) sum[d] = next[d] = 0;
    for (int i = 0; i < most; i++) {
        if (i > 0 && !add_row(dim, canto_gated_row(it, gates, t + i), next)) return i;
        memcpy(sum, next, (size_t)dim * sizeof *sum);
        if (!rise) continue;
        raise_row(dim, sum, rise + i * it->key_ld);
        for (int d = dim; d < it->key_ld; d++) rise[i * it->key_ld + d] = 1;
    }
    return most;
}

void canto_gated_add(const canto_linear_head *it, const float *gates, int64_t t, const double *sum,
                     double *total)
{
    const float *first = canto_gated_row(it, gates, t);
    for (int d = 0; d < it->shape->key_dim; d++) total[d] += (double)first[d] + sum[d];
}

void canto_gated_rise(const canto_linear_head *it, int n, const float *rise, float *rows)
{
    for (int i = 0; i < n * it->key_ld; i++) rows[i] *= rise[i];
}

void canto_gated_fall(const canto_linear_head *it, int n, const float *rise, float *rows)
{
    for (int i = 0; i < n * it->key_ld; i++) rows[i] /= rise[i];
}

bool canto_gated_factors(const canto_linear_head *it, const float *gates, int64_t t,
                         const double *total, float *factors)
{
    const float *first = canto_gated_row(it, gates, t);
    int left = 0;
    for (int d = 0; d < it->shape->key_dim; d++) {
        const double sum = (double)first[d] + (total ? total[d] : 0);
        const float factor = canto_cpu_exp((float)sum);
        factors[d] = factor < 1e-30f ? 0 : factor;
        left += !(factor < 1e-30f);
    }
    for (int d = it->shape->key_dim; d < it->key_ld; d++) factors[d] = 0;
    return left > 0;
}

void canto_gated_scale_rows(const canto_linear_head *it, const float *factors, float *state)
{
    for (int r = 0; r < it->shape->key_dim; r++)
        canto_linear_scale(it->column_ld, factors[r], state + r * it->column_ld);
}

void canto_gated_scale_columns(const canto_linear_head *it, const float *factors, float *state)
{
    for (int c = 0; c < it->columns; c++)
        canto_gated_rise(it, 1, factors, state + (int64_t)c * it->key_ld);
}
