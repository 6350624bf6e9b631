// The building blocks of the attention kernels at every level: products and scores against plain
// loops for every size around a register block, ranges that keep NaN out, packing of fp32 and bf16,
// the inlined power of two.
#include "tests/runtime/numbers.h"

#include "runtime/cpu/tiles.h"
#include "runtime/cpu_levels.h"

#include <math.h>

enum { MOST = 104, LD = 112 };

static const canto_cpu_tiles *tiles;

static void *aligned(int64_t n)
{
    float *x = aligned_alloc(64, (size_t)(n * 4 + 63) / 64 * 64);
    assert_non_null(x);
    memset(x, 0, (size_t)n * sizeof *x);
    return x;
}

// --- products ---

typedef struct product_case {
    int rows, columns, depth, second; // second: depth of the second term
    bool transposed, scaled, banded, single, padded;
    int part; // of the left factor; 0: one
    float keep;
} product_case;

// What begin and end are for row i under a banded case: they move up, by the strip or by the row.
static int low_of(const product_case *it, int i)
{
    const int strip = it->single ? i : i / tiles->rows;
    return it->banded ? strip % (it->depth + 1) : 0;
}

static int high_of(const product_case *it, int i)
{
    const int strip = it->single ? i : i / tiles->rows;
    const int high = it->depth - (it->banded && it->depth > 1 ? strip % 2 : 0);
    return high > low_of(it, i) ? high : low_of(it, i);
}

typedef struct factors {
    float *a, *a2, *b, *b2, *scale, *c, *packed, *packed2;
    double *ref;
    int begin[MOST], end[MOST];
} factors;

static factors make(void)
{
    factors f = {.a = numbers_random("a", MOST * LD), .a2 = numbers_random("a2", MOST * LD)};
    f.b = numbers_random("b", MOST * LD);
    f.b2 = numbers_random("b2", MOST * LD);
    f.scale = numbers_random("scale", MOST);
    f.c = numbers_random("c", MOST * LD);
    f.packed = aligned(MOST * LD);
    f.packed2 = aligned(MOST * LD);
    f.ref = numbers_zero_wide(MOST * LD);
    return f;
}

static void destroy(factors *f)
{
    float *floats[] = {f->a, f->a2, f->b, f->b2, f->scale, f->c, f->packed, f->packed2};
    for (int i = 0; i < 8; i++) free(floats[i]);
    free(f->ref);
}

// Element (i, k) of the left factor.
static int at_of(const product_case *it, int i, int k)
{
    if (it->part) return k / it->part * MOST * it->part + i * it->part + k % it->part;
    return it->transposed ? k * LD + i : i * LD + k;
}

static void reference(const product_case *it, const factors *f)
{
    for (int i = 0; i < it->rows; i++) {
        for (int j = 0; j < it->columns; j++) {
            double first = 0, second = 0;
            for (int k = low_of(it, i); k < high_of(it, i); k++)
                first += (double)f->a[at_of(it, i, k)] * f->b[k * LD + j];
            for (int k = 0; k < it->second; k++)
                second += (double)f->a2[i * LD + k] * f->b2[k * LD + j];
            f->ref[i * LD + j] = (it->keep != 0 ? (double)it->keep * f->c[i * LD + j] : 0) +
                                 (it->scaled ? (double)f->scale[i] : 1) * first + second;
        }
    }
}

static canto_rows block_of(const float *x, int rows, int columns)
{
    return (canto_rows){.x = x, .dtype = CANTO_F32, .stride = LD, .n = rows, .columns = columns};
}

static canto_product_of describe(const product_case *it, factors *f)
{
    const int64_t panel = (int64_t)MOST * tiles->columns;
    const canto_rows b = block_of(f->b, it->depth, it->columns);
    const canto_rows b2 = block_of(f->b2, it->second, it->columns);
    tiles->pack_panels(&b, NULL, f->packed, panel);
    tiles->pack_panels(&b2, NULL, f->packed2, panel);
    const int strip = it->single ? 1 : tiles->rows;
    for (int i = 0; i < it->rows; i += strip) {
        f->begin[i / strip] = low_of(it, i);
        f->end[i / strip] = high_of(it, i);
    }
    canto_product_of p = {.rows = it->rows, .columns = it->columns, .keep = it->keep};
    p.first = (canto_term){.a = f->a, .b = f->packed, .panel = panel, .depth = it->depth};
    p.first.row = it->part ? it->part : it->transposed ? 1 : LD;
    p.first.column = !it->part && it->transposed ? LD : 1;
    p.first.part = it->part;
    p.first.part_at = (int64_t)MOST * it->part;
    p.first.begin = it->banded ? f->begin : NULL;
    p.first.end = it->banded ? f->end : NULL;
    p.second = (canto_term){f->a2, LD, 1, 0, 0, f->packed2, panel, it->second, NULL, NULL};
    p.scale = it->scaled ? f->scale : NULL;
    p.c = f->c;
    p.c_row = LD;
    p.c_panel = tiles->columns;
    p.single = it->single;
    p.padded = it->padded;
    return p;
}

