// The executor and compiled schedules, without a message library: ranks are threads, and a stand-in
// for the kernels adds small integers, so that every sum is exact and results are compared bit by
// bit with a loop over all pairs. A pair that is computed twice or never, a part read from the
// wrong rows, a sum that stays away, goes home twice or is overwritten on its way: each changes a
// number.
#define _GNU_SOURCE
#include "tests/canto_test.h"

#include "parallel/attend.h"
#include "parallel/compiled.h"
#include "parallel/strategy.h"
#include "runtime/cpu/cpu.h"
#include "tests/parallel/threads.h"
#include "tests/parallel/world.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RANKS_MAX = 12, TOKENS_MAX = 120, BANDS = 24, WIDTH = 2 };

static const canto_attention_shape shape = {1, 1, 1, 1, 1, 1};

// --- kernels that count: q, k, v, dout are small integers, WIDTH numbers a row of kv ---

static bool allowed(const canto_band *tile, int64_t q, int64_t k)
{
    return k - q >= tile->lo && k - q <= tile->hi;
}

// o += q k v, lse: number of keys, from -inf for none.
static void count_forward(const canto_attention_shape *s, const canto_band *tile, const float *q,
                          const float *kv, float *o, float *lse)
{
    (void)s;
    for (int64_t i = 0; i < tile->q1 - tile->q0; i++) {
        for (int64_t j = 0; j < tile->k1 - tile->k0; j++) {
            if (!allowed(tile, tile->q0 + i, tile->k0 + j)) continue;
            o[i] += q[i] * kv[WIDTH * j] * kv[WIDTH * j + 1];
            lse[i] = isinf(lse[i]) ? 1 : lse[i] + 1;
        }
    }
}

// dq += k (dout - delta), dk += q dout, dv += lse: each operand of the backward pass counts.
static void count_backward(const canto_attention_shape *s, const canto_band *tile, const float *q,
                           const float *kv, const float *dout, const float *lse, const float *delta,
                           float *dq, float *dkv)
{
    (void)s;
    for (int64_t i = 0; i < tile->q1 - tile->q0; i++) {
        for (int64_t j = 0; j < tile->k1 - tile->k0; j++) {
            if (!allowed(tile, tile->q0 + i, tile->k0 + j)) continue;
            dq[i] += kv[WIDTH * j] * (dout[i] - delta[i]);
            dkv[WIDTH * j] += q[i] * dout[i];
            dkv[WIDTH * j + 1] += lse[i];
        }
    }
}

static void count_delta(int64_t entries, int value_dim, const float *dout, const float *o,
                        float *delta)
{
    (void)value_dim;
    for (int64_t i = 0; i < entries; i++) delta[i] = dout[i] + (o[i] > 0 ? 1 : 2);
}

static const canto_kernels counting = {
    .name = "counting",
    .attention_forward = count_forward,
    .attention_backward = count_backward,
    .attention_delta = count_delta,
    .fill = canto_cpu_fill,
    .add = canto_cpu_add,
};

// --- one division on all ranks ---

typedef struct tokens {
    float q[TOKENS_MAX], kv[WIDTH * TOKENS_MAX], dout[TOKENS_MAX];
    float o[TOKENS_MAX], lse[TOKENS_MAX], delta[TOKENS_MAX];
    float dq[TOKENS_MAX], dkv[WIDTH * TOKENS_MAX];
} tokens;

typedef struct problem {
    world_desc desc;
    const canto_strategy *strategy;
    const canto_kernels *kernels;
    int bands_n;
    canto_band bands[BANDS];
    tokens expected, found; // of the whole stream
} problem;

static void roll_inputs(dice *d, tokens *x)
{
    for (int i = 0; i < TOKENS_MAX; i++) {
        x->q[i] = (float)roll_between(d, 1, 3);
        x->dout[i] = (float)roll_between(d, 1, 3);
        x->kv[WIDTH * i] = (float)roll_between(d, 1, 3);
        x->kv[WIDTH * i + 1] = (float)roll_between(d, 1, 3);
    }
}

