// Matrix products through a library on one thread (runtime/products.h): a product is cut into slabs
// of its longer side, and OpenMP's threads share the slabs. Two pools of threads would wait for
// each other on the same cores. Slabs do not depend on the number of threads, so neither do the
// bits of the result. Products of bf16 numbers that the library does not have are of widened
// blocks.
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/pack.h"
#include "runtime/cpu/simd.h"
#include "runtime/products.h"

#include <string.h>

enum {
    SLAB = 256,     // rows or columns of a slab, at most
    SLAB_GRAIN = 16 // a slab ends at a multiple of this: a row of vectors
};
enum { BLOCK = 128, DEPTH = 256 }; // of widened numbers

// Slab i of n of a side of `length`: [begin, end).
static void slab_bounds(int64_t length, int64_t i, int64_t n, int64_t *begin, int64_t *end)
{
    const int64_t width = (length + n * SLAB_GRAIN - 1) / (n * SLAB_GRAIN) * SLAB_GRAIN;
    *begin = i * width < length ? i * width : length;
    *end = *begin + width < length ? *begin + width : length;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// --- widened ---

// to [rows, columns] = a block of bf16 numbers as it lies in memory.
static void widen_block(int64_t rows, int64_t columns, const uint16_t *from, int64_t ld, float *to)
{
    const canto_rows block = {
        .x = from, .dtype = CANTO_BF16, .stride = ld, .n = (int)rows, .columns = (int)columns};
    canto_pack_rows(&block, to, columns);
}

// Element (row, column) of op(a) is that many elements from the first one.
static int64_t place(bool trans, int64_t ld, int64_t row, int64_t column)
{
    return trans ? column * ld + row : row * ld + column;
}

typedef struct widened {
    float a[BLOCK * DEPTH], b[DEPTH * BLOCK], c[BLOCK * BLOCK];
} widened;

_Static_assert(sizeof(widened) <= CANTO_KERNEL_STACK, "a kernel's stack");

// c [m, n] (+)= op(a) op(b) of bf16 numbers; m, n <= BLOCK.
static void block_product(const canto_gemm_shape *s, const uint16_t *a, const uint16_t *b, void *c)
{
    widened w;
    canto_gemm_shape part = *s;
    part.in = part.out = CANTO_F32;
    part.ldc = s->n;
    for (int64_t k = 0; k < s->k; k += DEPTH) {
        part.k = smaller(DEPTH, s->k - k);
        part.lda = s->trans_a ? s->m : part.k;
        part.ldb = s->trans_b ? part.k : s->n;
        part.adds = k > 0;
        widen_block(s->trans_a ? part.k : s->m, part.lda, a + place(s->trans_a, s->lda, 0, k),
                    s->lda, w.a);
        widen_block(s->trans_b ? s->n : part.k, part.ldb, b + place(s->trans_b, s->ldb, k, 0),
                    s->ldb, w.b);
        canto_products_f32(&part, w.a, w.b, w.c);
    }
    for (int64_t i = 0; i < s->m; i++) {
        const float *sum = w.c + i * s->n;
        if (s->out == CANTO_BF16) {
            uint16_t *row = (uint16_t *)c + i * s->ldc;
            for (int64_t j = 0; j < s->n; j++) row[j] = vnarrow(sum[j]);
        } else {
            float *row = (float *)c + i * s->ldc;
            for (int64_t j = 0; j < s->n; j++) row[j] = (s->adds ? row[j] : 0) + sum[j];
        }
    }
}

static void widened_product(const canto_gemm_shape *s, const uint16_t *a, const uint16_t *b,
                            void *c)
{
    canto_gemm_shape block = *s;
    const size_t bytes = canto_dtype_bytes(s->out);
    for (int64_t i = 0; i < s->m; i += BLOCK) {
        block.m = smaller(BLOCK, s->m - i);
        for (int64_t j = 0; j < s->n; j += BLOCK) {
            block.n = smaller(BLOCK, s->n - j);
            block_product(&block, a + place(s->trans_a, s->lda, i, 0),
                          b + place(s->trans_b, s->ldb, 0, j),
                          (char *)c + (size_t)(i * s->ldc + j) * bytes);
        }
    }
}

// --- slabs ---

// A rank without tokens still sets c, or leaves it.
static void empty_product(const canto_gemm_shape *s, void *c)
{
    const size_t bytes = canto_dtype_bytes(s->out);
    if (s->adds) return;
    for (int64_t i = 0; i < s->m; i++)
        memset((char *)c + (size_t)(i * s->ldc) * bytes, 0, (size_t)s->n * bytes);
}

static void slab_product(const canto_gemm_shape *s, const void *a, const void *b, void *c)
{
    if (s->in == CANTO_F32)
        canto_products_f32(s, a, b, c);
    else if (!canto_products_bf16(s, a, b, c))
        widened_product(s, a, b, c);
}

void CANTO_CPU(gemm)(const canto_device *device, const canto_gemm_shape *shape, const void *a,
                     const void *b, void *c)
{
    if (shape->m == 0 || shape->n == 0) return;
    if (shape->k == 0) {
        empty_product(shape, c);
        return;
    }
    const size_t in = canto_dtype_bytes(shape->in), out = canto_dtype_bytes(shape->out);
    const bool by_rows = shape->m >= shape->n;
    const int64_t length = by_rows ? shape->m : shape->n;
    const int64_t slabs = (length + SLAB - 1) / SLAB;
#pragma omp parallel for schedule(static) if (slabs > 1)
    for (int64_t i = 0; i < slabs; i++) {
        canto_gemm_shape slab = *shape;
        int64_t begin, end;
        slab_bounds(length, i, slabs, &begin, &end);
        if (begin == end) continue;
        *(by_rows ? &slab.m : &slab.n) = end - begin;
        const int64_t row = by_rows ? begin : 0, column = by_rows ? 0 : begin;
        slab_product(&slab, (const char *)a + (size_t)place(slab.trans_a, slab.lda, row, 0) * in,
                     (const char *)b + (size_t)place(slab.trans_b, slab.ldb, 0, column) * in,
                     (char *)c + (size_t)(row * slab.ldc + column) * out);
    }
}
