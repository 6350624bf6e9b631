#define _GNU_SOURCE
#include "tests/canto_test.h"

#include "tests/parallel/counting.h"

#include "tests/parallel/threads.h"

#include <math.h>
#include <string.h>

const canto_attention_shape counting_shape = {1, 1, 1, 1, 1, 1};

// --- kernels that count: q, k, v, dout are small integers, COUNTING_WIDTH numbers a row of kv ---

static bool allowed(const canto_band *tile, int64_t q, int64_t k)
{
    return k - q >= tile->lo && k - q <= tile->hi;
}

// o += q k v, lse: number of keys, from -inf for none.
static void count_forward(const canto_device *device, const canto_attention_shape *s,
                          const canto_band *tile, const float *q, const float *kv, float *o,
                          float *lse)
{
    (void)device, (void)s;
    for (int64_t i = 0; i < tile->q1 - tile->q0; i++) {
        for (int64_t j = 0; j < tile->k1 - tile->k0; j++) {
            if (!allowed(tile, tile->q0 + i, tile->k0 + j)) continue;
            o[i] += q[i] * kv[COUNTING_WIDTH * j] * kv[COUNTING_WIDTH * j + 1];
            lse[i] = isinf(lse[i]) ? 1 : lse[i] + 1;
        }
    }
}

// dq += k (dout - delta), dk += q dout, dv += lse: each operand of the backward pass counts.
static void count_backward(const canto_device *device, const canto_attention_shape *s,
                           const canto_band *tile, const float *q, const float *kv,
                           const float *dout, const float *lse, const float *delta, float *dq,
                           float *dkv)
{
    (void)device, (void)s;
    for (int64_t i = 0; i < tile->q1 - tile->q0; i++) {
        for (int64_t j = 0; j < tile->k1 - tile->k0; j++) {
            if (!allowed(tile, tile->q0 + i, tile->k0 + j)) continue;
            dq[i] += kv[COUNTING_WIDTH * j] * (dout[i] - delta[i]);
            dkv[COUNTING_WIDTH * j] += q[i] * dout[i];
            dkv[COUNTING_WIDTH * j + 1] += lse[i];
        }
    }
}

static void count_delta(const canto_device *device, int64_t entries, int value_dim,
                        const float *dout, const float *o, float *delta)
{
    (void)device, (void)value_dim;
    for (int64_t i = 0; i < entries; i++) delta[i] = dout[i] + (o[i] > 0 ? 1 : 2);
}

static void count_fill(const canto_device *device, int64_t n, float value, float *x)
{
    (void)device;
    for (int64_t i = 0; i < n; i++) x[i] = value;
}

