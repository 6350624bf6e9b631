// Copies of rows of activations into the layouts that products read: rows, panels, and panels of
// the transpose. What is packed is fp32, whatever it was, and padding is 0, so that it may be
// multiplied with anything finite.
//
// Each tells whether all that it read is finite: only then is 0 times it 0, and a product may run
// over elements that are masked.
#ifndef CANTO_RUNTIME_CPU_PACK_H
#define CANTO_RUNTIME_CPU_PACK_H

#include "runtime/cpu/level.h"
#include "runtime/tensor.h"

#include <stdbool.h>

#define canto_pack_rows       CANTO_CPU(pack_rows)
#define canto_pack_panels     CANTO_CPU(pack_panels)
#define canto_pack_transposed CANTO_CPU(pack_transposed)

// A block of an array: row i begins at element at + i * stride. In groups (share above 1), counted
// from row `first` of a group on, at at + (first + i) / share * stride + (first + i) % share *
// inner.
typedef struct canto_rows {
    const void *x;     // borrowed
    canto_dtype dtype; // CANTO_F32 or CANTO_BF16
    int64_t at, stride;
    int n, columns;
    int share, first; // 0: no groups
    int64_t inner;
} canto_rows;

// to [n, columns], rows at distance ld.
bool canto_pack_rows(const canto_rows *from, float *to, int64_t ld);
// to: panels of CANTO_COLUMNS columns at distance `panel`; the last one is padded. Row i is
// multiplied by scale[i], NULL: 1.
bool canto_pack_panels(const canto_rows *from, const float *scale, float *to, int64_t panel);
// to: panels of `width` (CANTO_COLUMNS or CANTO_PANEL) rows of `from`, [columns, width] each, times
// factor; the last one is padded.
bool canto_pack_transposed(const canto_rows *from, float factor, int width, float *to,
                           int64_t panel);

// Lines of memory that will be used soon, in order: blocks of rows, one after the other. They come
// closer while something else is done, if few are asked for at a time: a processor drops what it
// has no room to remember. Rows lie far apart, so that it does not foresee them by itself.
enum { CANTO_SOON_MAX = 6, CANTO_LINE = 64 };

typedef struct canto_soon {
    canto_rows blocks[CANTO_SOON_MAX];
    int blocks_n;
    int lines;            // to ask for at a time
    int block, row;       // whose lines are next
    const char *at, *end; // what is left of that row
} canto_soon;

// To the row `row` of block `block`, or the first one behind it that exists.
static inline void canto_soon_row(canto_soon *soon, int block, int row)
{
    while (block < soon->blocks_n && row >= soon->blocks[block].n) {
        block++;
        row = 0;
    }
    soon->block = block;
    soon->row = row;
    soon->at = soon->end = NULL;
    if (block == soon->blocks_n) return;
    const canto_rows *rows = &soon->blocks[block];
    const int64_t bytes = rows->dtype == CANTO_BF16 ? 2 : 4;
    soon->at = (const char *)rows->x + (rows->at + row * rows->stride) * bytes;
    soon->end = soon->at + rows->columns * bytes;
}

// All lines of some blocks, in `turns` turns.
static inline canto_soon canto_soon_make(int blocks_n, const canto_rows *blocks, int64_t turns)
{
    canto_soon soon = {.blocks_n = blocks_n};
    int64_t lines = 0;
    for (int i = 0; i < blocks_n; i++) {
        const int64_t bytes = blocks[i].columns * (blocks[i].dtype == CANTO_BF16 ? 2 : 4);
        soon.blocks[i] = blocks[i];
        lines += blocks[i].n * ((bytes + CANTO_LINE - 1) / CANTO_LINE);
    }
    soon.lines = (int)(lines / turns) + 1;
    canto_soon_row(&soon, 0, 0);
    return soon;
}

// Asks for the next lines; nothing when there are none left. NULL: nothing.
static inline void canto_ask(canto_soon *soon)
{
    if (!soon) return;
    for (int left = soon->lines; left > 0 && soon->at < soon->end;) {
        for (; left > 0 && soon->at < soon->end; left--, soon->at += CANTO_LINE)
            __builtin_prefetch(soon->at, 0, 3);
        if (soon->at >= soon->end) canto_soon_row(soon, soon->block, soon->row + 1);
    }
}

#endif
