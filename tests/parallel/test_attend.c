// The executor, without a message library: ranks are threads and kernels count, so that results are
// exact. See tests/parallel/counting.h.
#define _GNU_SOURCE
#include "tests/allocations.h"
#include "tests/canto_test.h"

#include "parallel/compiled.h"
#include "tests/parallel/counting.h"
#include "tests/parallel/threads.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RANKS_MAX = 12 };

static void every_pair_counts_once_on_any_division(void **state)
{
    (void)state;
    dice d = {.seed = 11};
    for (int i = 0; i < 240; i++) {
        static counting_problem p;
        int64_t bounds[3];
        int weights[RANKS_MAX];
        counting_roll_problem(&d, 1 + i % RANKS_MAX, &p, bounds, weights);
        p.strategy = &canto_strategy_ring;
        counting_run_and_compare(&p);
        p.strategy = &canto_strategy_gather;
        counting_run_and_compare(&p);
    }
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

// Six ranks of ten counting_tokens; each needs the keys of the two ranks before it, round the ring.
static counting_problem two_behind(void)
{
    counting_problem p = {.desc = {.layout = CANTO_LAYOUT_CONTIGUOUS, .size = 6, .length = 60},
                          .strategy = &slow_ring,
                          .device = &counting_device};
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
    static counting_problem p;
    p = two_behind();
    dice d = {.seed = 14};
    counting_roll_inputs(&d, &p.expected);
    counting_run_and_compare(&p);
    counting_rank it = {0};
    CANTO_TEST_OK(counting_rank_open(&p, 2, &it));
    CANTO_TEST_OK(counting_rank_make(&p, &it));
    const canto_stop *visits = it.compiled->visits;
    assert_int_equal(it.compiled->visits_n, 2);
    // Received in step 0, used in 2, passed on from 2 to 3; its sum leaves from 3 to 4.
    assert_int_equal(visits[0].step, 2);
    assert_int_equal(visits[0].part_last, 3);
    assert_int_equal(visits[0].sum_last, 4);
    // Nobody comes after: the part is done with in step 4, the sum goes home in 5.
    assert_int_equal(visits[1].part_last, 4);
    assert_int_equal(visits[1].sum_last, 5);
    counting_rank_close(&it);
}

static _Thread_local int64_t first_key, last_key; // of the tiles of one pass

static void note_forward(const canto_device *device, const canto_attention_shape *s,
                         const canto_band *tile, const float *q, const float *kv, float *o,
                         float *lse)
{
    if (first_key < 0) first_key = tile->k0;
    counting_kernels.attention_forward(device, s, tile, q, kv, o, lse);
}

static void note_backward(const canto_device *device, const canto_attention_shape *s,
                          const canto_band *tile, const float *q, const float *kv,
                          const float *dout, const float *lse, const float *delta, float *dq,
                          float *dkv)
{
    last_key = tile->k0;
    counting_kernels.attention_backward(device, s, tile, q, kv, dout, lse, delta, dq, dkv);
}

static canto_status run_and_note(canto_comm *comm, void *context)
{
    first_key = last_key = -1;
    CANTO_TRY(counting_run_rank(comm, context));
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
    canto_kernels noting = counting_kernels;
    noting.attention_forward = note_forward;
    noting.attention_backward = note_backward;
    static counting_problem p;
    p = two_behind();
    p.strategy = &canto_strategy_ring;
    const canto_device device = {.kernels = &noting};
    p.device = &device;
    CANTO_TEST_OK(canto_test_threads_run(p.desc.size, run_and_note, &p));
}

// --- polls ---

static void slow_forward(const canto_device *device, const canto_attention_shape *s,
                         const canto_band *tile, const float *q, const float *kv, float *o,
                         float *lse)
{
    counting_kernels.attention_forward(device, s, tile, q, kv, o, lse);
    nanosleep(&(struct timespec){.tv_nsec = 200000}, NULL);
}

static counting_problem three_long(const canto_device *device, canto_layout layout, int64_t lo)
{
    const int64_t n = COUNTING_TOKENS_MAX;
    counting_problem p = {
        .desc = {.layout = layout, .size = 3, .length = n},
        .strategy = &canto_strategy_ring,
        .device = device,
        .bands_n = 1,
        .bands = {{0, n, 0, n, lo, CANTO_BAND_MAX}},
    };
    dice d = {.seed = 13};
    counting_roll_inputs(&d, &p.expected);
    return p;
}

static canto_status run_forward(canto_comm *comm, void *context)
{
    const counting_problem *p = context;
    counting_tokens x = p->expected; // whose tokens they are does not matter here
    counting_rank it = {0};
    CANTO_TRY(counting_rank_open(p, comm->rank, &it));
    CANTO_TRY(counting_rank_make(p, &it));
    canto_status status = canto_attend_forward(it.compiled, comm, p->device, &counting_shape, x.q,
                                               x.kv, x.o, x.lse, it.work);
    counting_rank_close(&it);
    return status;
}

// Each piece takes longer than the time between polls. Three ranks of 600 tokens: tiles of 600 x
// 600 are cut into three pieces in the two steps that have messages under way, and left whole in
// the last: six polls a rank. Uncut there would be two.
static void polls_while_it_computes(void **state)
{
    (void)state;
    canto_kernels slow = counting_kernels;
    slow.attention_forward = slow_forward;
    static counting_problem p;
    const canto_device device = {.kernels = &slow};
    p = three_long(&device, CANTO_LAYOUT_CONTIGUOUS, CANTO_BAND_MIN);
    CANTO_TEST_OK(canto_test_threads_run(p.desc.size, run_forward, &p));
    assert_int_equal(canto_test_threads_polls(), 3 * 6);
}

static void cut_tiles_lose_nothing(void **state)
{
    (void)state;
    static counting_problem p;
    p = three_long(&counting_device, CANTO_LAYOUT_ZIGZAG, -300);
    counting_run_and_compare(&p);
    p = three_long(&counting_device, CANTO_LAYOUT_CONTIGUOUS, CANTO_BAND_MIN);
    counting_run_and_compare(&p);
}

// --- allocation ---

static canto_status make_and_run(canto_comm *comm, void *context)
{
    counting_problem *p = context;
    counting_rank it = {0};
    CANTO_TRY(counting_rank_open(p, comm->rank, &it));
    const int64_t before = canto_test_thread_allocations();
    CANTO_TRY(counting_rank_make(p, &it));
    CANTO_TRY(counting_rank_run(p, comm, &it));
    const int64_t after = canto_test_thread_allocations();
    counting_rank_close(&it);
    if (after != before)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "%lld allocations", (long long)(after - before));
    return CANTO_OK;
}

static void nothing_is_allocated(void **state)
{
    (void)state;
    free(malloc(1));
    assert_true(canto_test_thread_allocations() > 0); // the count counts
    static counting_problem p;
    p = three_long(&counting_device, CANTO_LAYOUT_ZIGZAG, -300);
    CANTO_TEST_OK(canto_test_threads_run(p.desc.size, make_and_run, &p));
    p.strategy = &canto_strategy_gather;
    CANTO_TEST_OK(canto_test_threads_run(p.desc.size, make_and_run, &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_counts_once_on_any_division),
        cmocka_unit_test(messages_may_last_several_steps),
        cmocka_unit_test(own_tiles_hide_the_ends),
        cmocka_unit_test(polls_while_it_computes),
        cmocka_unit_test(cut_tiles_lose_nothing),
        cmocka_unit_test(nothing_is_allocated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
