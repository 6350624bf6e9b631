// Shards: every position has exactly one holder, for every layout, length and number of ranks.
#include "tests/canto_test.h"

#include "parallel/shard.h"
#include "tests/parallel/world.h"

#include <string.h>

enum { LENGTH_MAX = 256 };

// Position by position: who holds it, and the list of spans says so in every way it can be asked.
static void check_holders(const canto_shards *s)
{
    int holders[LENGTH_MAX] = {0};
    int64_t tokens_max = 0;
    assert_true(s->length <= LENGTH_MAX);
    for (int r = 0; r < s->size; r++) {
        int64_t local = 0;
        for (int i = s->first[r]; i < s->first[r + 1]; i++) {
            const canto_span *span = &s->spans[i];
            assert_true(span->begin < span->end);
            assert_true(i == s->first[r] || s->spans[i - 1].end <= span->begin);
            assert_int_equal(span->local, local);
            assert_int_equal(s->owner[i], r);
            local += span->end - span->begin;
            for (int64_t p = span->begin; p < span->end; p++) {
                holders[p]++;
                assert_int_equal(canto_shards_find(s, p), i);
            }
        }
        assert_int_equal(canto_shards_tokens(s, r), local);
        if (local > tokens_max) tokens_max = local;
    }
    for (int64_t p = 0; p < s->length; p++) assert_int_equal(holders[p], 1);
    assert_int_equal(s->first[s->size], s->spans_n);
    assert_int_equal(s->tokens_max, tokens_max);
    for (int i = 1; i < s->spans_n; i++) {
        assert_true(s->spans[s->by_position[i - 1]].end == s->spans[s->by_position[i]].begin);
    }
}

static void check_numbers(const canto_shards *s, const world_desc *d)
{
    int64_t shortest = 0, longest = 0;
    int spans_max = 0;
    for (int i = 0; i < s->spans_n; i++) {
        int64_t tokens = s->spans[i].end - s->spans[i].begin;
        if (tokens > longest) longest = tokens;
        if (i == 0 || tokens < shortest) shortest = tokens;
    }
    for (int r = 0; r < s->size; r++) {
        canto_share share =
            canto_shards_share(d->layout, d->size, d->sequences_n, d->bounds, d->weights, r);
        assert_int_equal(share.tokens, canto_shards_tokens(s, r));
        assert_int_equal(share.spans, s->first[r + 1] - s->first[r]);
        if (share.spans > spans_max) spans_max = share.spans;
    }
    assert_int_equal(s->span_min, shortest);
    assert_int_equal(s->span_max, longest);
    assert_int_equal(s->spans_max, spans_max);
}

static void check_division(world_desc desc)
{
    world w;
    world_open(&w, desc);
    check_holders(&w.shards);
    check_numbers(&w.shards, &desc);
    world_close(&w);
}

static void test_one_sequence(void **state)
{
    (void)state;
    dice d = {.seed = 11};
    for (int size = 1; size <= 9; size++) {
        for (int64_t length = 0; length <= 50; length++) {
            int64_t bounds[2] = {0, length};
            int weights[9];
            for (int r = 0; r < size; r++) weights[r] = (int)roll(&d, 4);
            weights[roll(&d, size)] += 1; // not all 0
            world_desc desc = {.size = size, .sequences_n = 1, .bounds = bounds};
            desc.layout = CANTO_LAYOUT_CONTIGUOUS;
            check_division(desc);
            desc.layout = CANTO_LAYOUT_ZIGZAG;
            check_division(desc);
            desc.layout = CANTO_LAYOUT_UNEVEN;
            desc.weights = weights;
            check_division(desc);
        }
    }
}

static void test_several_sequences(void **state)
{
    (void)state;
    dice d = {.seed = 12};
    for (int trial = 0; trial < 300; trial++) {
        int64_t bounds[5] = {0};
        int sequences_n = 1 + (int)roll(&d, 4);
        for (int i = 0; i < sequences_n; i++) bounds[i + 1] = bounds[i] + roll(&d, 40);
        check_division(
            (world_desc){.layout = trial % 2 ? CANTO_LAYOUT_ZIGZAG : CANTO_LAYOUT_CONTIGUOUS,
                         .size = 1 + (int)roll(&d, 9),
                         .sequences_n = sequences_n,
                         .bounds = bounds});
    }
}