static void count_add(const canto_device *device, int64_t n, const float *x, float *y)
{
    (void)device;
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

const canto_kernels counting_kernels = {
    .name = "counting",
    .attention_forward = count_forward,
    .attention_backward = count_backward,
    .attention_delta = count_delta,
    .fill = count_fill,
    .add = count_add,
};
const canto_device counting_device = {.kernels = &counting_kernels};

// --- one division on all ranks ---

void counting_roll_inputs(dice *d, counting_tokens *x)
{
    for (int i = 0; i < COUNTING_TOKENS_MAX; i++) {
        x->q[i] = (float)roll_between(d, 1, 3);
        x->dout[i] = (float)roll_between(d, 1, 3);
        x->kv[COUNTING_WIDTH * i] = (float)roll_between(d, 1, 3);
        x->kv[COUNTING_WIDTH * i + 1] = (float)roll_between(d, 1, 3);
    }
}

// The same, pair by pair.
static void expect_pairs(const canto_mask *mask, counting_tokens *x)
{
    for (int64_t q = 0; q < mask->length; q++) {
        x->o[q] = x->dq[q] = x->lse[q] = 0;
        for (int64_t k = 0; k < mask->length; k++) {
            if (!canto_mask_allows(mask, q, k)) continue;
            x->o[q] += x->q[q] * x->kv[COUNTING_WIDTH * k] * x->kv[COUNTING_WIDTH * k + 1];
            x->lse[q]++;
        }
        if (x->lse[q] == 0) x->lse[q] = -INFINITY;
    }
    memset(x->dkv, 0, sizeof x->dkv);
    for (int64_t q = 0; q < mask->length; q++) {
        for (int64_t k = 0; k < mask->length; k++) {
            if (!canto_mask_allows(mask, q, k)) continue;
            x->dq[q] += x->kv[COUNTING_WIDTH * k] * (x->o[q] > 0 ? -1 : -2);
            x->dkv[COUNTING_WIDTH * k] += x->q[q] * x->dout[q];
            x->dkv[COUNTING_WIDTH * k + 1] += x->lse[q];
        }
    }
}

static void copy(const canto_shards *shards, int rank, int64_t width, bool gather, float *mine,
                 float *all)
{
    for (int s = shards->first[rank]; s < shards->first[rank + 1]; s++) {
        const canto_span *span = &shards->spans[s];
        float *local = mine + span->local * width;
        float *global = all + span->begin * width;
        memcpy(gather ? local : global, gather ? global : local,
               (size_t)((span->end - span->begin) * width) * sizeof *all);
    }
}

static canto_status counting_rank_create(const counting_problem *p, int rank, counting_rank *it)
{
    const int64_t one[] = {0, p->desc.length};
    const int64_t *bounds = p->desc.sequences_n ? p->desc.bounds : one;
    const int n = p->desc.sequences_n ? p->desc.sequences_n : 1;
    CANTO_TRY(canto_shards_create(&it->arena, p->desc.layout, p->desc.size, n, bounds,
                                  p->desc.weights, &it->shards));
    CANTO_TRY(canto_mask_create(&it->arena, COUNTING_BANDS, &it->mask));
    CANTO_TRY(canto_needs_create(&it->arena, &it->shards, COUNTING_BANDS, &it->needs));
    CANTO_TRY(canto_schedule_create(&it->arena, &it->shards, COUNTING_BANDS, rank, &it->schedule));
    CANTO_TRY(canto_compiled_create(&it->arena, &it->shards, COUNTING_BANDS, rank, &it->compiled));
    return canto_arena_take(&it->arena, "work",
                            canto_attend_work_bytes(&it->shards, &counting_shape), &it->work);
}

canto_status counting_rank_open(const counting_problem *p, int rank, counting_rank *it)
{
    CANTO_TRY(canto_arena_create_measuring(&it->arena));
    CANTO_TRY(counting_rank_create(p, rank, it));
    const size_t bytes = it->arena.peak;
    canto_arena_destroy(&it->arena);
    CANTO_TRY(canto_arena_create(&it->arena, bytes));
    return counting_rank_create(p, rank, it);
}

canto_status counting_rank_make(const counting_problem *p, counting_rank *it)
{
    CANTO_TRY(canto_mask_set_bands(&it->mask, p->desc.length, p->bands_n, p->bands));
    CANTO_TRY(canto_needs_make(&it->needs, &it->mask, &it->shards));
    CANTO_TRY(canto_schedule_make(&it->schedule, p->strategy, &it->needs, &it->shards));
    return canto_compiled_make(it->compiled, &it->schedule, &it->mask, &it->shards);
}

canto_status counting_rank_run(counting_problem *p, canto_comm *comm, counting_rank *it)
{
    counting_tokens mine, *x = &mine;
    memset(x, 0x55, sizeof *x); // outputs are overwritten, whatever was there
    const canto_shards *shards = &it->shards;
    copy(shards, comm->rank, 1, true, x->q, p->expected.q);
    copy(shards, comm->rank, COUNTING_WIDTH, true, x->kv, p->expected.kv);
    copy(shards, comm->rank, 1, true, x->dout, p->expected.dout);
    CANTO_TRY(canto_attend_forward(it->compiled, comm, p->device, &counting_shape, x->q, x->kv,
                                   x->o, x->lse, it->work));
    CANTO_TRY(canto_attend_backward(it->compiled, comm, p->device, &counting_shape, x->q, x->kv,
                                    x->o, x->lse, x->dout, x->delta, x->dq, x->dkv, it->work));
    copy(shards, comm->rank, 1, false, x->o, p->found.o);
    copy(shards, comm->rank, 1, false, x->lse, p->found.lse);
    copy(shards, comm->rank, 1, false, x->dq, p->found.dq);
    copy(shards, comm->rank, COUNTING_WIDTH, false, x->dkv, p->found.dkv);
    return CANTO_OK;
}

void counting_rank_close(counting_rank *it)
{
    canto_arena_destroy(&it->arena);
}

canto_status counting_run_rank(canto_comm *comm, void *problem)
{
    counting_problem *p = problem;
    counting_rank it = {0};
    canto_status status = counting_rank_open(p, comm->rank, &it);
    if (status == CANTO_OK) status = counting_rank_make(p, &it);
    if (status == CANTO_OK) status = counting_rank_run(p, comm, &it);
    counting_rank_close(&it);
    return status;
}

static void expect_equal(const char *what, int64_t n, const float *found, const float *expected)
{
    for (int64_t i = 0; i < n; i++) {
        if (found[i] != expected[i])
            fail_msg("%s[%lld] is %g, expected %g", what, (long long)i, (double)found[i],
                     (double)expected[i]);
    }
}

void counting_run_and_compare(counting_problem *p)
{
    canto_arena arena;
    canto_mask mask;
    CANTO_TEST_OK(canto_arena_create(&arena, 1 << 16));
    CANTO_TEST_OK(canto_mask_create(&arena, COUNTING_BANDS, &mask));
    CANTO_TEST_OK(canto_mask_set_bands(&mask, p->desc.length, p->bands_n, p->bands));
    expect_pairs(&mask, &p->expected);
    canto_arena_destroy(&arena);
    CANTO_TEST_OK(canto_test_threads_run(p->desc.size, counting_run_rank, p));
    expect_equal("o", p->desc.length, p->found.o, p->expected.o);
    expect_equal("lse", p->desc.length, p->found.lse, p->expected.lse);
    expect_equal("dq", p->desc.length, p->found.dq, p->expected.dq);
    expect_equal("dkv", p->desc.length * COUNTING_WIDTH, p->found.dkv, p->expected.dkv);
}

// --- random divisions and masks ---

// Documents with one of four masks each time: what training uses.
static void roll_document_bands(dice *d, counting_problem *p)
{
    static const int64_t sides[][2] = {
        {CANTO_BAND_MIN, CANTO_BAND_MAX}, {CANTO_BAND_MIN, 0}, {-6, 0}, {-9, 4}};
    const int64_t *side = sides[roll(d, 4)];
    int64_t starts[COUNTING_BANDS + 1];
    p->bands_n = roll_documents(d, p->desc.length, (int)roll_between(d, 1, COUNTING_BANDS), starts);
    for (int i = 0; i < p->bands_n; i++)
        p->bands[i] =
            (canto_band){starts[i], starts[i + 1], starts[i], starts[i + 1], side[0], side[1]};
}

// A staircase of disjoint rectangles with gaps anywhere: rows without keys, keys nobody needs.
static void roll_other_bands(dice *d, counting_problem *p)
{
    const int64_t n = p->desc.length;
    int64_t q = roll(d, n);
    p->bands_n = 0;
    while (q < n && p->bands_n < 6) {
        const int64_t q1 = roll_between(d, q + 1, n);
        const int64_t k = roll(d, n);
        const int64_t lo = roll(d, 2) ? CANTO_BAND_MIN : roll_between(d, -n, n);
        p->bands[p->bands_n++] =
            (canto_band){q, q1, k, roll_between(d, k + 1, n), lo, CANTO_BAND_MAX};
        q = q1 + roll(d, 5);
    }
}

void counting_roll_problem(dice *d, int size, counting_problem *p, int64_t *bounds, int *weights)
{
    *p = (counting_problem){.device = &counting_device};
    p->desc.size = size;
    p->desc.layout = (canto_layout)roll(d, 3);
    p->desc.length = roll_between(d, 1, 120);
    for (int r = 0; r < size; r++) weights[r] = (int)roll(d, 4);
    weights[roll(d, size)] = 1;
    if (p->desc.layout == CANTO_LAYOUT_UNEVEN) p->desc.weights = weights;
    bounds[0] = 0;
    bounds[1] = roll(d, p->desc.length + 1);
    bounds[2] = p->desc.length;
    p->desc.bounds = bounds;
    p->desc.sequences_n = roll(d, 2) ? 2 : 0;
    counting_roll_inputs(d, &p->expected);
    if (roll(d, 3) > 0) {
        roll_document_bands(d, p);
    } else {
        roll_other_bands(d, p);
    }
}