// The same, pair by pair.
static void expect_pairs(const canto_mask *mask, tokens *x)
{
    for (int64_t q = 0; q < mask->length; q++) {
        x->o[q] = x->dq[q] = x->lse[q] = 0;
        for (int64_t k = 0; k < mask->length; k++) {
            if (!canto_mask_allows(mask, q, k)) continue;
            x->o[q] += x->q[q] * x->kv[WIDTH * k] * x->kv[WIDTH * k + 1];
            x->lse[q]++;
        }
        if (x->lse[q] == 0) x->lse[q] = -INFINITY;
    }
    memset(x->dkv, 0, sizeof x->dkv);
    for (int64_t q = 0; q < mask->length; q++) {
        for (int64_t k = 0; k < mask->length; k++) {
            if (!canto_mask_allows(mask, q, k)) continue;
            x->dq[q] += x->kv[WIDTH * k] * (x->o[q] > 0 ? -1 : -2);
            x->dkv[WIDTH * k] += x->q[q] * x->dout[q];
            x->dkv[WIDTH * k + 1] += x->lse[q];
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

typedef struct member {
    canto_arena arena;
    canto_shards shards;
    canto_mask mask;
    canto_needs needs;
    canto_schedule schedule;
    canto_compiled *compiled;
    void *work;
} member;

static canto_status member_create(const problem *p, int rank, member *it)
{
    const int64_t one[] = {0, p->desc.length};
    const int64_t *bounds = p->desc.sequences_n ? p->desc.bounds : one;
    const int n = p->desc.sequences_n ? p->desc.sequences_n : 1;
    CANTO_TRY(canto_shards_create(&it->arena, p->desc.layout, p->desc.size, n, bounds,
                                  p->desc.weights, &it->shards));
    CANTO_TRY(canto_mask_create(&it->arena, BANDS, &it->mask));
    CANTO_TRY(canto_needs_create(&it->arena, &it->shards, BANDS, &it->needs));
    CANTO_TRY(canto_schedule_create(&it->arena, &it->shards, BANDS, rank, &it->schedule));
    CANTO_TRY(canto_compiled_create(&it->arena, &it->shards, BANDS, rank, &it->compiled));
    return canto_arena_take(&it->arena, "work", canto_attend_work_bytes(&it->shards, &shape),
                            &it->work);
}

static canto_status member_open(const problem *p, int rank, member *it)
{
    CANTO_TRY(canto_arena_create_measuring(&it->arena));
    CANTO_TRY(member_create(p, rank, it));
    const size_t bytes = it->arena.peak;
    canto_arena_destroy(&it->arena);
    CANTO_TRY(canto_arena_create(&it->arena, bytes));
    return member_create(p, rank, it);
}

static canto_status member_make(const problem *p, member *it)
{
    CANTO_TRY(canto_mask_set_bands(&it->mask, p->desc.length, p->bands_n, p->bands));
    CANTO_TRY(canto_needs_make(&it->needs, &it->mask, &it->shards));
    CANTO_TRY(canto_schedule_make(&it->schedule, p->strategy, &it->needs, &it->shards));
    return canto_compiled_make(it->compiled, &it->schedule, &it->mask, &it->shards);
}

static canto_status member_run(problem *p, canto_comm *comm, member *it, tokens *x)
{
    const canto_shards *shards = &it->shards;
    copy(shards, comm->rank, 1, true, x->q, p->expected.q);
    copy(shards, comm->rank, WIDTH, true, x->kv, p->expected.kv);
    copy(shards, comm->rank, 1, true, x->dout, p->expected.dout);
    CANTO_TRY(canto_attend_forward(it->compiled, comm, p->kernels, &shape, x->q, x->kv, x->o,
                                   x->lse, it->work));
    CANTO_TRY(canto_attend_backward(it->compiled, comm, p->kernels, &shape, x->q, x->kv, x->o,
                                    x->lse, x->dout, x->delta, x->dq, x->dkv, it->work));
    copy(shards, comm->rank, 1, false, x->o, p->found.o);
    copy(shards, comm->rank, 1, false, x->lse, p->found.lse);
    copy(shards, comm->rank, 1, false, x->dq, p->found.dq);
    copy(shards, comm->rank, WIDTH, false, x->dkv, p->found.dkv);
    return CANTO_OK;
}

static canto_status run_rank(canto_comm *comm, void *context)
{
    problem *p = context;
    member it = {0};
    tokens mine;
    memset(&mine, 0x55, sizeof mine); // outputs are overwritten, whatever was there
    canto_status status = member_open(p, comm->rank, &it);
    if (status == CANTO_OK) status = member_make(p, &it);
    if (status == CANTO_OK) status = member_run(p, comm, &it, &mine);
    canto_arena_destroy(&it.arena);
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

static void run_and_compare(problem *p)
{
    canto_arena arena;
    canto_mask mask;
    CANTO_TEST_OK(canto_arena_create(&arena, 1 << 16));
    CANTO_TEST_OK(canto_mask_create(&arena, BANDS, &mask));
    CANTO_TEST_OK(canto_mask_set_bands(&mask, p->desc.length, p->bands_n, p->bands));
    expect_pairs(&mask, &p->expected);
    canto_arena_destroy(&arena);
    CANTO_TEST_OK(canto_test_threads_run(p->desc.size, run_rank, p));
    expect_equal("o", p->desc.length, p->found.o, p->expected.o);
    expect_equal("lse", p->desc.length, p->found.lse, p->expected.lse);
    expect_equal("dq", p->desc.length, p->found.dq, p->expected.dq);
    expect_equal("dkv", p->desc.length * WIDTH, p->found.dkv, p->expected.dkv);
}

// --- random divisions and masks ---

// Documents with one of four masks each time: what training uses.
static void roll_document_bands(dice *d, problem *p)
{
    static const int64_t sides[][2] = {
        {CANTO_BAND_MIN, CANTO_BAND_MAX}, {CANTO_BAND_MIN, 0}, {-6, 0}, {-9, 4}};
    const int64_t *side = sides[roll(d, 4)];
    int64_t starts[BANDS + 1];
    p->bands_n = roll_documents(d, p->desc.length, (int)roll_between(d, 1, BANDS), starts);
    for (int i = 0; i < p->bands_n; i++)
        p->bands[i] =
            (canto_band){starts[i], starts[i + 1], starts[i], starts[i + 1], side[0], side[1]};
}

// A staircase of disjoint rectangles with gaps anywhere: rows without keys, keys nobody needs.
static void roll_other_bands(dice *d, problem *p)
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

static void roll_problem(dice *d, int size, problem *p, int64_t bounds[3], int weights[])
{
    *p = (problem){.kernels = &counting};
    p->desc.size = size;
    p->desc.layout = (canto_layout)roll(d, 3);
    p->desc.length = roll_between(d, 1, TOKENS_MAX);
    for (int r = 0; r < size; r++) weights[r] = (int)roll(d, 4);
    weights[roll(d, size)] = 1;
    if (p->desc.layout == CANTO_LAYOUT_UNEVEN) p->desc.weights = weights;
    bounds[0] = 0;
    bounds[1] = roll(d, p->desc.length + 1);
    bounds[2] = p->desc.length;
    p->desc.bounds = bounds;
    p->desc.sequences_n = roll(d, 2) ? 2 : 0;
    roll_inputs(d, &p->expected);
    if (roll(d, 3) > 0) {
        roll_document_bands(d, p);
    } else {
        roll_other_bands(d, p);
    }
}

static void every_pair_counts_once_on_any_division(void **state)
{
    (void)state;
    dice d = {.seed = 11};
    for (int i = 0; i < 240; i++) {
        static problem p;
        int64_t bounds[3];
        int weights[RANKS_MAX];
        roll_problem(&d, 1 + i % RANKS_MAX, &p, bounds, weights);
        p.strategy = &canto_strategy_ring;
        run_and_compare(&p);
        p.strategy = &canto_strategy_gather;
        run_and_compare(&p);
    }
}

// Many more masks, compiled by every rank without a run: two blocks of parts and four of sums do.
static void room_suffices_for_any_mask(void **state)
{
    (void)state;
    dice d = {.seed = 12};
    for (int i = 0; i < 600; i++) {
        static problem p;
        int64_t bounds[3];
        int weights[RANKS_MAX];
        roll_problem(&d, 2 + i % (RANKS_MAX - 1), &p, bounds, weights);
        p.strategy = i % 2 ? &canto_strategy_ring : &canto_strategy_gather;
        for (int r = 0; r < p.desc.size; r++) {
            member it = {0};
            CANTO_TEST_OK(member_open(&p, r, &it));
            CANTO_TEST_OK(member_make(&p, &it));
            assert_true(it.compiled->parts.peak <= 2 * it.shards.tokens_max);
            assert_true(it.compiled->sums.peak <= 4 * it.shards.tokens_max);
            canto_arena_destroy(&it.arena);
        }
    }
}

// --- refusals ---

static member open_four(problem *p)
{
    *p = (problem){.desc = {.layout = CANTO_LAYOUT_CONTIGUOUS, .size = 4, .length = 40},
                   .strategy = &canto_strategy_gather,
                   .kernels = &counting,
                   .bands_n = 1,
                   .bands = {{0, 40, 0, 40, CANTO_BAND_MIN, CANTO_BAND_MAX}}};
    member it = {0};
    CANTO_TEST_OK(member_open(p, 0, &it));
    CANTO_TEST_OK(member_make(p, &it));
    return it;
}

// All parts are sent at once and used one after the other: three blocks wait at the same time.
static void refuses_a_schedule_that_needs_more_room(void **state)
{
    (void)state;
    problem p;
    member it = open_four(&p);
    for (int64_t i = 0; i < it.schedule.visits_n; i++) it.schedule.visits[i].step = 0;
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY,
                     "no room for 10 rows of parts in step 0: 20 of 20 rows are taken",
                     canto_compiled_make(it.compiled, &it.schedule, &it.mask, &it.shards));
    canto_arena_destroy(&it.arena);
}

static void refuses_what_it_was_not_made_for(void **state)
{
    (void)state;
    problem p;
    member it = open_four(&p);
    canto_comm *self;
    CANTO_TEST_OK(canto_comm_self_open(&self));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT,
                     "the schedule is rank 0's of 4, the communicator says rank 0 of 1",
                     canto_attend_forward(it.compiled, self, &counting, &shape, NULL, NULL, NULL,
                                          NULL, it.work));
    canto_comm_destroy(&self);
    it.schedule.rank = 1;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "the schedule is rank 1's of 4",
                     canto_compiled_make(it.compiled, &it.schedule, &it.mask, &it.shards));
    it.schedule.rank = 0;
    it.schedule.parts_n = it.compiled->parts_capacity + 1;
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "data.max_documents",
                     canto_compiled_make(it.compiled, &it.schedule, &it.mask, &it.shards));
    canto_arena_destroy(&it.arena);
}