static void check_product(const product_case *it)
{
    factors f = make();
    float *before = numbers_copy(MOST * LD, f.c);
    const canto_product_of p = describe(it, &f);
    reference(it, &f);
    tiles->product(&p);
    // Sums of up to 200 products, of size up to 60; absolute, because one may come out near 0.
    for (int i = 0; i < MOST; i++) {
        const int room = (it->columns + tiles->columns - 1) / tiles->columns * tiles->columns;
        for (int j = 0; j < LD; j++) {
            const int at = i * LD + j;
            if (i < it->rows && j < it->columns)
                assert_true(fabs(f.c[at] - f.ref[at]) < 1e-4);
            else if (i >= it->rows || !it->padded || j >= room)
                assert_true(f.c[at] == before[at]);
        }
    }
    free(before);
    destroy(&f);
}

static void products_of_every_size(void **state)
{
    (void)state;
    const int columns[] = {1, 3, 4, 8, 9, 15, 16, 17, 31, 32, 33, 64, 80}, depths[] = {0, 1, 7, 64};
    for (int rows = 1; rows <= 14; rows++) {
        for (int c = 0; c < 13; c++) {
            const product_case it = {.rows = rows,
                                     .columns = columns[c],
                                     .depth = depths[(rows + c) % 4],
                                     .second = c % 3 == 0 ? 5 : 0,
                                     .transposed = (rows + c) % 2,
                                     .scaled = c % 2,
                                     .padded = c % 5 == 0,
                                     .keep = (float)(rows % 3)};
            check_product(&it);
        }
    }
    check_product(&(product_case){.rows = MOST, .columns = 80, .depth = MOST, .second = MOST});
}

static void products_of_ranges(void **state)
{
    (void)state;
    for (int rows = 1; rows <= 50; rows += 7) {
        for (int single = 0; single < 2; single++)
            check_product(&(product_case){.rows = rows,
                                          .columns = 33,
                                          .depth = 20,
                                          .transposed = rows % 2,
                                          .banded = true,
                                          .single = single,
                                          .keep = 1});
    }
}

static void products_of_parts(void **state)
{
    (void)state;
    for (int depth = 1; depth <= 50; depth += 7) {
        for (int banded = 0; banded < 2; banded++)
            check_product(&(product_case){.rows = 13,
                                          .columns = 20,
                                          .depth = depth,
                                          .part = 12,
                                          .banded = banded,
                                          .keep = 1});
    }
}

// What lies outside of a row's range is not read: NaN there does no harm.
static void ranges_keep_out_what_is_no_number(void **state)
{
    (void)state;
    factors f = make();
    const product_case it = {.rows = 9, .columns = 20, .depth = 12, .banded = true, .single = true};
    for (int i = 0; i < it.rows; i++) {
        for (int k = 0; k < it.depth; k++) {
            if (k < low_of(&it, i) || k >= high_of(&it, i)) f.a[i * LD + k] = NAN;
        }
    }
    const canto_product_of p = describe(&it, &f);
    tiles->product(&p);
    for (int i = 0; i < it.rows; i++) {
        for (int j = 0; j < it.columns; j++) assert_true(isfinite(f.c[i * LD + j]));
    }
    destroy(&f);
}

static void scores_of_every_depth(void **state)
{
    (void)state;
    const int panel = tiles->panel, rows = 3 * tiles->score_rows, depths[] = {0, 1, 5, 64, 100};
    for (int d = 0; d < 5; d++) {
        float *a = numbers_random("a", MOST * LD), *b = numbers_random("b", panel * MOST);
        float *c = numbers_zero(rows * panel + 1);
        tiles->scores(rows, depths[d], a, LD, b, c, panel, NULL);
        for (int i = 0; i < rows; i++) {
            for (int j = 0; j < panel; j++) {
                double sum = 0;
                for (int k = 0; k < depths[d]; k++) sum += (double)a[i * LD + k] * b[k * panel + j];
                assert_true(fabs(c[i * panel + j] - sum) < 1e-4);
            }
        }
        assert_true(c[rows * panel] == 0);
        free(a), free(b), free(c);
    }
}

// --- packing ---

// Rounded to the upper half, as bf16 is made here.
static uint16_t half_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

