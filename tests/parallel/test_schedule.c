// Schedules: what strategies generate, counted token by token on small ones and as plain numbers.
#include "tests/canto_test.h"

#include "parallel/moves.h"
#include "parallel/schedule.h"
#include "tests/parallel/world.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SMALL_RANKS = 12, SMALL_TOKENS = 64 };

static bool holds(const canto_shards *s, int rank, int64_t position)
{
    return s->owner[canto_shards_find(s, position)] == rank;
}

// Every (rank, token) that is needed and not held arrives exactly once, and nothing else does.
static void check_sent(const world *w)
{
    static int sent[SMALL_RANKS][SMALL_TOKENS];
    memset(sent, 0, sizeof sent);
    for (int64_t i = 0; i < w->schedule.visits_n; i++) {
        const canto_visit *v = &w->schedule.visits[i];
        const canto_part *part = &w->schedule.parts[v->part];
        for (int64_t k = part->begin; k < part->end; k++) sent[v->to][k]++;
    }
    for (int r = 0; r < w->shards.size; r++) {
        for (int64_t k = 0; k < w->shards.length; k++) {
            bool needed = false;
            for (int64_t q = 0; q < w->shards.length && !needed; q++) {
                needed = holds(&w->shards, r, q) && canto_mask_allows(&w->mask, q, k);
            }
            assert_int_equal(sent[r][k], needed && !holds(&w->shards, r, k));
        }
    }
}

static void check_parts(const world *w)
{
    int64_t position = 0;
    for (int i = 0; i < w->schedule.parts_n; i++) {
        const canto_part *part = &w->schedule.parts[i];
        assert_int_equal(part->begin, position);
        assert_int_equal(w->shards.owner[canto_shards_find(&w->shards, position)], part->owner);
        position = part->end;
    }
    assert_int_equal(position, w->shards.length);
}

static world_desc roll_division(dice *d, int *weights)
{
    world_desc desc = {.layout = (canto_layout)roll(d, 3), .rank = -1};
    desc.size = 1 + (int)roll(d, SMALL_RANKS);
    desc.length = roll(d, SMALL_TOKENS + 1);
    if (desc.layout == CANTO_LAYOUT_UNEVEN) {
        for (int r = 0; r < desc.size; r++) weights[r] = (int)roll(d, 4) * (int)roll(d, 4);
        weights[roll(d, desc.size)] += 1;
        desc.weights = weights;
    }
    return desc;
}

static int64_t roll_side(dice *d, int64_t length)
{
    return roll(d, 3) == 0 ? CANTO_UNLIMITED : roll(d, 2) ? roll(d, 5) : roll(d, length + 1);
}

static void test_sent_once(void **state)
{
    (void)state;
    dice d = {.seed = 31};
    for (int trial = 0; trial < 2000; trial++) {
        int weights[SMALL_RANKS];
        int64_t starts[SMALL_TOKENS + 1];
        world w;
        world_desc desc = roll_division(&d, weights);
        int n = roll_documents(&d, desc.length, 1 + (int)roll(&d, 20), starts);
        desc.bands_max = n;
        world_open(&w, desc);
        world_documents(&w, n, starts, roll_side(&d, w.shards.length),
                        roll_side(&d, w.shards.length));
        for (int i = 0; canto_strategies[i]; i++) {
            if (!canto_strategies[i]->applicable(w.shards.size)) continue;
            world_schedule(&w, canto_strategies[i]);
            check_parts(&w);
            check_sent(&w);
        }
        world_close(&w);
    }
}