// --- order and lifetimes ---

// As the ring, but every message lasts two steps.
static void slow_visits(const canto_needs *needs, int index, const canto_part *part,
                        canto_emitter *emitter)
{
    int from = part->owner;
    for (int d = 1; d <= 2; d++) {
        const int to = (part->owner + d) % needs->size;
        canto_emit_visit(
            emitter,
            (canto_visit){.part = index, .from = from, .to = to, .step = 2 * d - 2, .need = 2 * d});
        from = to;
    }
}

static bool any_size(int size)
{
    return size > 0;
}

static const canto_strategy slow_ring = {"slow ring", "", any_size, slow_visits};

// Six ranks of ten tokens; each needs the keys of the two ranks before it, round the ring.
static problem two_behind(void)
{
    problem p = {.desc = {.layout = CANTO_LAYOUT_CONTIGUOUS, .size = 6, .length = 60},
                 .strategy = &slow_ring,
                 .kernels = &counting};
    for (int64_t r = 0; r < 6; r++) {
        for (int64_t back = 0; back < 3; back++) {
            const int64_t k = (r + 6 - back) % 6 * 10;
            p.bands[p.bands_n++] =
                (canto_band){10 * r, 10 * r + 10, k, k + 10, CANTO_BAND_MIN, CANTO_BAND_MAX};
        }
    }
    return p;
}

