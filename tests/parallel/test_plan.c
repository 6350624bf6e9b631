// Plans of every rank made in one process: pieces against a walk over tokens, equal digests on all
// ranks, no allocation by updates, refusals.
#include "tests/allocations.h"
#include "tests/canto_test.h"

#include "parallel/plan.h"
#include "tests/parallel/world.h"

#include <stdlib.h>
#include <string.h>

enum { RANKS_MAX = 5, SEQUENCES = 3, LENGTH = 50, TOKENS = SEQUENCES * LENGTH, DOCUMENTS = 40 };

// --- plans of all ranks ---

typedef struct rank_plan {
    canto_comm comm; // a place among ranks, without messages
    canto_mesh mesh;
    canto_plan plan;
} rank_plan;

typedef struct group {
    int size;
    canto_arena arena;
    rank_plan ranks[RANKS_MAX];
} group;

static canto_status reserve(canto_comm *comm, int messages)
{
    (void)comm;
    assert_true(messages >= 0);
    return CANTO_OK;
}

static const canto_comm_ops place_ops = {.name = "place", .reserve = reserve};

static const int weights[RANKS_MAX] = {2, 0, 1, 3, 1};

static canto_plan_desc describe(rank_plan *mine, int rank, int size, canto_layout layout)
{
    mine->comm = (canto_comm){.ops = &place_ops, .lane = "schedule", .rank = rank, .size = size};
    mine->mesh = (canto_mesh){.dp = 1, .cp = size, .cp_rank = rank, .schedule = &mine->comm};
    return (canto_plan_desc){.mesh = &mine->mesh,
                             .device = canto_device_cpu(),
                             .layout = layout,
                             .weights = layout == CANTO_LAYOUT_UNEVEN ? weights : NULL,
                             .softmax = &canto_strategy_ring,
                             .linear = &canto_transport_lasp2,
                             .sequences_n = SEQUENCES,
                             .sequence_length = LENGTH,
                             .documents_max = DOCUMENTS,
                             .state_count_max = 24};
}

static void create_plan(canto_arena *arena, rank_plan *mine, int rank, int size,
                        canto_layout layout)
{
    canto_plan_desc desc = describe(mine, rank, size, layout);
    CANTO_TEST_OK(canto_plan_create(arena, arena, &desc, &mine->plan));
    int causal, window, again;
    CANTO_TEST_OK(canto_plan_add_mask(&mine->plan, arena, CANTO_UNLIMITED, 0, &causal));
    CANTO_TEST_OK(canto_plan_add_mask(&mine->plan, arena, 7, 0, &window));
    CANTO_TEST_OK(canto_plan_add_mask(&mine->plan, arena, CANTO_UNLIMITED, 0, &again));
    assert_int_equal(causal, 0);
    assert_int_equal(window, 1);
    assert_int_equal(again, 0);
    assert_int_equal(mine->plan.masks_n, 2);
}

static group *open_group(int size, canto_layout layout)
{
    group *made = calloc(1, sizeof *made);
    assert_non_null(made);
    made->size = size;
    CANTO_TEST_OK(canto_arena_create(&made->arena, (size_t)64 << 20));
    for (int r = 0; r < size; r++) create_plan(&made->arena, &made->ranks[r], r, size, layout);
    return made;
}

static void close_group(group *made)
{
    for (int r = 0; r < made->size; r++) canto_plan_destroy(&made->ranks[r].plan);
    canto_arena_destroy(&made->arena);
    free(made);
}

// Every sequence is cut into documents of its own.
static canto_documents roll_stream(dice *d, int64_t starts[DOCUMENTS + 1])
{
    int n = 0;
    for (int s = 0; s < SEQUENCES; s++) {
        int64_t mine[DOCUMENTS + 1];
        int count = roll_documents(d, LENGTH, (int)roll_between(d, 1, DOCUMENTS / SEQUENCES), mine);
        for (int i = 0; i < count; i++) starts[n++] = s * LENGTH + mine[i];
    }
    starts[n] = TOKENS;
    return (canto_documents){n, starts};
}

// --- pieces ---

static int64_t document_start(const canto_documents *documents, int64_t position)
{
    int d = documents->n - 1;
    while (documents->starts[d] > position) d--;
    return documents->starts[d];
}

