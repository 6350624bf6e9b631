// Schedules: what strategies generate, counted token by token on small ones and as plain numbers.
#include "tests/allocations.h"
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

static bool needs_key(const world *w, int rank, int64_t k)
{
    for (int64_t q = 0; q < w->shards.length; q++) {
        if (holds(&w->shards, rank, q) && canto_mask_allows(&w->mask, q, k)) return true;
    }
    return false;
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
            assert_int_equal(sent[r][k], needs_key(w, r, k) && !holds(&w->shards, r, k));
        }
    }
}

// Blocks of a grid, so that runs meet and touch in any order: the runs of each rank are exactly the
// keys it needs, and maximal.
static void test_needs(void **state)
{
    (void)state;
    enum { SIDE = 6, CELL = 4 };
    dice d = {.seed = 34};
    for (int trial = 0; trial < 300; trial++) {
        canto_band bands[SIDE * SIDE];
        int n = 0;
        for (int i = 0; i < SIDE * SIDE; i++) {
            int64_t q = i / SIDE * CELL, k = i % SIDE * CELL;
            canto_band cell = {q, q + CELL, k, k + CELL, CANTO_BAND_MIN, CANTO_BAND_MAX};
            if (roll(&d, 3)) bands[n++] = cell;
        }
        world w;
        world_open(&w,
                   (world_desc){.layout = trial % 2 ? CANTO_LAYOUT_ZIGZAG : CANTO_LAYOUT_CONTIGUOUS,
                                .size = 1 + (int)roll(&d, 6),
                                .length = SIDE * CELL,
                                .bands_max = 200,
                                .rank = -1});
        CANTO_TEST_OK(canto_mask_set_bands(&w.mask, SIDE * CELL, n, bands));
        CANTO_TEST_OK(canto_needs_make(&w.needs, &w.mask, &w.shards));
        for (int r = 0; r < w.shards.size; r++) {
            int runs = 0;
            for (int64_t k = 0; k < SIDE * CELL; k++) {
                bool needed = needs_key(&w, r, k);
                assert_int_equal(canto_needs_meets(&w.needs, r, k, k + 1), needed);
                assert_int_equal(canto_needs_covers(&w.needs, r, k, k + 1), needed);
                runs += needed && (k == 0 || !needs_key(&w, r, k - 1));
            }
            assert_int_equal(w.needs.first[r + 1] - w.needs.first[r], runs);
        }
        world_schedule(&w, &canto_strategy_ring);
        check_sent(&w);
        world_close(&w);
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

static void roll_small(dice *d, random_case *c)
{
    roll_case(d, 1 + (int)roll(d, SMALL_RANKS), roll(d, SMALL_TOKENS + 1), 1 + (int)roll(d, 20), c);
}

static void test_sent_once(void **state)
{
    (void)state;
    dice d = {.seed = 31};
    for (int trial = 0; trial < 2000; trial++) {
        random_case c;
        world w;
        roll_small(&d, &c);
        world_open_case(&w, &c, -1);
        for (int i = 0; canto_strategies[i]; i++) {
            if (!canto_strategies[i]->applicable(w.shards.size)) continue;
            world_schedule(&w, canto_strategies[i]);
            check_parts(&w);
            check_sent(&w);
        }
        world_close(&w);
    }
}

// --- moves ---

static void open_moves(canto_arena *arena, const canto_schedule *schedule, bool backward,
                       canto_moves *out)
{
    CANTO_TEST_OK(canto_arena_create(arena, 1 << 22));
    CANTO_TEST_OK(canto_moves_create(arena, schedule->visits_n,
                                     canto_moves_steps_bound(schedule->size), out));
    CANTO_TEST_OK(canto_moves_make(out, schedule, backward));
}

// Causal ring on 3 ranks of 2 tokens: part 0 goes 0 -> 1 -> 2 and part 1 goes 1 -> 2.
static void test_moves_by_hand(void **state)
{
    (void)state;
    static const canto_move expected[] = {
        {CANTO_MOVE_PART, 0, -1, 0, 1, 0, 0}, {CANTO_MOVE_PART, 2, -1, 1, 2, 0, 0},
        {CANTO_MOVE_PART, 1, -1, 1, 2, 1, 1}, {CANTO_MOVE_SUM, 0, 1, 1, 2, 2, 2},
        {CANTO_MOVE_HOME, 2, -1, 2, 1, 2, 2}, {CANTO_MOVE_HOME, 1, -1, 2, 0, 3, 3},
    };
    canto_arena arena;
    canto_moves moves;
    world w;
    world_open(&w, (world_desc){.size = 3, .length = 6, .rank = -1});
    world_window(&w, CANTO_UNLIMITED, 0);
    world_schedule(&w, &canto_strategy_ring);
    open_moves(&arena, &w.schedule, true, &moves);
    assert_int_equal(moves.n, 6);
    assert_int_equal(moves.steps, 4);
    assert_memory_equal(moves.list, expected, sizeof expected);
    CANTO_TEST_OK(canto_moves_make(&moves, &w.schedule, false));
    assert_int_equal(moves.n, 3);
    assert_int_equal(moves.steps, 3);
    assert_memory_equal(moves.list, expected, 3 * sizeof expected[0]);
    moves.steps_capacity = 2;
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "3 steps and 3 visits, but there is room for 2",
                     canto_moves_make(&moves, &w.schedule, false));
    canto_arena_destroy(&arena);
    world_close(&w);
}

// A move that waits: both chains of a part that skips ranks begin at the owner, sums go home from
// each, and a sum waits for the next visit where needs are more than a step apart.
static void test_moves_of_a_gap(void **state)
{
    (void)state;
    canto_part part = {.owner = 0, .begin = 0, .end = 1};
    canto_visit visits[] = {{0, 0, 0, 1, 0, 1}, {0, 0, 1, 2, 2, 5}, {0, 1, 0, 3, 1, 2}};
    canto_schedule s = {
        .size = 4, .rank = -1, .parts_n = 1, .visits_n = 3, .parts = &part, .visits = visits};
    static const canto_move sums[] = {{CANTO_MOVE_SUM, 0, 1, 1, 2, 2, 5},
                                      {CANTO_MOVE_HOME, 2, -1, 3, 0, 3, 3},
                                      {CANTO_MOVE_HOME, 1, -1, 2, 0, 6, 6}};
    canto_arena arena;
    canto_moves moves;
    CANTO_TEST_OK(canto_arena_create(&arena, 1 << 12));
    CANTO_TEST_OK(canto_moves_create(&arena, 3, 7, &moves));
    CANTO_TEST_OK(canto_moves_make(&moves, &s, true));
    assert_int_equal(moves.n, 6);
    assert_int_equal(moves.steps, 7);
    assert_memory_equal(&moves.list[moves.first[2] + 1], &sums[0], sizeof sums[0]);
    assert_memory_equal(&moves.list[moves.first[3]], &sums[1], sizeof sums[1]);
    assert_memory_equal(&moves.list[moves.first[6]], &sums[2], sizeof sums[2]);
    canto_arena_destroy(&arena);
}

// The same move, with indices into another list of visits.
static void check_same_move(const canto_schedule *mine, const canto_move *m,
                            const canto_schedule *all, const canto_move *e)
{
    canto_move same = *m;
    same.visit = e->visit;
    same.next = e->next;
    assert_memory_equal(&same, e, sizeof same);
    assert_memory_equal(&mine->visits[m->visit], &all->visits[e->visit], sizeof(canto_visit));
    assert_int_equal(m->next < 0, e->next < 0);
    if (e->next < 0) return;
    assert_memory_equal(&mine->visits[m->next], &all->visits[e->next], sizeof(canto_visit));
}

// Moves of one rank's schedule are those of everybody's that touch the rank, in the same order.
static void check_rank_moves(const canto_schedule *mine, const canto_schedule *all, bool backward)
{
    canto_arena arenas[2];
    canto_moves every, some;
    open_moves(&arenas[0], all, backward, &every);
    open_moves(&arenas[1], mine, backward, &some);
    int64_t n = 0;
    for (int64_t i = 0; i < every.n; i++) {
        const canto_move *e = &every.list[i];
        if (e->from != mine->rank && e->to != mine->rank) continue;
        assert_true(n < some.n);
        check_same_move(mine, &some.list[n], all, e);
        assert_true(some.first[e->step] <= n && n < some.first[e->step + 1]);
        n++;
    }
    assert_int_equal(n, some.n);
    canto_arena_destroy(&arenas[0]);
    canto_arena_destroy(&arenas[1]);
}

static void test_rank_moves(void **state)
{
    (void)state;
    static const canto_strategy *const strategies[] = {&canto_strategy_ring, &canto_strategy_gather,
                                                       &strategy_star};
    dice d = {.seed = 32};
    for (int trial = 0; trial < 100; trial++) {
        random_case c;
        world all, mine;
        roll_small(&d, &c);
        world_open_case(&all, &c, -1);
        const canto_strategy *s = strategies[trial % 3];
        world_schedule(&all, s);
        for (int rank = 0; rank < all.shards.size; rank++) {
            world_open_case(&mine, &c, rank);
            world_schedule(&mine, s);
            assert_true(mine.schedule.digest == all.schedule.digest);
            check_rank_moves(&mine.schedule, &all.schedule, false);
            check_rank_moves(&mine.schedule, &all.schedule, true);
            world_close(&mine);
        }
        world_close(&all);
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
    assert_true(canto_test_allocations() > 0); // the wrapping works
    const int64_t before = canto_test_allocations();
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
    assert_int_equal(canto_test_allocations(), before);
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
        cmocka_unit_test(test_needs),          cmocka_unit_test(test_sent_once),
        cmocka_unit_test(test_rank_moves),     cmocka_unit_test(test_moves_by_hand),
        cmocka_unit_test(test_moves_of_a_gap), cmocka_unit_test(test_digests_differ),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_room_of_one_rank),
        cmocka_unit_test(test_remaking),       cmocka_unit_test(test_thousand_ranks),
    };
    return cmocka_run_group_tests_name("parallel.schedule", tests, NULL, NULL);
}
