// Division of linear attention's outputs by their last column, the sum of the weights, and its
// adjoint. Keeps nothing.
#include "runtime/cpu/cpu.h"

void CANTO_CPU(linear_normalise)(const canto_device *device, int64_t entries, int value_dim,
                                 float eps, const float *y, float *o)
{
#pragma omp parallel for schedule(static) if (entries * value_dim > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < entries; i++) {
        const float *row = y + i * (value_dim + 1);
        const float inverse = 1 / (row[value_dim] + eps);
        for (int c = 0; c < value_dim; c++) o[i * value_dim + c] = row[c] * inverse;
    }
}

void CANTO_CPU(linear_normalise_backward)(const canto_device *device, int64_t entries,
                                          int value_dim, float eps, const float *y,
                                          const float *dout, float *dy)
{
#pragma omp parallel for schedule(static) if (entries * value_dim > CANTO_CPU_PARALLEL_MIN)
    for (int64_t i = 0; i < entries; i++) {
        const float *row = y + i * (value_dim + 1);
        const float *drow = dout + i * value_dim;
        float *out = dy + i * (value_dim + 1);
        const float inverse = 1 / (row[value_dim] + eps);
        double sum = 0; // of dout * o
        for (int c = 0; c < value_dim; c++) {
            out[c] = drow[c] * inverse;
            sum += (double)out[c] * row[c];
        }
        out[value_dim] = (float)-(sum * inverse);
    }
}
