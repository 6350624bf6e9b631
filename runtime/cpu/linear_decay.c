// Decays of chunks; see the header.
#include "runtime/cpu/linear_decay.h"

#include "runtime/cpu/attention_block.h"
#include "runtime/cpu/exp.h"

#include <float.h>
#include <math.h>
#include <stdalign.h>

void canto_decay_begin(const canto_linear_head *it, canto_linear_powers *powers)
{
    const int64_t tokens = it->run->tokens;
    if (it->shape->gate != CANTO_GATE_NONE || !it->shape->log_decay) return;
    for (int k = 0; k <= CANTO_CHUNK && k <= tokens; k++) {
        // 0 times -inf is no number; denormal numbers are slow
        const double exact = k > 0 ? exp(k * (double)it->shape->log_decay[it->head]) : 1;
        const float power = exact < FLT_MIN ? 0 : (float)exact;
        if (k > 0) powers->start[k - 1] = power;
        if (k < CANTO_CHUNK) powers->falling[CANTO_CHUNK - 1 - k] = power;
    }
}

static const float *gates_at(const canto_linear_head *it, int64_t t)
{
    return it->run->gates + canto_linear_gates(it, t, 1).at;
}

// --- one constant ---

static void constant_chunk(const canto_linear_head *it, const canto_linear_powers *powers,
                           canto_linear_decay *decay)
{
    decay->pairs = powers->falling + CANTO_CHUNK - 1;
    decay->pairs_row = -1;
    decay->from_start = powers->start;
    decay->to_end = powers->falling + CANTO_CHUNK - decay->n;
    decay->whole = powers->start[decay->n - 1];
    decay->sum[0] = (double)decay->n * it->shape->log_decay[it->head];
}

// --- a gate a head ---

// 2^(high + low) for n numbers, n rounded up to whole vectors.
static void powers_of(int n, float base_high, float base_low, float sign, const float *high,
                      const float *low, float *to)
{
    for (int j = 0; j < n; j += LANES) {
        const vf sum =
            (vset(base_high) + sign * vload(high + j)) + (vset(base_low) + sign * vload(low + j));
        vstore(to + j, vexp2(sum));
    }
}

// Sums of gates in base 2, as two floats each: the difference of two of them keeps its digits.
static void head_chunk(const canto_linear_head *it, int64_t t, canto_linear_decay *decay)
{
    const int n = decay->n;
    const int64_t stride = canto_linear_gates_count(it->shape);
    const float *gates = gates_at(it, t);
    float high[CANTO_CHUNK] = {0}, low[CANTO_CHUNK] = {0};
    double sum = 0;
    for (int i = 0; i < n; i++) {
        // What is less is gone as well, and the difference of two infinities is no number.
        const float gate = gates[i * stride] < -1e4f ? -1e4f : gates[i * stride];
        sum += (double)gate;
        const double base_two = sum * CANTO_LOG2_E;
        high[i] = (float)base_two;
        low[i] = (float)(base_two - (double)high[i]);
    }
    for (int i = 0; i < n; i++)
        powers_of(i + 1, high[i], low[i], -1, high, low, decay->pairs_room + i * CANTO_CHUNK);
    powers_of(n, high[n - 1], low[n - 1], -1, high, low, decay->end_room);
    powers_of(n, 0, 0, 1, high, low, decay->start_room);
    decay->pairs = decay->pairs_room;
    decay->pairs_row = CANTO_CHUNK;
    decay->to_end = decay->end_room;
    decay->from_start = decay->start_room;
    decay->whole = decay->start_room[n - 1];
    decay->sum[0] = sum;
}

// --- a gate a key dim ---

// sum += row; whether all sums stay in range. NaN does not, so that it begins a chunk.
static bool add_row(int n, const float *row, double *sum)
{
    int outside = 0;
#pragma omp simd reduction(+ : outside)
    for (int d = 0; d < n; d++) {
        sum[d] += (double)row[d];
        outside += !(sum[d] >= -CANTO_DECAY_RANGE);
    }
    return outside == 0;
}

