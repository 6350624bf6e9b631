// The join of a linear scan: what enters the one run of segments passes through the other.
#include "runtime/cpu/cpu.h"

#include <math.h>

void CANTO_CPU(state_join)(const canto_device *device, int heads, int64_t head_count,
                           int64_t tokens, const float *log_decay, const float *left,
                           const float *right, float *out)
{
#pragma omp parallel for if (heads * head_count > CANTO_CPU_PARALLEL_MIN)
    for (int h = 0; h < heads; h++) {
        const float decay = log_decay ? (float)exp((double)log_decay[h] * (double)tokens) : 1;
        for (int64_t i = h * head_count; i < (h + 1) * head_count; i++)
            out[i] = (left ? decay * left[i] : 0) + right[i];
    }
}
