// Partial results of softmax attention over disjoint sets of keys, joined by log-sum-exp:
//
//     lse = max(a, b) + log1p(exp(-|a - b|)),   o = o_a exp(a - lse) + o_b exp(b - lse)
//
// and the row sums that the backward pass needs. An empty set has lse = -inf and is neutral, to the
// bit. Keeps nothing.
#include "runtime/cpu/attention_block.h"
#include "runtime/cpu/cpu.h"

#include <math.h>
#include <string.h>

void canto_attention_merge_row(int value_dim, const float *o_other, float lse_other, float *o,
                               float *lse)
{
    if (lse_other == -INFINITY) return;
    if (*lse == -INFINITY) {
        memcpy(o, o_other, (size_t)value_dim * sizeof *o);
        *lse = lse_other;
        return;
    }
    const float small = expf(-fabsf(*lse - lse_other)); // weight of the lesser partial
    const float major = 1 / (1 + small);
    const bool mine = *lse >= lse_other;
    const float own = mine ? major : small * major;
    const float other = mine ? small * major : major;
    for (int c = 0; c < value_dim; c++) o[c] = own * o[c] + other * o_other[c];
    *lse = (mine ? *lse : lse_other) + log1pf(small);
}

void CANTO_CPU(attention_merge)(const canto_device *device, int64_t entries, int value_dim,
                                const float *o_other, const float *lse_other, float *o, float *lse)
{
#pragma omp parallel for schedule(static) if (entries * value_dim > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < entries; i++)
        canto_attention_merge_row(value_dim, o_other + i * value_dim, lse_other[i],
                                  o + i * value_dim, &lse[i]);
}

void CANTO_CPU(attention_delta)(const canto_device *device, int64_t entries, int value_dim,
                                const float *dout, const float *o, float *delta)
{
#pragma omp parallel for schedule(static) if (entries * value_dim > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < entries; i++) {
        double sum = 0;
        for (int c = 0; c < value_dim; c++)
            sum += (double)dout[i * value_dim + c] * o[i * value_dim + c];
        delta[i] = (float)sum;
    }
}
