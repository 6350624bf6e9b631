// The n-gram models against counting done the slow way, and against a case worked out by hand.
#include "launch/ngram.h"
#include "runtime/rng.h"
#include "tests/canto_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER = 3 };

static void make_text(uint8_t *text, int64_t n, int letters, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        // Squaring makes low letters frequent and leaves high ones rare or unseen.
        double u = canto_rng_uniform(seed, CANTO_RNG_TEST, (uint64_t)i);
        text[i] = (uint8_t)(u * u * letters);
    }
}

// p of text[at] after the `order` bytes before it, from counts in text[0, n).
static double slow_probability(const uint8_t *text, int64_t n, int64_t at, int order)
{
    if (order < 0) return 1.0 / 256;
    double lower = slow_probability(text, n, at, order - 1);
    int64_t after[256] = {0}, total = 0, distinct = 0;
    for (int64_t i = order; i < n && order <= at; i++) {
        if (memcmp(text + i - order, text + at - order, (size_t)order) == 0) after[text[i]]++;
    }
    for (int b = 0; b < 256; b++) {
        total += after[b];
        distinct += after[b] > 0;
    }
    if (total == 0) return lower;
    return ((double)after[text[at]] + (double)distinct * lower) / (double)(total + distinct);
}

static void compare(const uint8_t *text, int64_t n, int64_t m)
{
    double bits[CANTO_NGRAM_ORDER_MAX + 1];
    CANTO_TEST_OK(canto_ngram_bits(ORDER, text, n, text + n, m, bits));
    for (int order = 0; order <= ORDER; order++) {
        double sum = 0;
        for (int64_t at = n; at < n + m; at++) sum -= log2(slow_probability(text, n, at, order));
        assert_true(fabs(bits[order] - sum / (double)m) < 1e-12 * (1 + sum));
    }
}

static void agrees_with_slow_counting(void **state)
{
    (void)state;
    uint8_t text[1200];
    static const int letters[] = {1, 2, 5, 40, 256};
    for (int i = 0; i < 5; i++) {
        make_text(text, sizeof text, letters[i], (uint64_t)i);
        compare(text, 1000, 200);
        compare(text, 1, 30); // contexts that reach before the text
        compare(text, 2, 1);
    }
}

// "aba", then "b".
// Order 0: 3 bytes seen, 2 of them different, 1 is b: (1 + 2/256) / 5 = 129/640.
// Order 1: after a, b was seen once: (1 + 1 * 129/640) / 2 = 769/1280. Order 2: "ba" was never
// followed by anything, so order 1 stands.
static void agrees_with_a_case_worked_out_by_hand(void **state)
{
    (void)state;
    double bits[CANTO_NGRAM_ORDER_MAX + 1];
    const uint8_t *text = (const uint8_t *)"abab";
    CANTO_TEST_OK(canto_ngram_bits(2, text, 3, text + 3, 1, bits));
    assert_true(fabs(bits[0] + log2(129.0 / 640)) < 1e-14);
    assert_true(fabs(bits[1] + log2(769.0 / 1280)) < 1e-14);
    assert_true(bits[2] == bits[1]);
}

static void probabilities_of_all_next_bytes_add_up_to_one(void **state)
{
    (void)state;
    uint8_t text[301];
    make_text(text, sizeof text, 6, 9);
    double sum[CANTO_NGRAM_ORDER_MAX + 1] = {0}, bits[CANTO_NGRAM_ORDER_MAX + 1];
    for (int b = 0; b < 256; b++) {
        text[300] = (uint8_t)b;
        CANTO_TEST_OK(canto_ngram_bits(CANTO_NGRAM_ORDER_MAX, text, 300, text + 300, 1, bits));
        for (int k = 0; k <= CANTO_NGRAM_ORDER_MAX; k++) sum[k] += exp2(-bits[k]);
    }
    for (int k = 0; k <= CANTO_NGRAM_ORDER_MAX; k++) assert_true(fabs(sum[k] - 1) < 1e-12);
}

// Far more contexts than the first table holds: growing loses none of them.
static void a_text_with_many_contexts(void **state)
{
    (void)state;
    enum { N = 60000 };
    uint8_t *text = malloc(N + 40);
    assert_non_null(text);
    make_text(text, N + 40, 200, 3);
    compare(text, N, 40);
    free(text);
}

static void refusals(void **state)
{
    (void)state;
    double bits[CANTO_NGRAM_ORDER_MAX + 1];
    const uint8_t *text = (const uint8_t *)"abcdef";
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "order 7 is not in 0..6",
                     canto_ngram_bits(7, text, 3, text + 3, 1, bits));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "order -1",
                     canto_ngram_bits(-1, text, 3, text + 3, 1, bits));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "must follow",
                     canto_ngram_bits(1, text, 3, text + 2, 1, bits));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "empty",
                     canto_ngram_bits(1, text, 3, text + 3, 0, bits));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "empty", canto_ngram_bits(1, text, 0, text, 3, bits));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_slow_counting),
        cmocka_unit_test(agrees_with_a_case_worked_out_by_hand),
        cmocka_unit_test(probabilities_of_all_next_bytes_add_up_to_one),
        cmocka_unit_test(a_text_with_many_contexts),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
