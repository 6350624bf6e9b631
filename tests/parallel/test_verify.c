// The verifier: accepts what strategies generate, names what is wrong, and on thousands of damaged
// schedules gives the verdict of a brute-force simulation.
#include "tests/canto_test.h"

#include "parallel/play.h"
#include "tests/parallel/simulate.h"
#include "tests/parallel/world.h"

#include <stdlib.h>
#include <string.h>

static canto_status verify(const world *w)
{
    return canto_schedule_verify(&w->schedule, &w->mask, &w->shards);
}

static void accept(world *w, const canto_strategy *strategy)
{
    char name[WORLD_NAME_MAX], message[CANTO_MESSAGE_MAX];
    if (!strategy->applicable(w->shards.size)) return;
    canto_status status = canto_schedule_make(&w->schedule, strategy, &w->needs, &w->shards);
    if (status == CANTO_OK) status = verify(w);
    if (status == CANTO_OK) return;
    canto_test_take_message(message);
    fail_msg("%s: %s", world_name(w, strategy, name), message);
}

static void accept_all(world *w)
{
    for (int i = 0; canto_strategies[i]; i++) accept(w, canto_strategies[i]);
    accept(w, &strategy_star);
    accept(w, &strategy_slow);
}

static void accept_random(dice *d, int size, int64_t length, int documents_max)
{
    random_case c;
    world w;
    roll_case(d, size, length, documents_max, &c);
    world_open_case(&w, &c, -1);
    accept_all(&w);
    world_close(&w);
}

static void test_accepts_generated(void **state)
{
    (void)state;
    dice d = {.seed = 41};
    for (int size = 1; size <= 12; size++) {
        for (int trial = 0; trial < 60; trial++) {
            accept_random(&d, size, roll(&d, 200), 1 + (int)roll(&d, 60));
        }
    }
    for (int size = 16; size <= 1024; size *= 4) {
        accept_random(&d, size, 10000, WORLD_DOCUMENTS_MAX);
        accept_random(&d, size, 10000, 3);
    }
}

// Masks that are no list of documents: everybody sees a prefix, and a window.
static void test_accepts_prefix_and_window(void **state)
{
    (void)state;
    dice d = {.seed = 42};
    for (int trial = 0; trial < 100; trial++) {
        world w;
        int64_t n = 40 + roll(&d, 100), prefix = 1 + roll(&d, 10), window = roll(&d, 20);
        canto_band bands[3] = {{0, n, 0, prefix, CANTO_BAND_MIN, -window - 1},
                               {0, n, 0, n, -window, 0},
                               {0, n, 0, n, 1, 3}};
        world_open(&w,
                   (world_desc){.layout = trial % 2 ? CANTO_LAYOUT_ZIGZAG : CANTO_LAYOUT_CONTIGUOUS,
                                .size = 1 + (int)roll(&d, 9),
                                .length = n,
                                .bands_max = 64,
                                .rank = -1});
        CANTO_TEST_OK(canto_mask_set_bands(&w.mask, n, 3, bands));
        CANTO_TEST_OK(canto_needs_make(&w.needs, &w.mask, &w.shards));
        accept_all(&w);
        world_close(&w);
    }
}

// Causal ring on 4 ranks of 2 tokens each, contiguous: part i is [2i, 2i + 2) and visits 3 - i
// ranks; visits 0, 1, 2 are those of part 0.
static void open_causal(world *w)
{
    world_open(w, (world_desc){.size = 4, .length = 8, .rank = -1});
    world_window(w, CANTO_UNLIMITED, 0);
    world_schedule(w, &canto_strategy_ring);
}

static void drop_visit(canto_schedule *s, int64_t index)
{
    s->visits_n--;
    memmove(s->visits + index, s->visits + index + 1,
            (size_t)(s->visits_n - index) * sizeof *s->visits);
}

static void check_named(const char *words, void (*damage)(canto_schedule *))
{
    world w;
    open_causal(&w);
    CANTO_TEST_OK(verify(&w));
    damage(&w.schedule);
    CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, words, verify(&w));
    world_close(&w);
}

