// Softmax attention of a few queries, forward: what decoding does. Next to nothing is computed, so
// keys and values are read where they lie, once, row after row with all heads side by side, and
// nothing is packed. Keeps a running maximum, sum and output of every lane on the stack; sums of a
// lane run over blocks of keys in order, whatever is beside it (Milakov and Gimelshein, arXiv
// 1805.02867).
#include "runtime/cpu/attention_few.h"

#include "runtime/cpu/cpu.h"
#include "runtime/cpu/exp.h"
#include "runtime/cpu/simd.h"

#include <float.h>
#include <math.h>
#include <stdalign.h>
#include <string.h>

enum {
    KEYS = 16,                      // of a block
    LANES_ALL = 64,                 // of all tasks side by side, each of which has one or more
    SIDE = REGISTERS == 32 ? 4 : 2, // lanes of a task that read four rows together
    AHEAD = 12                      // keys between what is read and what is asked for
};

// The largest score so far is none.
static const float lowest = -FLT_MAX;

typedef struct space {
    alignas(64) float queries[LANES_ALL * CANTO_HEAD_DIM_MAX]; // times the scale
    alignas(64) float out[LANES_ALL * CANTO_HEAD_DIM_MAX];
    alignas(64) float scores[LANES_ALL][KEYS];
    canto_range seen[LANES_ALL]; // keys of the block
    float largest[LANES_ALL], sum[LANES_ALL];
    canto_attention_task tasks[LANES_ALL];
    int tasks_n;
    int64_t end; // of the keys
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

bool canto_attention_is_few(const canto_attention_shape *shape, const canto_band *tile)
{
    const int64_t rows = tile->q1 - tile->q0;
    return rows > 0 && rows * canto_attention_share(shape, CANTO_FEW_LANES) <= CANTO_FEW_LANES;
}

// x' y of n elements.
static float dot(int n, const float *x, const float *y)
{
    vf all = vset(0);
    float rest = 0;
    int c = 0;
    for (; c + LANES <= n; c += LANES) all += vload(x + c) * vload(y + c);
    for (; c < n; c++) rest += x[c] * y[c];
    return vsum(all) + rest;
}

// The sums of lanes of four vectors, in the order of vsum: blocks of h lanes change places across
// two vectors, so that one addition serves both.
CANTO_INLINE void sum_four(const vf v[4], float sums[4])
{
    vf left[4] = {v[0], v[1], v[2], v[3]};
    int n = 4;
    CANTO_UNROLL
    for (int h = LANES / 2; h > 0; h /= 2) {
        vi low = {0}, high = {0};
        CANTO_UNROLL
        for (int l = 0; l < LANES; l++) {
            const int other = n > 1 ? LANES : 0; // the second vector, or the same one
            low[l] = l & h ? other + l - h : l;
            high[l] = l & h ? other + l : l + h;
        }
        CANTO_UNROLL
        for (int i = 0; i < (n + 1) / 2; i++) {
            const vf a = left[n > 1 ? 2 * i : 0], b = left[n > 1 ? 2 * i + 1 : 0];
            left[i] = __builtin_shuffle(a, b, low) + __builtin_shuffle(a, b, high);
        }
        if (n > 1) n /= 2;
    }
    CANTO_UNROLL
    for (int r = 0; r < 4; r++) sums[r] = left[0][(r & 1) * (LANES / 2) + (r >> 1) * (LANES / 4)];
}

// The same of four rows and some lanes, whose queries lie at a distance, and so do their scores.
CANTO_INLINE void dot_four(const int lanes, int n, const float *x, const float *rows,
                           int64_t stride, float *scores)
{
    vf all[SIDE][4];
    int c = 0;
    CANTO_UNROLL
    for (int i = 0; i < lanes; i++) {
        CANTO_UNROLL
        for (int r = 0; r < 4; r++) all[i][r] = vset(0);
    }
    for (; c + LANES <= n; c += LANES) {
        vf row[4];
        CANTO_UNROLL
        for (int r = 0; r < 4; r++) row[r] = vload(rows + r * stride + c);
        CANTO_UNROLL
        for (int i = 0; i < lanes; i++) {
            const vf own = vload(x + i * CANTO_HEAD_DIM_MAX + c);
            CANTO_UNROLL
            for (int r = 0; r < 4; r++) all[i][r] += own * row[r];
        }
    }
    CANTO_UNROLL
    for (int i = 0; i < lanes; i++) sum_four(all[i], scores + i * KEYS);
    for (int i = 0; c < n && i < lanes; i++) {
        for (int r = 0; r < 4; r++) {
            float rest = 0;
            for (int e = c; e < n; e++)
                rest += x[i * CANTO_HEAD_DIM_MAX + e] * rows[r * stride + e];
            scores[i * KEYS + r] += rest;
        }
    }
}

// Four rows that will be read soon.
static void ask_for_four(int n, const float *rows, int64_t stride)
{
    enum { LINE = CANTO_LINE / sizeof(float) };
    for (int r = 0; r < 4; r++) {
        for (int c = 0; c < n; c += LINE) __builtin_prefetch(rows + r * stride + c, 0, 3);
    }
}

// out += weights' rows, of four keys, for some lanes whose weights and outputs lie at a distance.
CANTO_INLINE void add_four(const int lanes, int n, const float *weights, const float *rows,
                           int64_t stride, float *out)
{
    vf w[SIDE][4];
    CANTO_UNROLL
    for (int i = 0; i < lanes; i++) {
        CANTO_UNROLL
        for (int r = 0; r < 4; r++) w[i][r] = vset(weights[i * KEYS + r]);
    }
    int c = 0;
    for (; c + LANES <= n; c += LANES) {
        vf row[4];
        CANTO_UNROLL
        for (int r = 0; r < 4; r++) row[r] = vload(rows + r * stride + c);
        CANTO_UNROLL
        for (int i = 0; i < lanes; i++) {
            float *to = out + i * CANTO_HEAD_DIM_MAX + c;
            const vf early = w[i][0] * row[0] + w[i][1] * row[1];
            const vf late = w[i][2] * row[2] + w[i][3] * row[3];
            vstore(to, vload(to) + (early + late));
        }
    }
    for (; c < n; c++) {
        for (int i = 0; i < lanes; i++) {
            const float *own = weights + i * KEYS;
            out[i * CANTO_HEAD_DIM_MAX + c] +=
                (own[0] * rows[c] + own[1] * rows[stride + c]) +
                (own[2] * rows[2 * stride + c] + own[3] * rows[3 * stride + c]);
        }
    }
}

// Functions of their own: they need all registers.
#define SIDE_BY_SIDE(lanes)                                                                        \
    static __attribute__((noinline)) void dot_##lanes(int n, const float *x, const float *rows,    \
                                                      int64_t stride, float *scores)               \
    {                                                                                              \
        dot_four(lanes, n, x, rows, stride, scores);                                               \
    }                                                                                              \
    static __attribute__((noinline)) void add_##lanes(                                             \
        int n, const float *weights, const float *rows, int64_t stride, float *out)                \
    {                                                                                              \
        add_four(lanes, n, weights, rows, stride, out);                                            \
    }
