// Draws from logits: what is likeliest, what top-k cuts, how often each token comes, and that a
// draw is a function of (seed, index).
#include "launch/sample.h"
#include "tests/canto_test.h"

#include <math.h>
#include <string.h>

enum { VOCAB = 7, DRAWS = 20000 };

// The first two are equal, and so are the last two.
static const float logits[VOCAB] = {1.5f, 1.5f, -2, 3, 0, 0.25f, 0.25f};

static int32_t draw(double temperature, int top_k, uint64_t seed, uint64_t index)
{
    canto_choice choices[VOCAB];
    canto_sampling how = {.temperature = temperature, .top_k = top_k, .seed = seed};
    return canto_sample(&how, index, VOCAB, logits, choices);
}

static void temperature_0_takes_the_likeliest(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(draw(0, 0, 1, i), 3);
        assert_int_equal(draw(0, 5, i, 0), 3);
    }
}

static void temperature_0_takes_the_lowest_of_equals(void **state)
{
    (void)state;
    canto_choice choices[VOCAB];
    const float equal[VOCAB] = {-1, 2, 2, 0, 2, -5, 1};
    canto_sampling how = {.temperature = 0};
    assert_int_equal(canto_sample(&how, 0, VOCAB, equal, choices), 1);
}

// Counts of 20,000 draws lie within 5 standard deviations of what the logits say.
static void check_distribution(double temperature, int top_k, const bool *allowed)
{
    double weight[VOCAB], total = 0;
    int count[VOCAB] = {0};
    for (int i = 0; i < VOCAB; i++) {
        weight[i] = allowed[i] ? exp(logits[i] / temperature) : 0;
        total += weight[i];
    }
    for (uint64_t i = 0; i < DRAWS; i++) count[draw(temperature, top_k, 11, i)]++;
    for (int i = 0; i < VOCAB; i++) {
        double p = weight[i] / total;
        double deviation = sqrt(DRAWS * p * (1 - p));
        assert_true(fabs(count[i] - DRAWS * p) <= 5 * deviation);
    }
}

static void tokens_come_as_often_as_their_logits_say(void **state)
{
    (void)state;
    const bool all[VOCAB] = {true, true, true, true, true, true, true};
    check_distribution(1, 0, all);
    check_distribution(0.5, VOCAB, all);
    check_distribution(4, 100, all);
}

// Of equal logits the lower token is kept.
static void top_k_cuts_the_rest(void **state)
{
    (void)state;
    const bool first[VOCAB] = {[3] = true};
    const bool two[VOCAB] = {[0] = true, [3] = true};
    const bool four[VOCAB] = {[0] = true, [1] = true, [3] = true, [5] = true};
    check_distribution(1, 1, first);
    check_distribution(2, 2, two);
    check_distribution(2, 4, four);
}

static void a_tiny_temperature_overflows_nothing(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 20; i++) assert_int_equal(draw(1e-300, 0, 1, i), 3);
}

static void a_draw_is_a_function_of_seed_and_index(void **state)
{
    (void)state;
    int other_seed = 0, other_index = 0;
    for (uint64_t i = 0; i < 200; i++) {
        assert_int_equal(draw(2, 0, 5, i), draw(2, 0, 5, i));
        other_seed += draw(2, 0, 5, i) != draw(2, 0, 6, i);
        other_index += draw(2, 0, 5, i) != draw(2, 0, 5, i + 1);
    }
    assert_in_range(other_seed, 80, 199);
    assert_in_range(other_index, 80, 199);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temperature_0_takes_the_likeliest),
        cmocka_unit_test(temperature_0_takes_the_lowest_of_equals),
        cmocka_unit_test(tokens_come_as_often_as_their_logits_say),
        cmocka_unit_test(top_k_cuts_the_rest),
        cmocka_unit_test(a_tiny_temperature_overflows_nothing),
        cmocka_unit_test(a_draw_is_a_function_of_seed_and_index),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
