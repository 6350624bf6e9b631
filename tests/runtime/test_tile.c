// The building blocks of the attention kernels: tile products against plain loops, for every size
// around a register block; ranges that keep NaN out; the inlined exponential.
#include "tests/runtime/numbers.h"

#include "runtime/cpu/exp.h"
#include "runtime/cpu/tile.h"

#include <math.h>

enum { MOST = 80, LD = 96 }; // LD: padded columns

typedef struct tiles {
    float *a, *b, *c;
    double *wide_a, *wide_b, *ref;
} tiles;

static tiles make(void)
{
    tiles t = {.a = numbers_random("a", MOST * LD), .b = numbers_random("b", MOST * LD)};
    t.c = numbers_zero(MOST * LD);
    t.wide_a = numbers_wide(MOST * LD, t.a);
    t.wide_b = numbers_wide(MOST * LD, t.b);
    t.ref = numbers_zero_wide(MOST * LD);
    return t;
}

static void destroy(tiles *t)
{
    float *floats[] = {t->a, t->b, t->c};
    double *doubles[] = {t->wide_a, t->wide_b, t->ref};
    for (int i = 0; i < 3; i++) free(floats[i]);
    for (int i = 0; i < 3; i++) free(doubles[i]);
}

// Row i sums over k in [begin, end); `transposed`: a(i, k) is a[k * LD + i].
static void reference_row(tiles *t, int i, int columns, int begin, int end, bool transposed)
{
    for (int j = 0; j < columns; j++) {
        double sum = 0;
        for (int k = begin; k < end; k++)
            sum += t->wide_a[transposed ? k * LD + i : i * LD + k] * t->wide_b[k * LD + j];
        t->ref[i * LD + j] += sum;
    }
}

static void compare_rows(const tiles *t, int rows, int columns)
{
    // Sums of up to 160 products, of size up to 50; absolute, because one may come out near 0.
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++)
            assert_true(fabs(t->c[i * LD + j] - t->ref[i * LD + j]) < 5e-5);
    }
    for (int i = rows * LD; i < MOST * LD; i++) assert_true(t->c[i] == 0);
}

static void check_product(int rows, int columns, int depth, bool transposed)
{
    tiles t = make();
    const canto_tile_factor a = {t.a, transposed ? 1 : LD, transposed ? LD : 1};
    canto_tile_product(rows, columns, depth, a, t.b, LD, false, t.c, LD);
    for (int i = 0; i < rows; i++) reference_row(&t, i, columns, 0, depth, transposed);
    compare_rows(&t, rows, columns);
    canto_tile_product(rows, columns, depth, a, t.b, LD, true, t.c, LD);
    for (int i = 0; i < rows; i++) reference_row(&t, i, columns, 0, depth, transposed);
    compare_rows(&t, rows, columns);
    destroy(&t);
}

static void test_products(void **state)
{
    (void)state;
    const int columns[] = {1, 15, 16, 17, 33, 48, 64, 80}, depths[] = {0, 1, 7, 64};
    for (int rows = 1; rows <= 9; rows++) {
        for (int c = 0; c < 8; c++) {
            for (int d = 0; d < 4; d++)
                check_product(rows, columns[c], depths[d], (rows + c + d) % 2 == 0);
        }
    }
    check_product(MOST, MOST, MOST, false);
}

// Everything outside a row's range is NaN, on both sides of the product.
static void test_banded_products(void **state)
{
    (void)state;
    enum { ROWS = 23, DEPTH = 40 };
    for (int width = 0; width < 12; width++) {
        tiles t = make();
        int begin[ROWS], end[ROWS];
        for (int i = 0; i < ROWS; i++) {
            begin[i] = i % 5 == 4 ? 0 : i;
            end[i] = i % 5 == 4 ? 0 : i + width; // some rows are empty
            for (int k = 0; k < LD; k++) {
                if (k < begin[i] || k >= end[i]) t.a[i * LD + k] = NAN;
            }
            reference_row(&t, i, 33, begin[i], end[i], false);
        }
        for (int k = ROWS + width; k < MOST; k++) t.b[k * LD] = NAN;
        canto_tile_band_product(ROWS, 33, (canto_tile_ranges){begin, end},
                                (canto_tile_factor){t.a, LD, 1}, t.b, LD, t.c, LD);
        compare_rows(&t, ROWS, 33);
        destroy(&t);
    }
}

static void test_copies(void **state)
{
    (void)state;
    tiles t = make();
    memset(t.c, 0xff, sizeof *t.c * MOST * LD);
    canto_tile_copy(3, 5, t.a, 7, t.c, 16);
    assert_true(t.c[16 + 4] == t.a[7 + 4] && t.c[16 + 5] == 0 && t.c[47] == 0 && isnan(t.c[48]));
    canto_tile_transpose(3, 5, 2, t.a, 7, t.c, 16);
    assert_true(t.c[4 * 16 + 1] == 2 * t.a[7 + 4] && isnan(t.c[4 * 16 + 3]));
    canto_tile_store(2, 5, t.b, 16, t.a, 7);
    assert_true(t.a[7 + 4] == t.b[16 + 4] && t.a[5] == (float)t.wide_a[5]);
    canto_tile_add(2, 5, 3, t.b, 16, t.a, 7);
    assert_true(t.a[7 + 4] == t.b[16 + 4] + 3 * t.b[16 + 4] && t.a[5] == (float)t.wide_a[5]);
    destroy(&t);
}

static void test_exponential(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = 0; i <= 2000000; i++) {
        const float x = -126.0f + 253.0f * (float)i / 2000000.0f;
        const double expected = exp2((double)x);
        worst = fmax(worst, fabs((double)canto_cpu_exp2(x) - expected) / expected);
    }
    if (!(worst <= 2e-7)) fail_msg("relative error %.3g", worst);
    assert_true(canto_cpu_exp2(0) == 1 && canto_cpu_exp2(-1) == 0.5f);
    assert_true(canto_cpu_exp2(-126.5f) == 0 && canto_cpu_exp2(-INFINITY) == 0);
    assert_true(canto_cpu_exp2(INFINITY) == 0x1p127f && isnan(canto_cpu_exp2(NAN)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_banded_products),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_exponential),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