static void messages_may_last_several_steps(void **state)
{
    (void)state;
    static problem p;
    p = two_behind();
    dice d = {.seed = 14};
    roll_inputs(&d, &p.expected);
    run_and_compare(&p);
    member it = {0};
    CANTO_TEST_OK(member_open(&p, 2, &it));
    CANTO_TEST_OK(member_make(&p, &it));
    const canto_stop *visits = it.compiled->visits;
    assert_int_equal(it.compiled->visits_n, 2);
    // Received in step 0, used in 2, passed on from 2 to 3; its sum leaves from 3 to 4.
    assert_int_equal(visits[0].step, 2);
    assert_int_equal(visits[0].part_last, 3);
    assert_int_equal(visits[0].sum_last, 4);
    // Nobody comes after: the part is done with in step 4, the sum goes home in 5.
    assert_int_equal(visits[1].part_last, 4);
    assert_int_equal(visits[1].sum_last, 5);
    canto_arena_destroy(&it.arena);
}

static _Thread_local int64_t first_key, last_key; // of the tiles of one pass

static void note_forward(const canto_attention_shape *s, const canto_band *tile, const float *q,
                         const float *kv, float *o, float *lse)
{
    if (first_key < 0) first_key = tile->k0;
    count_forward(s, tile, q, kv, o, lse);
}