// Moves of one rank's schedule are those of everybody's that touch the rank, in the same order.
static void check_rank_moves(const world_desc *desc, const world *all, const canto_strategy *s,
                             const canto_documents *documents, int64_t left, int64_t right)
{
    for (int rank = 0; rank < desc->size; rank++) {
        world_desc mine = *desc;
        world w;
        mine.rank = rank;
        world_open(&w, mine);
        world_documents(&w, documents->n, documents->starts, left, right);
        world_schedule(&w, s);
        assert_true(w.schedule.digest == all->schedule.digest);
        for (int backward = 0; backward < 2; backward++) {
            canto_arena arena;
            canto_moves every, some;
            CANTO_TEST_OK(canto_arena_create(&arena, 1 << 22));
            int steps = canto_moves_steps_bound(desc->size);
            CANTO_TEST_OK(canto_moves_create(&arena, all->schedule.visits_n, steps, &every));
            CANTO_TEST_OK(canto_moves_create(&arena, w.schedule.visits_capacity, steps, &some));
            CANTO_TEST_OK(canto_moves_make(&every, &all->schedule, backward));
            CANTO_TEST_OK(canto_moves_make(&some, &w.schedule, backward));
            int64_t n = 0;
            for (int64_t i = 0; i < every.n; i++) {
                canto_move e = every.list[i];
                if (e.from != rank && e.to != rank) continue;
                assert_true(n < some.n);
                canto_move m = some.list[n++];
                assert_memory_equal(&w.schedule.visits[m.visit], &all->schedule.visits[e.visit],
                                    sizeof(canto_visit));
                assert_int_equal(m.next < 0, e.next < 0);
                if (e.next >= 0) {
                    assert_memory_equal(&w.schedule.visits[m.next], &all->schedule.visits[e.next],
                                        sizeof(canto_visit));
                }
                m.visit = e.visit;
                m.next = e.next;
                assert_memory_equal(&m, &e, sizeof m);
                assert_true(some.first[m.step] <= n - 1 && n - 1 < some.first[m.step + 1]);
            }
            assert_int_equal(n, some.n);
            canto_arena_destroy(&arena);
        }
        world_close(&w);
    }
}

static void test_rank_moves(void **state)
{
    (void)state;
    dice d = {.seed = 32};
    for (int trial = 0; trial < 100; trial++) {
        int weights[SMALL_RANKS];
        int64_t starts[SMALL_TOKENS + 1];
        world w;
        world_desc desc = roll_division(&d, weights);
        canto_documents documents = {roll_documents(&d, desc.length, 1 + (int)roll(&d, 20), starts),
                                     starts};
        desc.bands_max = documents.n;
        world_open(&w, desc);
        int64_t left = roll_side(&d, desc.length), right = roll_side(&d, desc.length);
        world_documents(&w, documents.n, starts, left, right);
        const canto_strategy *s = trial % 2 ? &canto_strategy_ring : &canto_strategy_gather;
        world_schedule(&w, s);
        check_rank_moves(&desc, &w, s, &documents, left, right);
        world_close(&w);
    }
}

// --- digests ---

static uint64_t digest_of(canto_layout layout, int size, int64_t left,
                          const canto_strategy *strategy)
{
    world w;
    world_open(&w, (world_desc){.layout = layout, .size = size, .length = 64, .rank = 0});
    world_window(&w, left, 0);
    world_schedule(&w, strategy);
    uint64_t digest = w.schedule.digest;
    world_close(&w);
    return digest;
}

static void test_digests_differ(void **state)
{
    (void)state;
    const canto_strategy *ring = &canto_strategy_ring;
    uint64_t digest = digest_of(CANTO_LAYOUT_ZIGZAG, 4, CANTO_UNLIMITED, ring);
    assert_true(digest == digest_of(CANTO_LAYOUT_ZIGZAG, 4, CANTO_UNLIMITED, ring));
    assert_true(digest != digest_of(CANTO_LAYOUT_CONTIGUOUS, 4, CANTO_UNLIMITED, ring));
    assert_true(digest != digest_of(CANTO_LAYOUT_ZIGZAG, 5, CANTO_UNLIMITED, ring));
    assert_true(digest != digest_of(CANTO_LAYOUT_ZIGZAG, 4, 20, ring));
    assert_true(digest !=
                digest_of(CANTO_LAYOUT_ZIGZAG, 4, CANTO_UNLIMITED, &canto_strategy_gather));
}

// --- room and time ---

static void test_refusals(void **state)
{
    (void)state;
    world w;
    world_open(&w, (world_desc){.size = 4, .length = 64, .rank = 0});
    world_window(&w, CANTO_UNLIMITED, 0);
    CANTO_TEST_FAILS(CANTO_ERROR_UNSUPPORTED, "'serial' cannot run on 4 ranks",
                     canto_schedule_make(&w.schedule, &canto_strategy_serial, &w.needs, &w.shards));
    w.schedule.parts_capacity = 3;
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "more than 3 parts",
                     canto_schedule_make(&w.schedule, &canto_strategy_ring, &w.needs, &w.shards));
    w.schedule.parts_capacity = 4;
    w.schedule.visits_capacity = 1;
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "more than 1 visits",
                     canto_schedule_make(&w.schedule, &canto_strategy_ring, &w.needs, &w.shards));
    w.needs.runs_capacity = 3;
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "more than 3 runs",
                     canto_needs_make(&w.needs, &w.mask, &w.shards));
    assert_null(canto_strategy_find("star"));
    assert_ptr_equal(canto_strategy_find("gather"), &canto_strategy_gather);
    world_close(&w);
}