SIDE_BY_SIDE(1)
SIDE_BY_SIDE(2)
SIDE_BY_SIDE(4)

// How many lanes from lane i on go side by side: 4, 2 or 1.
static int side_of(int i, int end)
{
    int side = SIDE;
    while (i + side > end) side /= 2;
    return side;
}

static void add_one(int n, float weight, const float *row, float *out)
{
    for (int c = 0; c < n; c++) out[c] += weight * row[c];
}

// The scores of a lane become weights, and what it holds is measured by the largest one so far.
static void weigh(int at, int value_dim, space *s)
{
    const canto_range seen = s->seen[at];
    float *scores = s->scores[at], *out = s->out + (int64_t)at * CANTO_HEAD_DIM_MAX;
    float largest = s->largest[at];
    for (int k = seen.begin; k < seen.end; k++)
        if (!(scores[k] <= largest)) largest = scores[k];
    if (largest != s->largest[at]) {
        const float factor = canto_cpu_exp2(s->largest[at] - largest);
        s->sum[at] *= factor;
        for (int c = 0; c < value_dim; c++) out[c] *= factor;
        s->largest[at] = largest;
    }
    for (int k = 0; k < KEYS; k += LANES)
        vstore(scores + k, vexp2(vload(scores + k) - vset(largest)));
    for (int k = seen.begin; k < seen.end; k++) s->sum[at] += scores[k];
}