// rise = e^sum. The digits of a sum that a float has no room for count: it may be 60.
static void raise_row(int n, const double *sum, float *rise)
{
    alignas(64) float high[CANTO_HEAD_DIM_MAX], low[CANTO_HEAD_DIM_MAX];
#pragma omp simd
    for (int d = 0; d < n; d++) {
        const double base_two = sum[d] * CANTO_LOG2_E;
        high[d] = (float)base_two;
        low[d] = (float)(CANTO_LN_2 * (base_two - (double)high[d]));
    }
    int d = 0;
    for (; d + LANES <= n; d += LANES) {
        const vf power = vexp2(vload(high + d));
        vstore(rise + d, power + power * vload(low + d));
    }
    for (; d < n; d++) {
        const float power = canto_cpu_exp2(high[d]);
        rise[d] = power + power * low[d];
    }
}

static void key_chunk(const canto_linear_head *it, int64_t t, int most, canto_linear_decay *decay)
{
    const int dim = it->shape->key_dim;
    const int64_t stride = canto_linear_gates_count(it->shape);
    const float *gates = gates_at(it, t);
    double next[CANTO_HEAD_DIM_MAX];
    for (int d = 0; d < dim; d++) {
        decay->sum[d] = next[d] = 0;
        decay->before_room[d] = canto_cpu_exp(gates[d]);
    }
    for (decay->n = 0; decay->n < most; decay->n++) {
        const int i = decay->n;
        if (i > 0 && !add_row(dim, gates + i * stride, next)) break;
        memcpy(decay->sum, next, sizeof *next * (size_t)dim);
        raise_row(dim, next, decay->rise_room + i * dim);
    }
    for (int d = 0; d < dim; d++) decay->sum[d] += (double)gates[d];
    decay->rise = decay->rise_room;
    decay->before = decay->before_room;
    decay->after = decay->rise_room + (decay->n - 1) * dim;
}

// --- all ---

void canto_decay_chunk(const canto_linear_head *it, const canto_linear_powers *powers, int64_t t,
                       canto_linear_decay *decay)
{
    const int64_t left = it->run->tokens - t, block = CANTO_CHUNK - t % CANTO_CHUNK;
    const int most = (int)(left < block ? left : block);
    decay->n = most;
    decay->pairs = decay->from_start = decay->to_end = NULL;
    decay->rise = decay->before = decay->after = NULL;
    decay->whole = 1;
    decay->sum[0] = 0;
    if (it->shape->gate == CANTO_GATE_KEY)
        key_chunk(it, t, most, decay);
    else if (it->shape->gate == CANTO_GATE_HEAD)
        head_chunk(it, t, decay);
    else if (it->shape->log_decay)
        constant_chunk(it, powers, decay);
}

void canto_decay_total(const canto_linear_head *it, const canto_linear_decay *decay, double *total)
{
    const int width = it->shape->gate == CANTO_GATE_KEY ? it->shape->key_dim : 1;
    for (int d = 0; d < width; d++) total[d] += decay->sum[d];
}

void canto_decay_state(const canto_linear_head *it, const float *factors, float *state)
{
    const int rows = it->shape->key_dim;
    for (int p = 0; factors && p < it->column_panels; p++) {
        for (int r = 0; r < rows; r++) {
            float *row = state + ((int64_t)p * rows + r) * CANTO_COLUMNS;
            for (int c = 0; c < CANTO_COLUMNS; c++) row[c] *= factors[r];
        }
    }
}

void canto_decay_turned(const canto_linear_head *it, const float *factors, float *turned)
{
    for (int p = 0; factors && p < it->key_panels; p++) {
        const int left = it->shape->key_dim - p * CANTO_COLUMNS;
        const int width = left < CANTO_COLUMNS ? left : CANTO_COLUMNS;
        const float *factor = factors + p * CANTO_COLUMNS;
        for (int c = 0; c < it->columns; c++) {
            float *row = turned + ((int64_t)p * it->columns + c) * CANTO_COLUMNS;
            for (int r = 0; r < width; r++) row[r] *= factor[r];
        }
    }
}

bool canto_decay_is_gone(const canto_linear_head *it, const double *total, float *factors)
{
    const bool keyed = it->shape->gate == CANTO_GATE_KEY;
    bool gone = true;
    for (int d = 0; d < it->shape->key_dim; d++) {
        const float factor = canto_cpu_exp((float)total[keyed ? d : 0]);
        factors[d] = factor < 1e-30f ? 0 : factor;
        gone = gone && factors[d] == 0;
    }
    return gone;
}
