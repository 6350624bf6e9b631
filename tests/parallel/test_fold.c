// Folds: every transport on every way of owning segments, message counts as plain numbers, and the
// verifier against sets of intervals on thousands of damaged folds.
#include "tests/canto_test.h"

#include "parallel/scan.h"
#include "runtime/rng.h"
#include "tests/parallel/transport_pairs.h"

#include <string.h>

enum { RANKS_MAX = 12, SEGMENTS_MAX = 48, MUTATIONS = 2000 };

typedef enum ordering { ORDER_CONTIGUOUS, ORDER_ZIGZAG, ORDER_RANDOM, ORDERS_N } ordering;

static uint64_t draws;

static int draw(int n)
{
    return (int)canto_rng_below(7, CANTO_RNG_TEST, draws++, n);
}

static void fill_owners(ordering order, int size, int per_rank, int *owner)
{
    for (int s = 0; s < size * per_rank; s++) {
        int turn = s % (2 * size);
        if (order == ORDER_CONTIGUOUS) owner[s] = s / per_rank;
        if (order == ORDER_ZIGZAG) owner[s] = turn < size ? turn : 2 * size - 1 - turn;
        if (order == ORDER_RANDOM) owner[s] = draw(size);
    }
}

static canto_arena room(void)
{
    canto_arena arena;
    CANTO_TEST_OK(canto_arena_create(&arena, (size_t)64 << 20));
    return arena;
}

static canto_fold make(canto_arena *arena, const canto_transport *transport, int size, int segments,
                       int rank, const int *owner)
{
    canto_fold fold = {.segments = segments, .size = size, .rank = rank, .owner = owner};
    CANTO_TEST_OK(canto_fold_create(arena, transport, segments, &fold));
    CANTO_TEST_OK(canto_fold_make(&fold, transport));
    return fold;
}

static int messages(const canto_fold *fold)
{
    int count = 0;
    for (int i = 0; i < fold->ops_n; i++) count += fold->ops[i].from != fold->ops[i].to;
    return count;
}

// The operations stored for one rank are those of the whole fold that touch it, in the same order.
static void check_one_rank(const canto_fold *all, const canto_fold *one)
{
    int n = 0;
    for (int i = 0; i < all->ops_n; i++) {
        const canto_fold_op *op = &all->ops[i];
        if (op->from != one->rank && op->to != one->rank) continue;
        assert_true(n < one->ops_n);
        assert_memory_equal(op, &one->ops[n++], sizeof *op);
    }
    assert_int_equal(n, one->ops_n);
}

static void check_layout(canto_arena *arena, const canto_transport *transport, int size,
                         int per_rank, ordering order)
{
    int owner[SEGMENTS_MAX];
    fill_owners(order, size, per_rank, owner);
    size_t mark = canto_arena_mark(arena);
    canto_fold all = make(arena, transport, size, size * per_rank, -1, owner);
    CANTO_TEST_OK(canto_fold_verify(&all));
    for (int r = 0; r < size; r++) {
        canto_fold one = make(arena, transport, size, size * per_rank, r, owner);
        check_one_rank(&all, &one);
    }
    canto_arena_release(arena, mark);
}

static void test_every_layout(void **state)
{
    (void)state;
    canto_arena arena = room();
    const int per_rank[] = {1, 2, 4};
    for (int t = 0; canto_transports[t]; t++)
        for (int size = 1; size <= RANKS_MAX; size++)
            for (int p = 0; p < 3; p++)
                for (ordering order = 0; order < ORDERS_N; order++)
                    check_layout(&arena, canto_transports[t], size, per_rank[p], order);
    canto_arena_destroy(&arena);
}

static void expect_messages(const char *name, int size, int per_rank, ordering order, int expected)
{
    canto_arena arena = room();
    int owner[SEGMENTS_MAX];
    fill_owners(order, size, per_rank, owner);
    const canto_transport *transport = canto_transport_find(name);
    assert_non_null(transport);
    canto_fold fold = make(&arena, transport, size, size * per_rank, -1, owner);
    assert_int_equal(messages(&fold), expected);
    canto_arena_destroy(&arena);
}

static void test_message_counts(void **state)
{
    (void)state;
    expect_messages("lasp1", 1, 1, ORDER_CONTIGUOUS, 0);
    expect_messages("lasp1", 4, 1, ORDER_CONTIGUOUS, 3);
    expect_messages("lasp1", 8, 1, ORDER_CONTIGUOUS, 7);
    expect_messages("lasp1", 4, 2, ORDER_ZIGZAG, 6);
    expect_messages("lasp1", 8, 2, ORDER_ZIGZAG, 14);
    expect_messages("lasp2", 1, 1, ORDER_CONTIGUOUS, 0);
    expect_messages("lasp2", 4, 1, ORDER_CONTIGUOUS, 12);
    expect_messages("lasp2", 8, 1, ORDER_CONTIGUOUS, 56);
    expect_messages("lasp2", 4, 2, ORDER_ZIGZAG, 24);
    expect_messages("lasp2", 8, 2, ORDER_ZIGZAG, 112);
}