// Token by token: pieces tile my tokens in order; neighbours are of one piece exactly if they are
// of one document and one segment.
static void check_pieces(const canto_plan *plan, const canto_documents *documents)
{
    int64_t next = 0;
    const canto_span *spans = &plan->shards.spans[plan->shards.first[plan->desc.mesh->cp_rank]];
    for (int i = 0; i < plan->pieces_n; i++) {
        const canto_piece *piece = &plan->pieces[i];
        const canto_span *span = &spans[piece->segment];
        int64_t first = canto_plan_position(plan, piece->local);
        int64_t last = canto_plan_position(plan, piece->local + piece->tokens - 1);
        assert_int_equal(piece->local, next);
        assert_true(piece->tokens > 0);
        assert_int_equal(last - first, piece->tokens - 1);
        assert_true(first >= span->begin && last < span->end);
        assert_int_equal(document_start(documents, first), document_start(documents, last));
        assert_int_equal(piece->continues, document_start(documents, first) < span->begin);
        assert_int_equal(piece->ends, last + 1 == span->end);
        bool document_ends = last + 1 == TOKENS || document_start(documents, last + 1) == last + 1;
        assert_true(piece->ends || document_ends);
        next += piece->tokens;
    }
    assert_int_equal(next, plan->tokens);
}

static void check_positions(const group *all)
{
    bool seen[TOKENS] = {false};
    for (int r = 0; r < all->size; r++) {
        const canto_plan *plan = &all->ranks[r].plan;
        assert_int_equal(plan->tokens, canto_shards_tokens(&plan->shards, r));
        for (int64_t t = 0; t < plan->tokens; t++) {
            const int64_t position = canto_plan_position(plan, t);
            assert_false(seen[position]);
            seen[position] = true;
        }
    }
    for (int i = 0; i < TOKENS; i++) assert_true(seen[i]);
}

static void update_all(group *all, const canto_documents *documents)
{
    for (int r = 0; r < all->size; r++) {
        canto_plan *plan = &all->ranks[r].plan;
        CANTO_TEST_OK(canto_plan_update(plan, documents));
        check_pieces(plan, documents);
        assert_int_equal(plan->digest, all->ranks[0].plan.digest);
        assert_true(plan->make_s >= 0);
    }
}

// --- tests ---

static void test_updates(void **state)
{
    (void)state;
    dice d = {.seed = 11};
    for (int size = 1; size <= RANKS_MAX; size++) {
        for (canto_layout layout = 0; layout <= CANTO_LAYOUT_UNEVEN; layout++) {
            group *all = open_group(size, layout);
            check_positions(all);
            uint64_t before = 0;
            const int64_t allocated = canto_test_allocations();
            for (int i = 0; i < 50; i++) {
                int64_t starts[DOCUMENTS + 1];
                canto_documents documents = roll_stream(&d, starts);
                update_all(all, &documents);
                assert_true(all->ranks[0].plan.digest != before);
                before = all->ranks[0].plan.digest;
                update_all(all, &documents); // the same documents: nothing changes
                assert_int_equal(all->ranks[0].plan.digest, before);
            }
            assert_int_equal(canto_test_allocations(), allocated);
            close_group(all);
        }
    }
    assert_true(canto_test_allocations() > 0); // the counter counts
}

static void test_digest_tells_plans_apart(void **state)
{
    (void)state;
    int64_t starts[] = {0, LENGTH, 2 * LENGTH, TOKENS};
    canto_documents documents = {SEQUENCES, starts};
    group *ring = open_group(3, CANTO_LAYOUT_CONTIGUOUS),
          *zigzag = open_group(3, CANTO_LAYOUT_ZIGZAG);
    update_all(ring, &documents);
    update_all(zigzag, &documents);
    assert_true(ring->ranks[0].plan.digest != zigzag->ranks[0].plan.digest);
    close_group(ring);
    close_group(zigzag);
}