// Whether all of four keys are seen by all of some lanes.
static bool see(const canto_range *seen, int lanes, int k)
{
    bool all = true;
    for (int i = 0; i < lanes; i++) all = all && seen[i].begin <= k && k + 4 <= seen[i].end;
    return all;
}

// Four keys at a time, all heads of each: so memory is read in order. A dot product is the same sum
// alone, among four, and with other lanes beside it.
static void find_scores(const float *kv, int64_t k0, int keys, space *s)
{
    for (int k = 0; k < keys; k += 4) {
        for (int t = 0, at = 0; t < s->tasks_n; at += s->tasks[t++].lanes) {
            const canto_attention_task *task = &s->tasks[t];
            const int n = task->shape->key_dim;
            const int64_t stride = canto_attention_kv_width(task->shape);
            const float *rows = kv + canto_attention_key_at(task, k0 + k);
            if (k0 + k + AHEAD + 4 <= s->end) ask_for_four(n, rows + AHEAD * stride, stride);
            for (int i = at, side; i < at + task->lanes; i += side) {
                const float *query = s->queries + (int64_t)i * CANTO_HEAD_DIM_MAX;
                side = side_of(i, at + task->lanes);
                if (!see(s->seen + i, side, k)) side = 1;
                if (see(s->seen + i, side, k)) {
                    (side == 4   ? dot_4
                     : side == 2 ? dot_2
                                 : dot_1)(n, query, rows, stride, s->scores[i] + k);
                    continue;
                }
                const canto_range seen = s->seen[i];
                for (int j = k < seen.begin ? seen.begin : k; j < k + 4 && j < seen.end; j++)
                    s->scores[i][j] = dot(n, query, rows + (j - k) * stride);
            }
        }
    }
}

// Four keys at a time.
static void add_values(const float *kv, int64_t k0, int keys, space *s)
{
    for (int k = 0; k < keys; k += 4) {
        for (int t = 0, at = 0; t < s->tasks_n; at += s->tasks[t++].lanes) {
            const canto_attention_task *task = &s->tasks[t];
            const int n = task->shape->value_dim;
            const int64_t stride = canto_attention_kv_width(task->shape);
            const float *values = kv + canto_attention_value_at(task, k0 + k);
            if (k0 + k + AHEAD + 4 <= s->end) ask_for_four(n, values + AHEAD * stride, stride);
            for (int i = at, side; i < at + task->lanes; i += side) {
                float *out = s->out + (int64_t)i * CANTO_HEAD_DIM_MAX;
                side = side_of(i, at + task->lanes);
                if (!see(s->seen + i, side, k)) side = 1;
                if (see(s->seen + i, side, k)) {
                    (side == 4   ? add_4
                     : side == 2 ? add_2
                                 : add_1)(n, s->scores[i] + k, values, stride, out);
                    continue;
                }
                const canto_range seen = s->seen[i];
                for (int j = k < seen.begin ? seen.begin : k; j < k + 4 && j < seen.end; j++)
                    add_one(n, s->scores[i][j], values + (j - k) * stride, out);
            }
        }
    }
}

static void add_block(const float *kv, int64_t k0, int keys, space *s)
{
    for (int t = 0, at = 0; t < s->tasks_n; at += s->tasks[t++].lanes) {
        for (int i = 0; i < s->tasks[t].lanes; i++)
            s->seen[at + i] = canto_attention_keys_of(&s->tasks[t], i, k0, keys);
    }
    find_scores(kv, k0, keys, s);
    for (int t = 0, at = 0; t < s->tasks_n; at += s->tasks[t++].lanes) {
        for (int i = at; i < at + s->tasks[t].lanes; i++) {
            if (s->seen[i].begin < s->seen[i].end) weigh(i, s->tasks[t].shape->value_dim, s);
        }
    }
    add_values(kv, k0, keys, s);
}

