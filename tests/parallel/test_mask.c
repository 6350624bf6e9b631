// Masks: the bands allow exactly the pairs that their definition says, pair by pair.
#include "tests/canto_test.h"

#include "parallel/mask.h"
#include "tests/parallel/world.h"

#include <string.h>

enum { N = 48 };

typedef struct fixture {
    canto_arena arena;
    canto_mask mask;
} fixture;

static void open_mask(fixture *f, int capacity)
{
    CANTO_TEST_OK(canto_arena_create(&f->arena, 1 << 16));
    CANTO_TEST_OK(canto_mask_create(&f->arena, capacity, &f->mask));
}

static int document_of(const canto_documents *documents, int64_t position)
{
    int i = 0;
    while (documents->starts[i + 1] <= position) i++;
    return i;
}

static bool expected(const canto_documents *documents, int64_t left, int64_t right, int64_t q,
                     int64_t k)
{
    if (document_of(documents, q) != document_of(documents, k)) return false;
    if (left != CANTO_UNLIMITED && k < q - left) return false;
    return right == CANTO_UNLIMITED || k <= q + right;
}

static void check_pairs(const canto_mask *mask, const canto_documents *documents, int64_t left,
                        int64_t right)
{
    int64_t area = 0;
    for (int64_t q = 0; q < mask->length; q++) {
        for (int64_t k = 0; k < mask->length; k++) {
            bool allowed = expected(documents, left, right, q, k);
            assert_int_equal(canto_mask_allows(mask, q, k), allowed);
            area += allowed;
        }
    }
    assert_int_equal(canto_mask_area(mask), area);
}

static void test_documents_and_windows(void **state)
{
    (void)state;
    static const int64_t windows[][2] = {{CANTO_UNLIMITED, CANTO_UNLIMITED},
                                         {CANTO_UNLIMITED, 0},
                                         {0, 0},
                                         {4, 0},
                                         {3, 5},
                                         {CANTO_UNLIMITED, 2},
                                         {0, CANTO_UNLIMITED},
                                         {100, 0}};
    dice d = {.seed = 21};
    fixture f;
    open_mask(&f, N);
    for (int64_t length = 0; length <= N; length += 1 + length / 7) {
        for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
            for (int n_max = 1; n_max <= N; n_max = n_max * 3 + 1) {
                int64_t starts[N + 1];
                canto_documents documents = {roll_documents(&d, length, n_max, starts), starts};
                CANTO_TEST_OK(canto_mask_set(&f.mask, &documents, windows[i][0], windows[i][1]));
                assert_int_equal(f.mask.length, length);
                check_pairs(&f.mask, &documents, windows[i][0], windows[i][1]);
            }
        }
    }
    canto_arena_destroy(&f.arena);
}

static bool band_allows(const canto_band *b, int64_t q, int64_t k)
{
    return b->q0 <= q && q < b->q1 && b->k0 <= k && k < b->k1 && b->lo <= k - q && k - q <= b->hi;
}

static canto_band roll_band(dice *d, int64_t n)
{
    canto_band b = {.lo = CANTO_BAND_MIN, .hi = CANTO_BAND_MAX};
    b.q0 = roll(d, n);
    b.q1 = roll_between(d, b.q0, n);
    b.k0 = roll(d, n);
    b.k1 = roll_between(d, b.k0, n);
    if (roll(d, 2)) b.lo = roll_between(d, -n, n);
    if (roll(d, 2)) b.hi = roll_between(d, -n, n);
    return b;
}

// Clip against every pair: the same pairs remain, and each row and column left holds one.
static void check_clip(const canto_band *band, const canto_band *window, int64_t n)
{
    canto_band out;
    int64_t area = 0;
    int rows[20] = {0}, columns[20] = {0};
    bool any = canto_band_clip(band, window->q0, window->q1, window->k0, window->k1, &out);
    for (int64_t q = 0; q < n; q++) {
        for (int64_t k = 0; k < n; k++) {
            bool inside = window->q0 <= q && q < window->q1 && window->k0 <= k && k < window->k1;
            bool allowed = inside && band_allows(band, q, k);
            assert_int_equal(any && band_allows(&out, q, k), allowed);
            rows[q] += allowed;
            columns[k] += allowed;
            area += allowed;
        }
    }
    assert_int_equal(any, area > 0);
    if (!any) return;
    assert_int_equal(canto_band_area(&out), area);
    for (int64_t q = out.q0; q < out.q1; q++) assert_true(rows[q] > 0);
    for (int64_t k = out.k0; k < out.k1; k++) assert_true(columns[k] > 0);
}

