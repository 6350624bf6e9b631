// The attention slots of the cpu backend against the double reference, and their promises: merging
// in any order, rows without keys, causality to the bit, masked numbers never read, threads.
#include "runtime/device.h"
#include "tests/ref/softmax.h"
#include "tests/runtime/numbers.h"

#include "runtime/rng.h"

#include <math.h>

static const canto_device *device; // the cpu at the level under test

// A problem over positions [0, queries) x [0, keys), and everything computed about it.
typedef struct problem {
    canto_attention_shape shape;
    int64_t queries, keys;
    int64_t q_n, kv_n, o_n, rows; // numbers in q, kv, o, lse
    float *q, *kv, *dout;
    float *o, *lse, *delta, *dq, *dkv;
} problem;

static problem make(canto_attention_shape shape, int64_t queries, int64_t keys)
{
    problem p = {.shape = shape, .queries = queries, .keys = keys};
    p.rows = queries * shape.heads;
    p.q_n = p.rows * shape.key_dim;
    p.o_n = p.rows * shape.value_dim;
    p.kv_n = keys * canto_attention_kv_width(&shape);
    p.q = numbers_random("q", p.q_n);
    p.kv = numbers_random("kv", p.kv_n);
    p.dout = numbers_random("dout", p.o_n);
    p.o = numbers_zero(p.o_n);
    p.lse = numbers_zero(p.rows);
    p.delta = numbers_zero(p.rows);
    p.dq = numbers_zero(p.q_n);
    p.dkv = numbers_zero(p.kv_n);
    return p;
}