static void assert_span(const canto_span *span, int64_t begin, int64_t end, int64_t local)
{
    assert_int_equal(span->begin, begin);
    assert_int_equal(span->end, end);
    assert_int_equal(span->local, local);
}

// Two sequences of 8 on 2 ranks, zigzag: chunks of 2; rank 1 holds the two in the middle as one
// span.
static void test_zigzag_by_hand(void **state)
{
    (void)state;
    world w;
    int64_t bounds[3] = {0, 8, 16};
    world_open(
        &w,
        (world_desc){.layout = CANTO_LAYOUT_ZIGZAG, .size = 2, .sequences_n = 2, .bounds = bounds});
    assert_int_equal(w.shards.spans_n, 6);
    assert_int_equal(w.shards.first[1], 4);
    assert_span(&w.shards.spans[0], 0, 2, 0);
    assert_span(&w.shards.spans[1], 6, 8, 2);
    assert_span(&w.shards.spans[2], 8, 10, 4);
    assert_span(&w.shards.spans[3], 14, 16, 6);
    assert_span(&w.shards.spans[4], 2, 6, 0);
    assert_span(&w.shards.spans[5], 10, 14, 4);
    world_close(&w);
}

static uint64_t digest_of(world_desc desc)
{
    world w;
    world_open(&w, desc);
    uint64_t digest = canto_shards_digest(&w.shards);
    world_close(&w);
    return digest;
}

static void test_digests(void **state)
{
    (void)state;
    world_desc desc = {.size = 3, .length = 30};
    uint64_t digest = digest_of(desc);
    assert_true(digest == digest_of(desc));
    desc.layout = CANTO_LAYOUT_ZIGZAG;
    assert_true(digest != digest_of(desc));
    desc = (world_desc){.size = 3, .length = 31};
    assert_true(digest != digest_of(desc));
    desc = (world_desc){.size = 4, .length = 30};
    assert_true(digest != digest_of(desc));
    desc = (world_desc){.size = 3, .sequences_n = 2, .bounds = (int64_t[]){0, 10, 30}};
    assert_true(digest != digest_of(desc));
}

static void test_refusals(void **state)
{
    (void)state;
    canto_arena arena;
    canto_shards s;
    int64_t bounds[3] = {0, 5, 3};
    int zeros[2] = {0, 0}, negative[2] = {2, -1};
    CANTO_TEST_OK(canto_arena_create(&arena, 1 << 16));
    CANTO_TEST_FAILS(
        CANTO_ERROR_CONFIG, "too many spans",
        canto_shards_create(&arena, CANTO_LAYOUT_ZIGZAG, 1 << 27, 2, bounds, NULL, &s));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "sequence 1 ends before it begins",
                     canto_shards_create(&arena, CANTO_LAYOUT_ZIGZAG, 2, 2, bounds, NULL, &s));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "all weights are 0",
                     canto_shards_create(&arena, CANTO_LAYOUT_UNEVEN, 2, 1, bounds, zeros, &s));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "weight -1 of rank 1",
                     canto_shards_create(&arena, CANTO_LAYOUT_UNEVEN, 2, 1, bounds, negative, &s));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "uneven layout",
                     canto_shards_create(&arena, CANTO_LAYOUT_ZIGZAG, 2, 1, bounds, zeros, &s));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "0 ranks",
                     canto_shards_create(&arena, CANTO_LAYOUT_ZIGZAG, 0, 1, bounds, NULL, &s));
    canto_arena_destroy(&arena);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(canto_layout_name(CANTO_LAYOUT_ZIGZAG), "zigzag");
    assert_null(canto_layout_name(CANTO_LAYOUT_UNEVEN + 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_sequence),   cmocka_unit_test(test_several_sequences),
        cmocka_unit_test(test_zigzag_by_hand), cmocka_unit_test(test_digests),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("parallel.shard", tests, NULL, NULL);
}