static void test_clip_and_area(void **state)
{
    (void)state;
    dice d = {.seed = 22};
    for (int trial = 0; trial < 5000; trial++) {
        int64_t n = 1 + roll(&d, 16);
        canto_band band = roll_band(&d, n);
        canto_band window = roll_band(&d, n);
        check_clip(&band, &window, n);
        int64_t area = 0;
        for (int64_t q = 0; q < n; q++) {
            for (int64_t k = 0; k < n; k++) area += band_allows(&band, q, k);
        }
        assert_int_equal(canto_band_area(&band), area);
    }
    canto_band large = {0, (int64_t)1 << 30, 0, (int64_t)1 << 30, CANTO_BAND_MIN, 0};
    assert_true(canto_band_area(&large) == ((int64_t)1 << 59) + ((int64_t)1 << 29));
}

// Random lists of rectangles: refused exactly when two share a pair, else their union.
static void test_any_bands(void **state)
{
    (void)state;
    dice d = {.seed = 23};
    fixture f;
    int accepted = 0, refused = 0;
    open_mask(&f, 4);
    for (int trial = 0; trial < 10000; trial++) {
        int64_t n = 1 + roll(&d, 12);
        int bands_n = 1 + (int)roll(&d, 4), most = 0;
        int counts[12][12] = {{0}};
        canto_band bands[4];
        for (int i = 0; i < bands_n; i++) bands[i] = roll_band(&d, n);
        for (int64_t q = 0; q < n; q++) {
            for (int64_t k = 0; k < n; k++) {
                for (int i = 0; i < bands_n; i++) counts[q][k] += band_allows(&bands[i], q, k);
                if (counts[q][k] > most) most = counts[q][k];
            }
        }
        if (most > 1) {
            refused++;
            CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "overlaps that of queries",
                             canto_mask_set_bands(&f.mask, n, bands_n, bands));
            continue;
        }
        accepted++;
        CANTO_TEST_OK(canto_mask_set_bands(&f.mask, n, bands_n, bands));
        for (int64_t q = 0; q < n; q++) {
            for (int64_t k = 0; k < n; k++) {
                assert_int_equal(canto_mask_allows(&f.mask, q, k), counts[q][k]);
            }
        }
    }
    assert_in_range(accepted, 500, 9500); // both verdicts are common
    canto_arena_destroy(&f.arena);
}

static void test_refusals(void **state)
{
    (void)state;
    fixture f;
    open_mask(&f, 2);
    canto_documents four = {4, (int64_t[]){0, 1, 2, 3, 4}};
    canto_documents empty = {2, (int64_t[]){0, 3, 3}};
    canto_documents late = {1, (int64_t[]){1, 3}};
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "4 documents, but there is room for 2",
                     canto_mask_set(&f.mask, &four, 0, 0));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "document 1 of 2 is empty",
                     canto_mask_set(&f.mask, &empty, 0, 0));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "begins at 1", canto_mask_set(&f.mask, &late, 0, 0));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "negative side", canto_mask_set(&f.mask, &late, -2, 0));
    canto_band outside = {0, 4, 0, 5, 0, 0};
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "leaves the 4 positions",
                     canto_mask_set_bands(&f.mask, 4, 1, &outside));
    canto_arena_destroy(&f.arena);
}

static void test_digest(void **state)
{
    (void)state;
    fixture f;
    open_mask(&f, 2);
    canto_band a[2] = {{0, 4, 0, 2, -9, 9}, {0, 4, 2, 4, -9, 9}};
    canto_band b[2] = {a[1], a[0]};
    CANTO_TEST_OK(canto_mask_set_bands(&f.mask, 4, 2, a));
    uint64_t digest = canto_mask_digest(&f.mask);
    CANTO_TEST_OK(canto_mask_set_bands(&f.mask, 4, 2, b));
    assert_true(digest == canto_mask_digest(&f.mask)); // the order of the list does not matter
    CANTO_TEST_OK(canto_mask_set_bands(&f.mask, 4, 1, a));
    assert_true(digest != canto_mask_digest(&f.mask));
    canto_arena_destroy(&f.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_documents_and_windows),
        cmocka_unit_test(test_clip_and_area),
        cmocka_unit_test(test_any_bands),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests_name("parallel.mask", tests, NULL, NULL);
}
