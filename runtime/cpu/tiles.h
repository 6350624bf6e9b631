// The building blocks of one level as a table, for tests of them and for `canto bench`: kernels
// call them by name.
#ifndef CANTO_RUNTIME_CPU_TILES_H
#define CANTO_RUNTIME_CPU_TILES_H

#include "runtime/cpu/pack.h"
#include "runtime/cpu/product.h"

typedef struct canto_cpu_tiles {
    int lanes, rows, columns, panel, score_rows; // the constants of runtime/cpu/simd.h
    void (*product)(const canto_product_of *p);
    void (*scores)(int rows, int depth, const float *a, int64_t row, const float *b, float *c,
                   int64_t c_row, canto_soon *soon);
    bool (*pack_rows)(const canto_rows *from, float *to, int64_t ld);
    bool (*pack_panels)(const canto_rows *from, const float *scale, float *to, int64_t panel);
    bool (*pack_transposed)(const canto_rows *from, float factor, int width, float *to,
                            int64_t panel);
    void (*exp2)(int64_t n, float *x); // in place; n a multiple of the lanes
} canto_cpu_tiles;

#endif