static void begin(const float *q, space *s)
{
    for (int t = 0, at = 0; t < s->tasks_n; at += s->tasks[t++].lanes) {
        const canto_attention_task *task = &s->tasks[t];
        const int dim = task->shape->key_dim;
        const float scale = (float)(task->shape->scale * CANTO_LOG2_E);
        for (int i = 0; i < task->lanes; i++) {
            const float *from = q + canto_attention_row_of(task, i) * dim;
            float *to = s->queries + (int64_t)(at + i) * CANTO_HEAD_DIM_MAX;
            for (int c = 0; c < dim; c++) to[c] = scale * from[c];
            memset(s->out + (int64_t)(at + i) * CANTO_HEAD_DIM_MAX, 0,
                   sizeof *s->out * (size_t)task->shape->value_dim);
            s->largest[at + i] = lowest;
            s->sum[at + i] = 0;
        }
    }
}

static void finish(const space *s, float *o, float *lse)
{
    for (int t = 0, at = 0; t < s->tasks_n; at += s->tasks[t++].lanes) {
        const canto_attention_task *task = &s->tasks[t];
        const int dim = task->shape->value_dim;
        for (int i = at; i < at + task->lanes; i++) {
            if (s->sum[i] == 0) continue; // no keys
            float row[CANTO_HEAD_DIM_MAX];
            const float inverse = 1 / s->sum[i];
            for (int c = 0; c < dim; c++)
                row[c] = inverse * s->out[(int64_t)i * CANTO_HEAD_DIM_MAX + c];
            const double own = s->largest[i] * CANTO_LN_2 + log((double)s->sum[i]);
            const int64_t place = canto_attention_row_of(task, i - at);
            canto_attention_merge_row(dim, row, (float)own, o + place * dim, &lse[place]);
        }
    }
}

// The heads [first, last), as many side by side as there is room for.
static void run_heads(const canto_attention_shape *shape, const canto_band *tile, int first,
                      int last, const float *q, const float *kv, float *o, float *lse)
{
    const int share = canto_attention_share(shape, CANTO_FEW_LANES);
    space s;
    memset(s.scores, 0, sizeof s.scores); // those that are not seen are computed with
    while (first < last) {
        int lanes = 0;
        for (s.tasks_n = 0; first < last; s.tasks_n++, first += share) {
            const canto_attention_task task =
                canto_attention_task_make(shape, tile, first, share, tile->q0, CANTO_FEW_LANES);
            if (lanes + task.lanes > LANES_ALL) break;
            lanes += task.lanes;
            s.tasks[s.tasks_n] = task;
        }
        int64_t k0, k1;
        canto_attention_keys(&s.tasks[0], &k0, &k1);
        if (k0 >= k1) return;
        s.end = k1;
        begin(q, &s);
        for (; k0 < k1; k0 += KEYS) add_block(kv, k0, k1 - k0 < KEYS ? (int)(k1 - k0) : KEYS, &s);
        finish(&s, o, lse);
    }
}

void canto_attention_few(const canto_attention_shape *shape, const canto_band *tile, const float *q,
                         const float *kv, float *o, float *lse)
{
    const int share = canto_attention_share(shape, CANTO_FEW_LANES);
    const int tasks = shape->heads / share;
    const bool large = canto_attention_is_large(shape, tile);
    const int groups = !large ? 1 : tasks < canto_cpu_threads() ? tasks : canto_cpu_threads();
#pragma omp parallel for schedule(static) if (large)
    for (int g = 0; g < groups; g++)
        run_heads(shape, tile, tasks * g / groups * share, tasks * (g + 1) / groups * share, q, kv,
                  o, lse);
}
