// Schedules: what strategies generate, counted token by token on small ones and as plain numbers.
#include "tests/canto_test.h"

#include "parallel/moves.h"
#include "parallel/schedule.h"
#include "tests/parallel/world.h"

#include <stdlib.h>
#include <string.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sent_once),
        cmocka_unit_test(test_rank_moves),
    };
    return cmocka_run_group_tests_name("parallel.schedule", tests, NULL, NULL);
}