static void note_backward(const canto_attention_shape *s, const canto_band *tile, const float *q,
                          const float *kv, const float *dout, const float *lse, const float *delta,
                          float *dq, float *dkv)
{
    last_key = tile->k0;
    count_backward(s, tile, q, kv, dout, lse, delta, dq, dkv);
}

static canto_status run_and_note(canto_comm *comm, void *context)
{
    first_key = last_key = -1;
    CANTO_TRY(run_rank(comm, context));
    const int64_t own = 10 * comm->rank;
    CANTO_CHECK(first_key == own, "rank %d began with key %lld", comm->rank, (long long)first_key);
    CANTO_CHECK(last_key == own, "rank %d ended with key %lld", comm->rank, (long long)last_key);
    return CANTO_OK;
}

// Own tiles come first in the forward pass and last in the backward pass: they hide the first parts
// and the last homecomings.
static void own_tiles_hide_the_ends(void **state)
{
    (void)state;
    canto_kernels noting = counting;
    noting.attention_forward = note_forward;
    noting.attention_backward = note_backward;
    static problem p;
    p = two_behind();
    p.strategy = &canto_strategy_ring;
    p.kernels = &noting;
    CANTO_TEST_OK(canto_test_threads_run(p.desc.size, run_and_note, &p));
}

// --- polls ---

static void slow_forward(const canto_attention_shape *s, const canto_band *tile, const float *q,
                         const float *kv, float *o, float *lse)
{
    count_forward(s, tile, q, kv, o, lse);
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

// Each piece takes longer than the time between polls, and messages are open in every step but the
// last: one poll a piece.
static void polls_while_it_computes(void **state)
{
    (void)state;
    canto_kernels slow = counting;
    slow.attention_forward = slow_forward;
    static problem p;
    p = (problem){.desc = {.layout = CANTO_LAYOUT_CONTIGUOUS, .size = 3, .length = TOKENS_MAX},
                  .strategy = &canto_strategy_ring,
                  .kernels = &slow,
                  .bands_n = 1,
                  .bands = {{0, TOKENS_MAX, 0, TOKENS_MAX, CANTO_BAND_MIN, CANTO_BAND_MAX}}};
    dice d = {.seed = 13};
    roll_inputs(&d, &p.expected);
    run_and_compare(&p);
    // Three ranks, a piece in each of two steps that have messages under way.
    assert_true(canto_test_threads_polls() >= 3 * 2);
}

// --- allocation ---

static _Thread_local int64_t allocations; // of this rank

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t n);

void *__wrap_malloc(size_t n)
{
    allocations++;
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    allocations++;
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t n)
{
    allocations++;
    return __real_realloc(old, n);
}

static canto_status make_and_run(canto_comm *comm, void *context)
{
    problem *p = context;
    member it = {0};
    tokens mine;
    CANTO_TRY(member_open(p, comm->rank, &it));
    const int64_t before = allocations;
    CANTO_TRY(member_make(p, &it));
    CANTO_TRY(member_run(p, comm, &it, &mine));
    const int64_t after = allocations;
    canto_arena_destroy(&it.arena);
    if (after != before)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "%lld allocations", (long long)(after - before));
    return CANTO_OK;
}

static void nothing_is_allocated(void **state)
{
    (void)state;
    static problem p;
    p = (problem){.desc = {.layout = CANTO_LAYOUT_ZIGZAG, .size = 4, .length = TOKENS_MAX},
                  .strategy = &canto_strategy_ring,
                  .kernels = &counting,
                  .bands_n = 1,
                  .bands = {{0, TOKENS_MAX, 0, TOKENS_MAX, CANTO_BAND_MIN, 0}}};
    free(malloc(1));
    assert_true(allocations > 0); // the count counts
    CANTO_TEST_OK(canto_test_threads_run(4, make_and_run, &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_counts_once_on_any_division),
        cmocka_unit_test(room_suffices_for_any_mask),
        cmocka_unit_test(refuses_a_schedule_that_needs_more_room),
        cmocka_unit_test(refuses_what_it_was_not_made_for),
        cmocka_unit_test(messages_may_last_several_steps),
        cmocka_unit_test(own_tiles_hide_the_ends),
        cmocka_unit_test(polls_while_it_computes),
        cmocka_unit_test(nothing_is_allocated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
