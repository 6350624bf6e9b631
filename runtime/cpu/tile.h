// Small dense products for attention tiles.
//
// A tile is a small row-major matrix in a buffer of the caller, whose rows are padded with numbers
// (any, but readable) to a multiple of CANTO_TILE_PAD columns. All functions are local, sum in one
// fixed order, and touch only what their comment names, so that numbers that are masked cannot
// leak even as NaN.
#ifndef CANTO_RUNTIME_CPU_TILE_H
#define CANTO_RUNTIME_CPU_TILE_H

#include "runtime/cpu/level.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define canto_tile_add          CANTO_CPU(tile_add)
#define canto_tile_band_product CANTO_CPU(tile_band_product)
#define canto_tile_copy         CANTO_CPU(tile_copy)
#define canto_tile_product      CANTO_CPU(tile_product)
#define canto_tile_store        CANTO_CPU(tile_store)
#define canto_tile_transpose    CANTO_CPU(tile_transpose)

enum { CANTO_TILE_PAD = 16, CANTO_TILE_ALIGN = 64 };

static inline int canto_tile_pad(int columns)
{
    return (columns + CANTO_TILE_PAD - 1) / CANTO_TILE_PAD * CANTO_TILE_PAD;
}

// The left factor of a product: element (i, k) is at[i * row + k * column], so that a transpose is
// an exchange of two numbers.
typedef struct canto_tile_factor {
    const float *at; // borrowed
    int64_t row, column;
} canto_tile_factor;

// Row i of a banded left factor has the elements k in [begin[i], end[i]); the others are not read.
typedef struct canto_tile_ranges {
    const int *begin, *end; // borrowed, one entry per row
} canto_tile_ranges;

// c[i][j] = sum_k a(i,k) b[k][j], or += with `add`; i < rows, k < depth, j < columns rounded up to
// the padding. ldb and ldc are the distances of rows.
void canto_tile_product(int rows, int columns, int depth, canto_tile_factor a, const float *b,
                        int ldb, bool add, float *c, int ldc);
// c[i][j] += sum of a(i,k) b[k][j] over the k of row i.
void canto_tile_band_product(int rows, int columns, canto_tile_ranges ranges, canto_tile_factor a,
                             const float *b, int ldb, float *c, int ldc);

// to[i][j] = from[i * stride + j], zero in the padding; the rows of `to` have ld >= columns.
void canto_tile_copy(int rows, int columns, const float *from, int64_t stride, float *to, int ld);
// to[i * stride + j] = from[i][j], without the padding.
void canto_tile_store(int rows, int columns, const float *from, int ld, float *to, int64_t stride);
// to[j][i] = factor * from[i * stride + j]; the padding is left alone.
void canto_tile_transpose(int rows, int columns, float factor, const float *from, int64_t stride,
                          float *to, int ld);
// to[i * stride + j] += factor * from[i][j]
void canto_tile_add(int rows, int columns, float factor, const float *from, int ld, float *to,
                    int64_t stride);

#endif