static void leave_gap(canto_schedule *s)
{
    s->parts[1].begin++;
}
static void end_early(canto_schedule *s)
{
    s->parts_n--;
}
static void change_owner(canto_schedule *s)
{
    s->parts[1].owner = 2;
}
static void forget(canto_schedule *s)
{
    drop_visit(s, 2);
}
static void bring_unneeded(canto_schedule *s)
{
    s->visits[3].to = 0;
}
static void bring_again(canto_schedule *s)
{
    s->visits[1].to = 1;
    s->visits[1].from = 0;
}
static void send_early(canto_schedule *s)
{
    s->visits[1].step = 0;
}
static void need_at_once(canto_schedule *s)
{
    s->visits[0].need = 0;
}
static void need_falls(canto_schedule *s)
{
    s->visits[1].need = 5;
}
static void need_stays(canto_schedule *s)
{
    s->visits[1] = (canto_visit){.from = 0, .to = 2, .step = 0, .need = 1};
}
static void go_far(canto_schedule *s)
{
    s->visits[2].need = 17;
}
static void leave_world(canto_schedule *s)
{
    s->visits[2].to = 4;
}

static void test_names_what_is_wrong(void **state)
{
    (void)state;
    check_named("part 1 is [3, 4)", leave_gap);
    check_named("parts end at 6 of 8 keys", end_early);
    check_named("part 1, [2, 4) of rank 2, does not lie in one span", change_owner);
    check_named("rank 3 needs part 0", forget);
    check_named("part 1 to rank 0, which does not need all", bring_unneeded);
    check_named("part 0 to rank 1, which has it already", bring_again);
    check_named("lets rank 1 send part 0 to rank 2 in step 0", send_early);
    check_named("starts in step 0 and is needed in step 0", need_at_once);
    check_named("visit 2 of part 0 to rank 3 is out of order", need_falls);
    check_named("visit 1 of part 0 to rank 2 is out of order", need_stays);
    check_named("visit 2 of part 0 goes from rank 2 to rank 3", go_far);
    check_named("visit 2 of part 0 goes from rank 2 to rank 4 of 4", leave_world);
}

// Own schedules are not verifiable: the others' visits are missing.
static void test_wants_all_ranks(void **state)
{
    (void)state;
    world w;
    world_open(&w, (world_desc){.size = 4, .length = 8, .rank = 2});
    world_window(&w, CANTO_UNLIMITED, 0);
    world_schedule(&w, &canto_strategy_ring);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "of rank 2 alone", verify(&w));
    world_close(&w);
}

// The play finds waits without end, which no schedule with step < need has: two messages that must
// each be finished before the other is started.
static void test_play_gets_stuck(void **state)
{
    (void)state;
    world w;
    canto_play play;
    double seconds;
    world_open(&w, (world_desc){.size = 2, .length = 4, .rank = -1});
    world_window(&w, CANTO_UNLIMITED, CANTO_UNLIMITED);
    world_schedule(&w, &canto_strategy_ring);
    w.schedule.visits[0].step = 2;
    CANTO_TEST_OK(canto_play_open(&w.schedule, true, &play));
    CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, "waits for ever in step 0",
                     canto_play_run(&play, &seconds));
    canto_play_close(&play);
    world_close(&w);
}

// --- damaged schedules ---

static bool visit_precedes(const canto_visit *a, const canto_visit *b)
{
    if (a->part != b->part) return a->part < b->part;
    if (a->chain != b->chain) return a->chain < b->chain;
    return a->need < b->need;
}

static void sort_visits(canto_schedule *s)
{
    for (int64_t i = 1; i < s->visits_n; i++) {
        canto_visit v = s->visits[i];
        int64_t j = i;
        for (; j > 0 && visit_precedes(&v, &s->visits[j - 1]); j--) s->visits[j] = s->visits[j - 1];
        s->visits[j] = v;
    }
}

static void damage_visit(dice *d, canto_schedule *s)
{
    int64_t i = roll(d, s->visits_n);
    canto_visit *v = &s->visits[i];
    switch (roll(d, 11)) {
    case 0:
        v->from = (int)roll_between(d, -1, s->size);
        break;
    case 1:
        v->to = (int)roll_between(d, -1, s->size);
        break;
    case 2:
        v->step += (int)roll_between(d, -2, 2);
        break;
    case 3:
        v->need += (int)roll_between(d, -2, 2);
        break;
    case 4:
        v->part = (int)roll_between(d, -1, s->parts_n);
        break;
    case 5:
        v->chain = (int)roll_between(d, 0, s->size);
        break;
    case 6:
        drop_visit(s, i);
        break;
    case 7:
        if (s->visits_n < s->visits_capacity && s->visits_n < SIM_VISITS) {
            s->visits[s->visits_n++] = *v;
        }
        break;
    case 8:
        v->from = s->parts[v->part].owner;
        break; // often harmless, as the next two
    case 9:
        v->need += s->size;
        break;
    case 10:
        v->chain += 100;
        break;
    }
}