// The memory of one rank's schedule grows as W, not as W^2.
static void test_room_of_one_rank(void **state)
{
    (void)state;
    for (int zigzag = 0; zigzag < 2; zigzag++) {
        for (int size = 4; size <= 1024; size *= 4) {
            world w;
            world_open(
                &w, (world_desc){.layout = zigzag ? CANTO_LAYOUT_ZIGZAG : CANTO_LAYOUT_CONTIGUOUS,
                                 .size = size,
                                 .length = 7 * size + 3,
                                 .rank = 0});
            assert_true(w.schedule.visits_capacity <= 40 * size);
            assert_true(w.schedule.parts_capacity <= 6 * size + 2);
            world_close(&w);
        }
    }
}

static int allocations; // made by the library itself, counted by the linker's wrapping

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    allocations++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    allocations++;
    return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    allocations++;
    return __real_realloc(old, bytes);
}

// What happens in every step of training: a new schedule for new documents.
static void test_remaking(void **state)
{
    (void)state;
    enum { REPEATS = 200 };
    dice d = {.seed = 33};
    world w;
    world_open(
        &w,
        (world_desc){
            .layout = CANTO_LAYOUT_ZIGZAG, .size = 4, .length = 16384, .bands_max = 64, .rank = 1});
    void *volatile block = malloc(1);
    free(block);
    assert_int_equal(allocations, 1); // the wrapping works
    allocations = 0;
    clock_t begin = clock();
    int n = 0;
    for (int i = 0; i < REPEATS; i++) {
        int64_t starts[65] = {0};
        for (n = 0; n < 63; n++) starts[n + 1] = starts[n] + 1 + roll(&d, 259);
        starts[++n] = 16384;
        canto_documents documents = {n, starts};
        bool made =
            canto_mask_set(&w.mask, &documents, CANTO_UNLIMITED, 0) == CANTO_OK &&
            canto_needs_make(&w.needs, &w.mask, &w.shards) == CANTO_OK &&
            canto_schedule_make(&w.schedule, &canto_strategy_ring, &w.needs, &w.shards) == CANTO_OK;
        if (!made) fail_msg("%s", canto_error_message());
    }
    double microseconds = 1e6 * (double)(clock() - begin) / CLOCKS_PER_SEC / REPEATS;
    assert_int_equal(allocations, 0);
    print_message("4 ranks, %d documents: %.1f us, %d parts\n", n, microseconds,
                  w.schedule.parts_n);
    assert_true(microseconds < 5000);
    world_close(&w);
}

static void test_thousand_ranks(void **state)
{
    (void)state;
    world w;
    world_open(
        &w,
        (world_desc){.layout = CANTO_LAYOUT_ZIGZAG, .size = 1024, .length = 2048 * 8, .rank = -1});
    clock_t begin = clock();
    world_window(&w, CANTO_UNLIMITED, 0);
    world_schedule(&w, &canto_strategy_ring);
    clock_t made = clock();
    CANTO_TEST_OK(canto_schedule_verify(&w.schedule, &w.mask, &w.shards));
    clock_t verified = clock();
    double make_s = (double)(made - begin) / CLOCKS_PER_SEC;
    double verify_s = (double)(verified - made) / CLOCKS_PER_SEC;
    print_message("1024 ranks, %lld visits: make %.2f s, verify %.2f s\n",
                  (long long)w.schedule.visits_n, make_s, verify_s);
    assert_int_equal(w.schedule.visits_n, 1570305); // 3/2 W(W-1) - (W-1)
    assert_true(make_s + verify_s < 5);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sent_once),        cmocka_unit_test(test_rank_moves),
        cmocka_unit_test(test_digests_differ),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_room_of_one_rank), cmocka_unit_test(test_remaking),
        cmocka_unit_test(test_thousand_ranks),
    };
    return cmocka_run_group_tests_name("parallel.schedule", tests, NULL, NULL);
}