// Ranks without segments take part in nothing.
static void test_empty_ranks(void **state)
{
    (void)state;
    canto_arena arena = room();
    const int owner[] = {1, 4};
    for (int t = 0; canto_transports[t]; t++) {
        canto_fold all = make(&arena, canto_transports[t], 6, 2, -1, owner);
        CANTO_TEST_OK(canto_fold_verify(&all));
        for (int i = 0; i < all.ops_n; i++) {
            assert_true(all.ops[i].from == 1 || all.ops[i].from == 4);
            assert_true(all.ops[i].to == 1 || all.ops[i].to == 4);
        }
        canto_fold none = make(&arena, canto_transports[t], 3, 0, -1, NULL);
        CANTO_TEST_OK(canto_fold_verify(&none));
        assert_int_equal(none.ops_n, 0);
    }
    canto_arena_destroy(&arena);
}

// The tests' own transport is a fold like any other.
static void test_pairs(void **state)
{
    (void)state;
    canto_arena arena = room();
    int owner[SEGMENTS_MAX];
    for (ordering order = 0; order < ORDERS_N; order++) {
        for (int size = 1; size <= 5; size++) {
            fill_owners(order, size, 3, owner);
            canto_fold fold = make(&arena, &transport_pairs, size, 3 * size, -1, owner);
            CANTO_TEST_OK(canto_fold_verify(&fold));
        }
    }
    canto_arena_destroy(&arena);
}

// --- the verifier against brute force ---

typedef bool holdings[RANKS_MAX][SEGMENTS_MAX + 1][SEGMENTS_MAX + 1];

static bool brute_step(holdings held, const canto_fold *fold, int index)
{
    canto_fold_op op = fold->ops[index];
    if (index > 0 && op.step < fold->ops[index - 1].step) return false;
    if (op.from < 0 || op.from >= fold->size || op.to < 0 || op.to >= fold->size) return false;
    if (op.a < 0 || op.b > fold->segments || op.a >= op.b || held[op.to][op.a][op.b]) return false;
    bool made = held[op.from][op.a][op.b];
    if (op.from == op.to) {
        made = op.m > op.a && op.m < op.b && held[op.to][op.a][op.m] && held[op.to][op.m][op.b];
    }
    held[op.to][op.a][op.b] = made;
    return made;
}

static bool brute_verdict(const canto_fold *fold)
{
    static holdings held; // too large for the stack
    memset(held, 0, sizeof held);
    for (int s = 0; s < fold->segments; s++) held[fold->owner[s]][s][s + 1] = true;
    for (int i = 0; i < fold->ops_n; i++) {
        if (!brute_step(held, fold, i)) return false;
    }
    for (int s = 1; s < fold->segments; s++) {
        if (!held[fold->owner[s]][0][s]) return false;
    }
    return true;
}

static void mutate(canto_fold *fold)
{
    int i = draw(fold->ops_n), j = draw(fold->ops_n);
    canto_fold_op *op = &fold->ops[i], kept = *op;
    switch (draw(7)) {
    case 0: // lose an operation
        memmove(op, op + 1, sizeof *op * (size_t)(fold->ops_n - i - 1));
        fold->ops_n--;
        break;
    case 1:
        op->from = kept.to, op->to = kept.from;
        break;
    case 2:
        op->a += draw(3) - 1;
        break;
    case 3:
        op->m += draw(3) - 1;
        break;
    case 4:
        op->b += draw(3) - 1;
        break;
    case 5:
        op->to = draw(fold->size + 1);
        break;
    case 6:
        *op = fold->ops[j], fold->ops[j] = kept;
        break;
    }
}

static void test_mutations(void **state)
{
    (void)state;
    canto_arena arena = room();
    int accepted = 0;
    for (int i = 0; i < MUTATIONS; i++) {
        size_t mark = canto_arena_mark(&arena);
        int owner[SEGMENTS_MAX], size = 2 + draw(4), per_rank = 1 + draw(2);
        fill_owners((ordering)draw(ORDERS_N), size, per_rank, owner);
        canto_fold fold = make(&arena, canto_transports[draw(2)], size, size * per_rank, -1, owner);
        if (fold.ops_n > 0) mutate(&fold);
        bool expected = brute_verdict(&fold);
        accepted += expected;
        if (expected)
            CANTO_TEST_OK(canto_fold_verify(&fold));
        else
            CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, "fold: ", canto_fold_verify(&fold));
        canto_arena_release(&arena, mark);
    }
    assert_in_range(accepted, MUTATIONS / 10, MUTATIONS * 9 / 10);
    canto_arena_destroy(&arena);
}

static void test_sentences(void **state)
{
    (void)state;
    canto_arena arena = room();
    const int owner[] = {0, 1, 2};
    canto_fold fold = make(&arena, &canto_transport_lasp1, 3, 3, -1, owner);
    fold.ops_n--;
    CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, "rank 2, owner of segment 2, never gets [0, 2)",
                     canto_fold_verify(&fold));
    fold = make(&arena, &canto_transport_lasp1, 3, 3, 1, owner);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "not of rank 1", canto_fold_verify(&fold));
    assert_null(canto_transport_find("lasp3"));
    canto_arena_destroy(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_layout), cmocka_unit_test(test_message_counts),
        cmocka_unit_test(test_empty_ranks),  cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_mutations),    cmocka_unit_test(test_sentences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