static void damage_part(dice *d, canto_schedule *s)
{
    int i = (int)roll(d, s->parts_n);
    canto_part *part = &s->parts[i];
    int shift = roll(d, 2) ? 1 : -1;
    switch (roll(d, 5)) {
    case 0:
        part->begin += shift;
        break;
    case 1:
        part->end += shift;
        break;
    case 2:
        part->owner = (int)roll_between(d, -1, s->size);
        break;
    case 3:
        part->end += shift;
        if (i + 1 < s->parts_n) part[1].begin += shift;
        break;
    case 4:
        part->step += (int)roll_between(d, -1, 2);
        break;
    }
}

static void damage(dice *d, canto_schedule *s)
{
    int changes = 1 + (int)roll(d, 2);
    for (int i = 0; i < changes; i++) {
        if (s->visits_n > 0 && roll(d, 5)) {
            damage_visit(d, s);
        } else if (s->parts_n > 0) {
            damage_part(d, s);
        }
        // Keeps `part` fit to be an index for the next change.
        for (int64_t v = 0; v < s->visits_n && i + 1 < changes; v++) {
            if (s->visits[v].part < 0 || s->visits[v].part >= s->parts_n) return;
        }
    }
    if (roll(d, 4)) sort_visits(s);
}

// Until something is different.
static void damage_really(dice *d, canto_schedule *s)
{
    canto_part parts[SIM_TOKENS];
    canto_visit visits[SIM_VISITS];
    int64_t visits_n = s->visits_n;
    memcpy(parts, s->parts, (size_t)s->parts_n * sizeof parts[0]);
    memcpy(visits, s->visits, (size_t)visits_n * sizeof visits[0]);
    do {
        damage(d, s);
    } while (s->visits_n == visits_n &&
             memcmp(visits, s->visits, (size_t)visits_n * sizeof visits[0]) == 0 &&
             memcmp(parts, s->parts, (size_t)s->parts_n * sizeof parts[0]) == 0);
}

static void describe(const world *w, sim_problem *problem)
{
    *problem = (sim_problem){.ranks = w->shards.size, .tokens = (int)w->shards.length};
    for (int q = 0; q < problem->tokens; q++) {
        problem->span[q] = canto_shards_find(&w->shards, q);
        problem->holder[q] = w->shards.owner[problem->span[q]];
        for (int k = 0; k < problem->tokens; k++) {
            problem->allowed[q][k] = canto_mask_allows(&w->mask, q, k);
        }
    }
}

static void test_verdict_of_brute_force(void **state)
{
    (void)state;
    enum { TRIALS = 10000 };
    static const canto_strategy *const strategies[] = {&canto_strategy_ring, &canto_strategy_gather,
                                                       &strategy_star, &strategy_slow};
    dice d = {.seed = 43};
    int accepted = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        world w;
        sim_problem problem;
        const char *why;
        random_case c;
        roll_case(&d, 2 + (int)roll(&d, SIM_RANKS - 1), 1 + roll(&d, SIM_TOKENS),
                  1 + (int)roll(&d, 4), &c);
        world_open_case(&w, &c, -1);
        world_schedule(&w, strategies[roll(&d, 4)]);
        describe(&w, &problem);
        assert_true(w.schedule.visits_n <= SIM_VISITS);
        if (!simulate(&problem, &w.schedule, &why)) fail_msg("undamaged: %s", why);
        damage_really(&d, &w.schedule);
        bool right = simulate(&problem, &w.schedule, &why);
        canto_status status = verify(&w);
        if (right != (status == CANTO_OK)) {
            fail_msg("trial %d: the simulation says '%s', the verifier '%s'", trial,
                     right ? "right" : why, canto_error_message());
        }
        canto_error_clear();
        accepted += right;
        world_close(&w);
    }
    print_message("%d of %d damaged schedules are right\n", accepted, TRIALS);
    assert_in_range(accepted, TRIALS / 10, TRIALS - TRIALS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepts_generated),
        cmocka_unit_test(test_accepts_prefix_and_window),
        cmocka_unit_test(test_names_what_is_wrong),
        cmocka_unit_test(test_wants_all_ranks),
        cmocka_unit_test(test_play_gets_stuck),
        cmocka_unit_test(test_verdict_of_brute_force),
    };
    return cmocka_run_group_tests_name("parallel.verify", tests, NULL, NULL);
}