static float number_of(const canto_rows *from, int64_t at)
{
    if (from->dtype == CANTO_F32) return ((const float *)from->x)[at];
    const uint32_t bits = (uint32_t)((const uint16_t *)from->x)[at] << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static float row_element(const canto_rows *from, int i, int c)
{
    if (from->share <= 1) return number_of(from, from->at + i * from->stride + c);
    const int row = from->first + i;
    return number_of(from, from->at + row / from->share * from->stride +
                               row % from->share * from->inner + c);
}

static void check_packing(const canto_rows *from)
{
    const int columns = tiles->columns, panels = (from->columns + columns - 1) / columns;
    const float scale = 0.5f;
    float *rows = numbers_zero(MOST * LD), *packed = aligned(MOST * LD),
          *turned = aligned(4 * MOST * LD);
    float scales[MOST];
    for (int i = 0; i < MOST; i++) scales[i] = (float)i;
    assert_true(tiles->pack_rows(from, rows, LD));
    assert_true(tiles->pack_panels(from, scales, packed, (int64_t)MOST * columns));
    const int widths[] = {tiles->columns, tiles->panel};
    for (int i = 0; i < from->n; i++) {
        for (int c = 0; c < LD; c++)
            assert_true(rows[i * LD + c] == (c < from->columns ? row_element(from, i, c) : 0));
        for (int c = 0; c < panels * columns; c++) {
            const float wanted = c < from->columns ? row_element(from, i, c) * scales[i] : 0;
            assert_true(packed[(c / columns * MOST + i) * columns + c % columns] == wanted);
        }
    }
    for (int w = 0; w < 2; w++) {
        const int width = widths[w];
        memset(turned, 0xff, sizeof *turned * 4 * MOST * LD);
        assert_true(tiles->pack_transposed(from, scale, width, turned, (int64_t)LD * width));
        for (int i = 0; i < (from->n + width - 1) / width * width; i++) {
            for (int c = 0; c < from->columns; c++) {
                const float wanted = i < from->n ? row_element(from, i, c) * scale : 0;
                assert_true(turned[(i / width * LD + c) * width + i % width] == wanted);
            }
        }
    }
    free(rows), free(packed), free(turned);
}

static void packing_of_every_size(void **state)
{
    (void)state;
    float *x = numbers_random("x", MOST * LD);
    uint16_t *half = malloc(sizeof *half * MOST * LD);
    assert_non_null(half);
    for (int i = 0; i < MOST * LD; i++) half[i] = half_of(x[i]);
    const int sizes[][2] = {{1, 1},  {3, 5},   {8, 8},    {16, 16},
                            {7, 33}, {24, 64}, {50, 100}, {48, 17}};
    for (int i = 0; i < 8; i++) {
        canto_rows from = {.x = x, .stride = LD, .n = sizes[i][0], .columns = sizes[i][1]};
        check_packing(&from);
        from.x = half;
        from.dtype = CANTO_BF16;
        from.at = 3;
        check_packing(&from);
        from = (canto_rows){.x = x, .stride = 3 * LD, .n = sizes[i][0], .columns = sizes[i][1]};
        from.share = 3, from.first = 2, from.inner = 7;
        if (from.n <= 24) check_packing(&from);
    }
    free(x), free(half);
}

static void packing_tells_what_is_not_finite(void **state)
{
    (void)state;
    float *x = numbers_random("x", MOST * LD), *to = aligned(4 * MOST * LD);
    const float wild[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 27; i++) {
        const int at = i * (LD + 1) % (20 * LD) / LD * LD + i; // row, and a column below 27
        const float before = x[at];
        x[at] = wild[i % 3];
        const canto_rows from = block_of(x, 27, 27);
        assert_false(tiles->pack_rows(&from, to, LD));
        assert_false(tiles->pack_panels(&from, NULL, to, (int64_t)MOST * tiles->columns));
        assert_false(
            tiles->pack_transposed(&from, 1, tiles->panel, to, (int64_t)LD * tiles->panel));
        x[at] = before;
        assert_true(tiles->pack_rows(&from, to, LD));
    }
    free(x), free(to);
}

static void powers_of_two(void **state)
{
    (void)state;
    double worst = 0;
    float x[16];
    for (float first = -126; first < 126; first += 0.01f) {
        for (int i = 0; i < 16; i++) x[i] = first + (float)i * 0.000617f;
        float y[16];
        memcpy(y, x, sizeof y);
        tiles->exp2(16, y);
        for (int i = 0; i < 16; i++) {
            if (x[i] > 126) continue;
            const double exact = exp2((double)x[i]);
            worst = fmax(worst, fabs((double)y[i] - exact) / exact);
        }
    }
    if (!(worst < 2.4e-7)) fail_msg("worst %.3g", worst);
    float special[16] = {0, NAN, -INFINITY, -1000, -126};
    tiles->exp2(16, special);
    assert_true(special[0] == 1 && isnan(special[1]));
    for (int i = 2; i < 5; i++) assert_true(special[i] == ldexpf(1, -126));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_of_every_size),
        cmocka_unit_test(products_of_ranges),
        cmocka_unit_test(products_of_parts),
        cmocka_unit_test(ranges_keep_out_what_is_no_number),
        cmocka_unit_test(scores_of_every_depth),
        cmocka_unit_test(packing_of_every_size),
        cmocka_unit_test(packing_tells_what_is_not_finite),
        cmocka_unit_test(powers_of_two),
    };
    int failed = 0;
    for (const canto_cpu_level *level = canto_cpu_levels; level->name; level++) {
        if (!canto_test_wants(level)) continue;
        tiles = level->tiles;
        failed += cmocka_run_group_tests_name(level->name, tests, NULL, NULL);
    }
    return failed;
}
