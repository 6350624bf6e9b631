// Matrix products of the cpu backend, of fp32 and of bf16 numbers, against plain loops in double.
#include "tests/ref/rowwise.h"
#include "tests/runtime/numbers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const canto_device *device; // the cpu at the level under test

// Dense operands, and a result whose rows are `pad` numbers further apart than they are long.
static canto_gemm_shape shape_of(bool trans_a, bool trans_b, int m, int n, int k, int pad)
{
    return (canto_gemm_shape){.trans_a = trans_a,
                              .trans_b = trans_b,
                              .m = m,
                              .n = n,
                              .k = k,
                              .lda = trans_a ? m : k,
                              .ldb = trans_b ? k : n,
                              .ldc = n + pad};
}

// c = op(a) op(b), or added to c, inside larger arrays, whose other columns stay as they are.
static void check_gemm(bool trans_a, bool trans_b, int m, int n, int k, bool adds)
{
    enum { PAD = 3 };
    float *a = numbers_random("a", m * k);
    float *b = numbers_random("b", n * k);
    float *c = numbers_random("c", m * (n + PAD));
    double *wide_a = numbers_wide(m * k, a);
    double *wide_b = numbers_wide(n * k, b);
    double *product = numbers_zero_wide(m * n);
    double *expected = numbers_wide(m * (n + PAD), c);
    canto_ref_gemm(trans_a, trans_b, m, n, k, 1, wide_a, wide_b, product);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n; j++) {
            double *e = &expected[i * (n + PAD) + j];
            *e = (adds ? *e : 0) + product[i * n + j];
        }
    }
    canto_gemm_shape shape = shape_of(trans_a, trans_b, m, n, k, PAD);
    shape.adds = adds;
    device->kernels->gemm(device, &shape, a, b, c);
    canto_test_close("gemm", m * (n + PAD), c, expected, 2e-6);
    free(a), free(b), free(c), free(wide_a), free(wide_b), free(product), free(expected);
}

static void test_gemm(void **state)
{
    (void)state;
    for (int trans = 0; trans < 4; trans++) {
        check_gemm(trans & 1, trans & 2, 5, 7, 11, 0);
        check_gemm(trans & 1, trans & 2, 5, 7, 11, 1);
        check_gemm(trans & 1, trans & 2, 64, 33, 65, 1);
        check_gemm(trans & 1, trans & 2, 531, 17, 9, 1); // more rows than a slab
        check_gemm(trans & 1, trans & 2, 18, 257, 9, 0); // more columns
        check_gemm(trans & 1, trans & 2, 4, 6, 0, 1);
        check_gemm(trans & 1, trans & 2, 4, 6, 0, 0);
        check_gemm(trans & 1, trans & 2, 0, 6, 3, 1);
    }
}

static float *halves(const char *name, int64_t n, uint16_t *half)
{
    float *x = numbers_random(name, n);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        half[i] = (uint16_t)(bits >> 16);
        bits &= 0xffff0000u;
        memcpy(&x[i], &bits, sizeof bits);
    }
    return x;
}

// Products of bf16 numbers are exact and summed in fp32; a result of bf16 is off by half of its
// last bit at most, besides.
static void check_gemm_bf16(bool trans_a, bool trans_b, int m, int n, int k, bool adds, bool narrow)
{
    enum { PAD = 5 };
    uint16_t *half_a = malloc(sizeof *half_a * (size_t)(m * k));
    uint16_t *half_b = malloc(sizeof *half_b * (size_t)(n * k));
    float *a = halves("a", m * k, half_a);
    float *b = halves("b", n * k, half_b);
    float *c = numbers_random("c", m * (n + PAD)), *got = numbers_random("c", m * (n + PAD));
    double *wide_a = numbers_wide(m * k, a);
    double *wide_b = numbers_wide(n * k, b);
    double *product = numbers_zero_wide(m * n);
    canto_ref_gemm(trans_a, trans_b, m, n, k, 1, wide_a, wide_b, product);
    canto_gemm_shape shape = shape_of(trans_a, trans_b, m, n, k, PAD);
    shape.adds = adds;
    shape.in = CANTO_BF16;
    shape.out = narrow ? CANTO_BF16 : CANTO_F32;
    device->kernels->gemm(device, &shape, half_a, half_b, got);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < n + PAD; j++) {
            const int64_t at = i * (n + PAD) + j;
            uint32_t bits = (uint32_t)((const uint16_t *)got)[at] << 16;
            float value = got[at];
            if (narrow) memcpy(&value, &bits, sizeof value);
            if (j >= n) { // what lies beside c stays as it was
                const void *before = narrow ? (const void *)((const uint16_t *)c + at) : &c[at];
                const void *after = narrow ? (const void *)((const uint16_t *)got + at) : &got[at];
                assert_memory_equal(before, after, narrow ? 2 : 4);
                continue;
            }
            const double exact = (adds ? (double)c[at] : 0) + product[i * n + j];
            const double error = fabs((double)value - exact);
            assert_true(error <= 2e-6 * fmax(1, k / 16.0) + (narrow ? fabs(exact) / 256 : 0));
        }
    }
    free(half_a), free(half_b), free(a), free(b), free(c), free(got);
    free(wide_a), free(wide_b), free(product);
}

static void test_gemm_bf16(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        const bool ta = i & 1, tb = i & 2, adds = i / 4 == 1, narrow = i / 4 == 2;
        check_gemm_bf16(ta, tb, 5, 7, 11, adds, narrow);
        check_gemm_bf16(ta, tb, 64, 33, 65, adds, narrow);
        check_gemm_bf16(ta, tb, 531, 17, 9, adds, narrow); // more rows than a slab
        check_gemm_bf16(ta, tb, 18, 257, 300, adds, narrow);
        check_gemm_bf16(ta, tb, 1, 384, 96, adds, narrow);
        check_gemm_bf16(ta, tb, 4, 6, 0, adds, narrow);
        check_gemm_bf16(ta, tb, 0, 6, 3, adds, narrow);
    }
}

// 2^-8 of 1 is half of its last bit: ties go to the even neighbour.
static void test_gemm_bf16_rounds(void **state)
{
    (void)state;
    static const struct {
        uint16_t a[2], sum;
    } cases[] = {
        {{0x3f80, 0x3b80}, 0x3f80}, // 1 + 2^-8
        {{0x3f81, 0x3b80}, 0x3f82}, // 1 + 2^-7 + 2^-8
        {{0x3f80, 0x3bc0}, 0x3f81}, // 1 + 2^-8 + 2^-9
        {{0xbf80, 0xbb80}, 0xbf80}, {{0x3f80, 0xbf80}, 0x0000},
    };
    static const uint16_t ones[] = {0x3f80, 0x3f80};
    const canto_gemm_shape shape = {
        .in = CANTO_BF16, .out = CANTO_BF16, .m = 1, .n = 1, .k = 2, .lda = 2, .ldb = 1, .ldc = 1};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint16_t sum;
        device->kernels->gemm(device, &shape, cases[i].a, ones, &sum);
        assert_int_equal(sum, cases[i].sum);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemm),
        cmocka_unit_test(test_gemm_bf16),
        cmocka_unit_test(test_gemm_bf16_rounds),
    };
    return CANTO_TEST_AT_LEVELS(tests, &device);
}
