// Products of small matrices: what the attention kernels spend their time in.
//
// A block of the result stays in registers while one element of the left factor at a time is
// broadcast over a row of the right one. So the left factor is read where it lies, transposed or
// not, and only the right one is packed: in panels of CANTO_COLUMNS columns (CANTO_PANEL for
// scores; both of runtime/cpu/simd.h), row after row. All functions are local, sum in one fixed
// order that does not depend on what is beside the block, and read no element that they do not
// need.
#ifndef CANTO_RUNTIME_CPU_PRODUCT_H
#define CANTO_RUNTIME_CPU_PRODUCT_H

#include "runtime/cpu/level.h"
#include "runtime/cpu/pack.h"

#include <stdbool.h>
#include <stdint.h>

#define canto_product CANTO_CPU(product)
#define canto_scores  CANTO_CPU(scores)

// sum over k of a(i, k) b(k, j): element (i, k) of the left factor is a[i * row + k * column], and
// where it lies in parts of `part` columns a[k / part * part_at + i * row + k % part * column];
// panel p of the right one is at b + p * panel, [depth, CANTO_COLUMNS].
typedef struct canto_term {
    const float *a; // borrowed
    int64_t row, column;
    int part; // 0: one part
    int64_t part_at;
    const float *b; // borrowed
    int64_t panel;
    int depth;
    // Borrowed, one entry for each strip of CANTO_ROWS rows, or for each row: its k are [begin,
    // end). NULL: all.
    const int *begin, *end;
} canto_term;

// c(i, j) = keep * c(i, j) + scale[i] * first(i, j) + second(i, j).
typedef struct canto_product_of {
    int rows, columns;
    canto_term first, second; // second.depth 0: none
    const float *scale;       // borrowed, [rows]; NULL: 1
    float keep;               // 0: c is not read
    // Element (i, j) of panel p is c[p * c_panel + i * c_row + j].
    float *c; // borrowed
    int64_t c_row, c_panel;
    canto_soon *soon; // borrowed: asked once for every block of the result; NULL: nobody
    bool far;         // c is in no cache yet
    bool lower;       // only panels that hold a column j <= i of a strip are written
    bool single;      // begin and end have an entry for each row
    bool padded; // c has room for the whole of its last panel, and anything may be written there
} canto_product_of;

void canto_product(const canto_product_of *p);

// c [rows, CANTO_PANEL] = a b, with a's rows at distance `row` and b [depth, CANTO_PANEL]; rows
// must be a multiple of CANTO_SCORE_ROWS, c's rows are at distance c_row.
// Meanwhile asks for lines.
void canto_scores(int rows, int depth, const float *a, int64_t row, const float *b, float *c,
                  int64_t c_row, canto_soon *soon);

#endif