static void test_refusals(void **state)
{
    (void)state;
    group *one = open_group(1, CANTO_LAYOUT_CONTIGUOUS);
    canto_plan *plan = &one->ranks[0].plan;
    const struct {
        canto_status status;
        const char *words;
        int n;
        int64_t starts[DOCUMENTS + 2];
    } bad[] = {
        {CANTO_ERROR_ARGUMENT,
         "crosses the boundary of sequences 0 and 1 at 50",
         2,
         {0, 60, TOKENS}},
        {CANTO_ERROR_ARGUMENT,
         "crosses the boundary of sequences 1 and 2 at 100",
         2,
         {0, 50, TOKENS}},
        {CANTO_ERROR_ARGUMENT, "document 1 at 50 is empty", 4, {0, 50, 50, 100, TOKENS}},
        {CANTO_ERROR_ARGUMENT, "the first document must start at 0", 2, {1, 50, TOKENS}},
        {CANTO_ERROR_ARGUMENT, "the first document must start at 0", 0, {0}},
        {CANTO_ERROR_ARGUMENT, "documents end at 149, the stream at 150", 3, {0, 50, 100, 149}},
        {CANTO_ERROR_CAPACITY, "41 documents in a step, made for 40", 41, {0}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        canto_documents documents = {bad[i].n, bad[i].starts};
        CANTO_TEST_FAILS(bad[i].status, bad[i].words, canto_plan_update(plan, &documents));
    }
    canto_attention_shape shape = {1, 1, 1, 1, 1, 1};
    float x[TOKENS];
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no documents yet",
                     canto_plan_attend_forward(plan, 0, &shape, x, x, x, x, x));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no mask 2 among 2",
                     canto_plan_attend_forward(plan, 2, &shape, x, x, x, x, x));
    update_all(one, &(canto_documents){3, (int64_t[]){0, 50, 100, TOKENS}});
    int id;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "before the first documents",
                     canto_plan_add_mask(plan, &one->arena, 3, 0, &id));
    close_group(one);
}

static void test_masks_are_limited(void **state)
{
    (void)state;
    group *one = open_group(1, CANTO_LAYOUT_CONTIGUOUS);
    int id;
    for (int i = 2; i < CANTO_PLAN_MASKS_MAX; i++)
        CANTO_TEST_OK(canto_plan_add_mask(&one->ranks[0].plan, &one->arena, 10 + i, 0, &id));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "more than 16 different masks",
                     canto_plan_add_mask(&one->ranks[0].plan, &one->arena, 1, 1, &id));
    close_group(one);
}

// A measuring arena finds the size that a real one needs, and what is sized from the plan can be
// asked while measuring.
static void test_measuring(void **state)
{
    (void)state;
    canto_arena measuring, real;
    rank_plan mine;
    for (int r = 0; r < 4; r++) {
        CANTO_TEST_OK(canto_arena_create_measuring(&measuring));
        create_plan(&measuring, &mine, r, 4, CANTO_LAYOUT_ZIGZAG);
        assert_int_equal(canto_plan_position(&mine.plan, 0),
                         mine.plan.shards.spans[mine.plan.shards.first[r]].begin);
        canto_plan_destroy(&mine.plan);
        CANTO_TEST_OK(canto_arena_create(&real, measuring.peak));
        create_plan(&real, &mine, r, 4, CANTO_LAYOUT_ZIGZAG);
        assert_int_equal(real.peak, measuring.peak);
        canto_plan_destroy(&mine.plan);
        canto_plan_destroy(&mine.plan); // also of a zeroed plan
        canto_arena_destroy(&measuring);
        canto_arena_destroy(&real);
    }
}

static void test_bad_descriptions(void **state)
{
    (void)state;
    canto_arena arena;
    CANTO_TEST_OK(canto_arena_create(&arena, (size_t)1 << 20));
    rank_plan mine;
    canto_plan plan;
    canto_plan_desc desc = describe(&mine, 0, 2, CANTO_LAYOUT_CONTIGUOUS);
    desc.documents_max = SEQUENCES - 1;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "every sequence starts one",
                     canto_plan_create(&arena, &arena, &desc, &plan));
    desc = describe(&mine, 0, 2, CANTO_LAYOUT_UNEVEN);
    desc.weights = NULL;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "weights belong",
                     canto_plan_create(&arena, &arena, &desc, &plan));
    desc = describe(&mine, 0, 2, CANTO_LAYOUT_CONTIGUOUS);
    desc.sequence_length = (int64_t)1 << 32;
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "tokens on one rank",
                     canto_plan_create(&arena, &arena, &desc, &plan));
    desc = describe(&mine, 0, 2, CANTO_LAYOUT_CONTIGUOUS);
    mine.mesh.cp = 3;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "a lane of 2",
                     canto_plan_create(&arena, &arena, &desc, &plan));
    canto_arena_release(&arena, 0);
    canto_arena_destroy(&arena);
    CANTO_TEST_OK(canto_arena_create(&arena, 64));
    desc = describe(&mine, 0, 2, CANTO_LAYOUT_CONTIGUOUS);
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "no room",
                     canto_plan_create(&arena, &arena, &desc, &plan));
    canto_arena_destroy(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_updates),   cmocka_unit_test(test_digest_tells_plans_apart),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_masks_are_limited),
        cmocka_unit_test(test_measuring), cmocka_unit_test(test_bad_descriptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