static void destroy(problem *p)
{
    float *all[] = {p->q, p->kv, p->dout, p->o, p->lse, p->delta, p->dq, p->dkv};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void clear_outputs(problem *p)
{
    memset(p->o, 0, (size_t)p->o_n * sizeof *p->o);
    for (int64_t i = 0; i < p->rows; i++) p->lse[i] = -INFINITY;
    memset(p->dq, 0, (size_t)p->q_n * sizeof *p->dq);
    memset(p->dkv, 0, (size_t)p->kv_n * sizeof *p->dkv);
}

// Forward of one rectangle into (o, lse), which are arrays of the whole problem.
static void forward_into(const problem *p, const canto_band *tile, float *o, float *lse)
{
    const int64_t row = tile->q0 * p->shape.heads;
    device->kernels->attention_forward(device, &p->shape, tile, p->q + row * p->shape.key_dim,
                                       p->kv + tile->k0 * canto_attention_kv_width(&p->shape),
                                       o + row * p->shape.value_dim, lse + row);
}

static void backward_of(problem *p, const canto_band *tile)
{
    const int64_t row = tile->q0 * p->shape.heads;
    const int64_t key = tile->k0 * canto_attention_kv_width(&p->shape);
    device->kernels->attention_backward(device, &p->shape, tile, p->q + row * p->shape.key_dim,
                                        p->kv + key, p->dout + row * p->shape.value_dim,
                                        p->lse + row, p->delta + row,
                                        p->dq + row * p->shape.key_dim, p->dkv + key);
}

static void run(problem *p, int bands_n, const canto_band *bands)
{
    clear_outputs(p);
    for (int i = 0; i < bands_n; i++) forward_into(p, &bands[i], p->o, p->lse);
    device->kernels->attention_delta(device, p->rows, p->shape.value_dim, p->dout, p->o, p->delta);
    for (int i = 0; i < bands_n; i++) backward_of(p, &bands[i]);
}

// lse of rows without keys must be -inf on both sides; then they count as 0.
static void check_lse(const problem *p, double *ref)
{
    float *lse = numbers_copy(p->rows, p->lse);
    for (int64_t i = 0; i < p->rows; i++) {
        assert_int_equal(ref[i] == -INFINITY, lse[i] == -INFINITY);
        if (ref[i] == -INFINITY) ref[i] = lse[i] = 0;
    }
    canto_test_close("lse", p->rows, lse, ref, canto_test_forward_tolerance(p->keys));
    free(lse);
}

static void check(const problem *p, int bands_n, const canto_band *bands)
{
    double *q = numbers_wide(p->q_n, p->q), *kv = numbers_wide(p->kv_n, p->kv);
    double *dout = numbers_wide(p->o_n, p->dout), *o = numbers_zero_wide(p->o_n);
    double *lse = numbers_zero_wide(p->rows), *dq = numbers_zero_wide(p->q_n);
    double *dkv = numbers_zero_wide(p->kv_n);
    canto_ref_softmax_forward(&p->shape, p->queries, p->keys, bands_n, bands, q, kv, o, lse);
    canto_ref_softmax_backward(&p->shape, p->queries, p->keys, bands_n, bands, q, kv, dout, dq,
                               dkv);
    canto_test_close("o", p->o_n, p->o, o, canto_test_forward_tolerance(p->keys));
    check_lse(p, lse);
    canto_test_close("dq", p->q_n, p->dq, dq, CANTO_TEST_GRADIENT);
    canto_test_close("dkv", p->kv_n, p->dkv, dkv, CANTO_TEST_GRADIENT);
    double *all[] = {q, kv, dout, o, lse, dq, dkv};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static void run_and_check(canto_attention_shape shape, int64_t queries, int64_t keys, int bands_n,
                          const canto_band *bands)
{
    problem p = make(shape, queries, keys);
    run(&p, bands_n, bands);
    check(&p, bands_n, bands);
    destroy(&p);
}

static const canto_attention_shape shapes[] = {
    {1, 1, 1, 1, 1, 1.0f},     {2, 2, 2, 16, 16, 0.25f},   {4, 2, 2, 5, 7, 0.4f},
    {8, 1, 1, 64, 64, 0.125f}, {6, 3, 2, 33, 17, 0.17f},   {4, 1, 4, 32, 8, 0.18f},
    {3, 3, 1, 65, 130, 0.12f}, {2, 1, 1, 256, 256, 0.06f}, {70, 1, 1, 3, 3, 0.6f},
    {128, 1, 2, 4, 4, 0.5f},   {12, 4, 6, 20, 12, -0.22f},
};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

static const int64_t sizes[][2] = {{1, 1},    {1, 257},  {7, 64},    {64, 64}, {63, 1},
                                   {65, 129}, {129, 63}, {257, 257}, {3, 403}};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

// Distances key - query: full, causal, window, two-sided, all in the future, empty.
static const int64_t distances[][2] = {
    {CANTO_BAND_MIN, CANTO_BAND_MAX},
    {CANTO_BAND_MIN, 0},
    {-17, 0},
    {-5, 9},
    {3, CANTO_BAND_MAX},
    {5, 4},
};
enum { DISTANCES = sizeof distances / sizeof distances[0] };

static void test_every_shape_size_and_band(void **state)
{
    (void)state;
    int64_t checked = 0;
    for (int s = 0; s < SHAPES; s++) {
        for (int n = 0; n < SIZES; n++) {
            int64_t pairs = sizes[n][0] * sizes[n][1] * shapes[s].heads;
            for (int d = 0; d < DISTANCES && pairs <= 70000; d++) {
                const canto_band band = {0,           sizes[n][0],     0,
                                         sizes[n][1], distances[d][0], distances[d][1]};
                run_and_check(shapes[s], sizes[n][0], sizes[n][1], 1, &band);
                checked++;
            }
        }
    }
    assert_true(checked > 300);
}

// Every number of tokens up to a little over a block, and around two: none falls between blocks.
static void test_every_length(void **state)
{
    (void)state;
    for (int64_t n = 1; n <= 131; n += n == 67 ? 58 : 1) {
        const canto_band band = {0, n, 0, n, CANTO_BAND_MIN, 0};
        run_and_check(shapes[2], n, n, 1, &band);
    }
}

static int64_t draw(uint64_t *at, int64_t n)
{
    return canto_rng_below(7, CANTO_RNG_TEST, (*at)++, n);
}

static void shuffle(uint64_t *at, int n, canto_band *bands)
{
    for (int i = n - 1; i > 0; i--) {
        int64_t j = draw(at, i + 1);
        canto_band kept = bands[i];
        bands[i] = bands[j];
        bands[j] = kept;
    }
}

enum { CUTS = 4, RECTANGLES = (CUTS + 1) * (CUTS + 1) };

// [0, n) cut at random places; cuts may coincide.
static void cut(uint64_t *at, int64_t n, int64_t ends[CUTS + 2])
{
    ends[0] = 0;
    ends[CUTS + 1] = n;
    for (int i = 1; i <= CUTS; i++) ends[i] = ends[i - 1] + draw(at, n - ends[i - 1] + 1);
}

// A band over n x n positions as rectangles in random order, some empty, most at an offset.
static void cut_band(uint64_t *at, int64_t n, int64_t lo, int64_t hi, canto_band *bands)
{
    int64_t rows[CUTS + 2], columns[CUTS + 2];
    cut(at, n, rows);
    cut(at, n, columns);
    for (int i = 0; i <= CUTS; i++) {
        for (int j = 0; j <= CUTS; j++)
            bands[i * (CUTS + 1) + j] = (canto_band){
                rows[i], rows[i + 1], columns[j], columns[j + 1], lo, hi,
            };
    }
    shuffle(at, RECTANGLES, bands);
}

static void test_rectangles_in_any_order(void **state)
{
    (void)state;
    const int64_t n = 150;
    uint64_t at = 0;
    for (int repeat = 0; repeat < 12; repeat++) {
        canto_band bands[RECTANGLES];
        const int64_t *distance = distances[repeat % 4];
        cut_band(&at, n, distance[0], distance[1], bands);
        run_and_check(shapes[repeat % 3 + 2], n, n, RECTANGLES, bands);
    }
}

// Each rectangle alone from the empty partial, then the partials merged in random order.
static void test_merges_in_any_order(void **state)
{
    (void)state;
    const int64_t n = 100;
    uint64_t at = 1000;
    problem p = make(shapes[2], n, n), part = make(shapes[2], n, n);
    for (int repeat = 0; repeat < 12; repeat++) {
        canto_band bands[RECTANGLES];
        const int64_t *distance = distances[repeat % 4];
        const canto_band whole = {0, n, 0, n, distance[0], distance[1]};
        cut_band(&at, n, distance[0], distance[1], bands);
        run(&p, 1, &whole);
        clear_outputs(&p);
        for (int i = 0; i < RECTANGLES; i++) {
            clear_outputs(&part);
            forward_into(&part, &bands[i], part.o, part.lse);
            device->kernels->attention_merge(device, p.rows, p.shape.value_dim, part.o, part.lse,
                                             p.o, p.lse);
        }
        memset(p.dq, 0, (size_t)p.q_n * sizeof *p.dq);
        memset(p.dkv, 0, (size_t)p.kv_n * sizeof *p.dkv);
        backward_of(&p, &whole);
        check(&p, 1, &whole);
    }
    destroy(&p);
    destroy(&part);
}

static void test_merge_with_the_empty_partial(void **state)
{
    (void)state;
    float o[] = {1, -2, 3, NAN}, other[] = {9, 9, 0.5f, -7};
    float lse[] = {0.25f, -INFINITY}, lse_other[] = {-INFINITY, 4};
    const float expected[] = {1, -2, 0.5f, -7}, expected_lse[] = {0.25f, 4};
    device->kernels->attention_merge(device, 2, 2, other, lse_other, o, lse);
    numbers_same("o", 4, o, expected);
    numbers_same("lse", 2, lse, expected_lse);
    const float empty[] = {-INFINITY, -INFINITY};
    memcpy(lse, empty, sizeof lse);
    device->kernels->attention_merge(device, 2, 2, other, empty, o, lse);
    numbers_same("o of two empty partials", 4, o, expected);
    numbers_same("lse of two empty partials", 2, lse, empty);
}

// Partials whose sums of exponentials no float can hold: lse from -300 to 300, either one larger.
static void test_merge_of_large_sums(void **state)
{
    (void)state;
    static const float pairs[][2] = {{100, 99},    {99, 100},   {300, 300},  {-300, -301},
                                     {-301, -300}, {300, -300}, {-300, 300}, {88.5f, 90}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const double a = pairs[i][0], b = pairs[i][1], top = fmax(a, b);
        const double sum = exp(a - top) + exp(b - top);
        const double expected[] = {(2 * exp(a - top) - 5 * exp(b - top)) / sum};
        const double expected_lse[] = {top + log(sum)};
        float o = 2, other = -5, lse = pairs[i][0], lse_other = pairs[i][1];
        device->kernels->attention_merge(device, 1, 1, &other, &lse_other, &o, &lse);
        canto_test_close("o", 1, &o, expected, 2e-6);
        canto_test_close("lse", 1, &lse, expected_lse, 2e-7);
    }
}

// Rows 0..9 and 90..99 have no keys in the band; nothing of them may change, whatever it is.
static void test_rows_without_keys(void **state)
{
    (void)state;
    const canto_band band = {0, 100, 20, 85, -10, 10};
    const int64_t first_n = 10, last = 95;
    problem p = make(shapes[2], 100, 100);
    canto_test_fill("o before", p.o_n, p.o);
    canto_test_fill("lse before", p.rows, p.lse);
    for (int h = 0; h < p.shape.heads; h++) p.lse[h] = -INFINITY;
    for (int c = 0; c < p.shape.value_dim; c++) p.o[c] = NAN;
    float *o = numbers_copy(p.o_n, p.o), *lse = numbers_copy(p.rows, p.lse);
    forward_into(&p, &(canto_band){0, 100, 20, 85, -10, 10}, p.o, p.lse);
    const int64_t heads = p.shape.heads, width = heads * p.shape.value_dim;
    numbers_same("first o", first_n * width, p.o, o);
    numbers_same("first lse", first_n * heads, p.lse, lse);
    numbers_same("last o", (100 - last) * width, p.o + last * width, o + last * width);
    numbers_same("last lse", (100 - last) * heads, p.lse + last * heads, lse + last * heads);
    assert_true(memcmp(p.o + 50 * width, o + 50 * width, sizeof *o) != 0);
    run(&p, 1, &band);
    float *zero = numbers_zero(p.q_n);
    numbers_same("first dq", first_n * heads * p.shape.key_dim, p.dq, zero);
    numbers_same("dkv outside", 20 * canto_attention_kv_width(&p.shape), p.dkv, zero);
    free(o);
    free(lse);
    free(zero);
    destroy(&p);
}

// A row whose final lse is -inf has no gradient, whatever its dout and delta are.
static void test_backward_skips_empty_rows(void **state)
{
    (void)state;
    const canto_band band = {0, 40, 0, 40, CANTO_BAND_MIN, 0};
    problem p = make(shapes[2], 40, 40);
    run(&p, 1, &band);
    const int64_t heads = p.shape.heads, dim = p.shape.value_dim;
    float *dkv = numbers_copy(p.kv_n, p.dkv);
    for (int64_t i = 30 * heads; i < 40 * heads; i++) p.lse[i] = -INFINITY;
    for (int64_t i = 30 * heads * dim; i < 40 * heads * dim; i++) p.dout[i] = NAN;
    memset(p.dq, 0, (size_t)p.q_n * sizeof *p.dq);
    memset(p.dkv, 0, (size_t)p.kv_n * sizeof *p.dkv);
    backward_of(&p, &band);
    float *zero = numbers_zero(p.q_n);
    numbers_same("dq", 10 * heads * p.shape.key_dim, p.dq + 30 * heads * p.shape.key_dim, zero);
    for (int64_t i = 0; i < p.kv_n; i++) assert_true(isfinite(p.dkv[i]));
    assert_true(memcmp(dkv, p.dkv, sizeof *dkv) != 0);
    free(zero);
    free(dkv);
    destroy(&p);
}

// Token t becomes NaN: what comes before it, forward and backward, must not notice. Under a window
// what comes after the window must not notice either.
static void check_poison(int64_t t, int64_t lo)
{
    const int64_t n = 140;
    const canto_band band = {0, n, 0, n, lo, 0};
    problem clean = make(shapes[2], n, n), poisoned = make(shapes[2], n, n);
    const int64_t o_width = clean.shape.heads * clean.shape.value_dim;
    const int64_t q_width = clean.shape.heads * clean.shape.key_dim;
    const int64_t kv_width = canto_attention_kv_width(&clean.shape);
    for (int64_t c = 0; c < kv_width; c++) poisoned.kv[t * kv_width + c] = NAN;
    for (int64_t c = 0; c < q_width; c++) poisoned.q[t * q_width + c] = NAN;
    run(&clean, 1, &band);
    run(&poisoned, 1, &band);
    numbers_same("o before", t * o_width, poisoned.o, clean.o);
    numbers_same("lse before", t * clean.shape.heads, poisoned.lse, clean.lse);
    numbers_same("dq before", t * q_width, poisoned.dq, clean.dq);
    assert_true(isnan(poisoned.o[t * o_width]));
    int64_t after = lo == CANTO_BAND_MIN ? n : t - lo + 1; // the first row that cannot see t
    after = after < n ? after : n;
    numbers_same("o after", (n - after) * o_width, poisoned.o + after * o_width,
                 clean.o + after * o_width);
    numbers_same("dq after", (n - after) * q_width, poisoned.dq + after * q_width,
                 clean.dq + after * q_width);
    numbers_same("dkv after", (n - after) * kv_width, poisoned.dkv + after * kv_width,
                 clean.dkv + after * kv_width);
    destroy(&clean);
    destroy(&poisoned);
}

static void test_masked_numbers_are_not_read(void **state)
{
    (void)state;
    for (int64_t t = 0; t < 140; t += 3) check_poison(t, t % 2 ? CANTO_BAND_MIN : -20);
}

// Changing token t leaves earlier outputs bit-equal and does change its own.
static void test_causality(void **state)
{
    (void)state;
    const int64_t n = 130, changed[] = {0, 1, 15, 16, 63, 64, 65, 128, 129};
    const canto_band band = {0, n, 0, n, CANTO_BAND_MIN, 0};
    for (size_t i = 0; i < sizeof changed / sizeof changed[0]; i++) {
        const int64_t t = changed[i];
        problem p = make(shapes[1], n, n);
        run(&p, 1, &band);
        float *o = numbers_copy(p.o_n, p.o);
        const int64_t width = p.shape.heads * p.shape.value_dim;
        p.kv[t * canto_attention_kv_width(&p.shape)] += 3;
        p.kv[(t + 1) * canto_attention_kv_width(&p.shape) - 1] += 3;
        run(&p, 1, &band);
        numbers_same("earlier outputs", t * width, p.o, o);
        assert_true(memcmp(p.o + t * width, o + t * width, (size_t)width * sizeof *o) != 0);
        free(o);
        destroy(&p);
    }
}

// Scores of +-1e4 and beyond: no overflow, no NaN.
static void test_large_scores(void **state)
{
    (void)state;
    const canto_band band = {0, 70, 0, 70, CANTO_BAND_MIN, 0};
    problem p = make(shapes[1], 70, 70);
    for (int64_t i = 0; i < p.q_n; i++) p.q[i] *= 1e4f;
    run(&p, 1, &band);
    for (int64_t i = 0; i < p.o_n; i++) assert_true(isfinite(p.o[i]) && fabsf(p.o[i]) < 6);
    for (int64_t i = 0; i < p.kv_n; i++) assert_true(isfinite(p.dkv[i]));
    destroy(&p);
}

// Repeated, because threads that should not share a sum lose one only when they meet.
static void test_threads(void **state)
{
    (void)state;
    const canto_band band = {0, 200, 0, 200, -90, 0};
    problem one = make(shapes[4], 200, 200), two = make(shapes[4], 200, 200);
    numbers_set_threads(1);
    run(&one, 1, &band);
    for (int repeat = 0; repeat < 10; repeat++) {
        numbers_set_threads(2);
        run(&two, 1, &band);
        numbers_set_threads(1);
        numbers_same("o", one.o_n, two.o, one.o);
        numbers_same("lse", one.rows, two.lse, one.lse);
        numbers_same("dq", one.q_n, two.dq, one.dq);
        numbers_same("dkv", one.kv_n, two.dkv, one.dkv);
    }
    destroy(&one);
    destroy(&two);
}

static void test_backward_accumulates(void **state)
{
    (void)state;
    const canto_band band = {0, 50, 0, 50, CANTO_BAND_MIN, 0};
    problem p = make(shapes[2], 50, 50);
    run(&p, 1, &band);
    double *dq = numbers_wide(p.q_n, p.dq), *dkv = numbers_wide(p.kv_n, p.dkv);
    backward_of(&p, &band);
    for (int64_t i = 0; i < p.q_n; i++) dq[i] *= 2;
    for (int64_t i = 0; i < p.kv_n; i++) dkv[i] *= 2;
    canto_test_close("twice dq", p.q_n, p.dq, dq, 1e-6);
    canto_test_close("twice dkv", p.kv_n, p.dkv, dkv, 1e-6);
    free(dq);
    free(dkv);
    destroy(&p);
}

// No queries, or no keys: nothing is read and nothing is written.
static void test_nothing(void **state)
{
    (void)state;
    const canto_band no_rows = {5, 5, 0, 9, CANTO_BAND_MIN, 0};
    const canto_band no_keys = {0, 1, 3, 3, CANTO_BAND_MIN, CANTO_BAND_MAX};
    float o = 7, lse = -INFINITY;
    device->kernels->attention_forward(device, &shapes[0], &no_rows, NULL, NULL, NULL, NULL);
    device->kernels->attention_backward(device, &shapes[0], &no_rows, NULL, NULL, NULL, NULL, NULL,
                                        NULL, NULL);
    device->kernels->attention_forward(device, &shapes[0], &no_keys, NULL, NULL, &o, &lse);
    device->kernels->attention_merge(device, 0, 4, NULL, NULL, NULL, NULL);
    device->kernels->attention_delta(device, 0, 4, NULL, NULL, NULL);
    assert_true(o == 7 && lse == -INFINITY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_shape_size_and_band),
        cmocka_unit_test(test_every_length),
        cmocka_unit_test(test_rectangles_in_any_order),
        cmocka_unit_test(test_merges_in_any_order),
        cmocka_unit_test(test_merge_with_the_empty_partial),
        cmocka_unit_test(test_merge_of_large_sums),
        cmocka_unit_test(test_rows_without_keys),
        cmocka_unit_test(test_backward_skips_empty_rows),
        cmocka_unit_test(test_masked_numbers_are_not_read),
        cmocka_unit_test(test_causality),
        cmocka_unit_test(test_large_scores),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_backward_accumulates),
        cmocka_unit_test(test_nothing),
    };
    numbers_set_threads(1); // idle threads would spin on cores that other tests need
    return CANTO_TEST_AT_LEVELS(tests, &device);
}
