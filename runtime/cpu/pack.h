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
enum { CANTO_SOON_MAX = 5 };

typedef struct canto_soon {
    canto_rows blocks[CANTO_SOON_MAX];
    int blocks_n;
    int lines; // to ask for at a time
    int block, row;
    int64_t byte; // of the row
} canto_soon;

// All lines of some blocks, in `turns` turns.
static inline canto_soon canto_soon_make(int blocks_n, const canto_rows *blocks, int64_t turns)
{
    canto_soon soon = {.blocks_n = blocks_n};
    int64_t lines = 0;
    for (int i = 0; i < blocks_n; i++) {
        const int64_t bytes = blocks[i].columns * (blocks[i].dtype == CANTO_BF16 ? 2 : 4);
        soon.blocks[i] = blocks[i];
        lines += blocks[i].n * ((bytes + 63) / 64);
    }
    soon.lines = (int)(lines / turns) + 1;
    return soon;
}

// Asks for the next lines; nothing when there are none left. NULL: nothing.
static inline void canto_ask(canto_soon *soon)
{
    enum { LINE = 64 };
    for (int i = 0; soon && i < soon->lines && soon->block < soon->blocks_n; i++) {
        const canto_rows *rows = &soon->blocks[soon->block];
        const int64_t bytes = rows->dtype == CANTO_BF16 ? 2 : 4;
        if (soon->row < rows->n) {
            const char *row = (const char *)rows->x + (rows->at + soon->row * rows->stride) * bytes;
            __builtin_prefetch(row + soon->byte, 0, 3);
        }
        soon->byte += LINE;
        if (soon->byte < rows->columns * bytes) continue;
        soon->byte = 0;
        if (++soon->row < rows->n) continue;
        soon->row = 0;
        soon->block++;
    }
}

#endif
