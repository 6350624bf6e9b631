// Register blocks and the loops around them; see the header. Keeps nothing.
#include "runtime/cpu/product.h"

#include "runtime/cpu/simd.h"

// sum += a b for `rows` rows and `vectors` vectors. Both are constants where this is inlined, so
// that the sums live in registers; b's rows are `step` floats long.
CANTO_INLINE void accumulate(const int rows, const int vectors, const int step, int depth,
                             const float *a, int64_t row, int64_t column, const float *b,
                             vf sum[CANTO_ROWS][VECTORS_MOST])
{
    for (int k = 0; k < depth; k++) {
        vf right[VECTORS_MOST];
        CANTO_UNROLL
        for (int j = 0; j < vectors; j++) right[j] = vkeep(vload(b + j * LANES));
        CANTO_UNROLL
        for (int i = 0; i < rows; i++) {
            const vf left = vset(a[i * row]);
            CANTO_UNROLL
            for (int j = 0; j < vectors; j++) sum[i][j] += left * right[j];
        }
        a += column;
        b += step;
    }
}

CANTO_INLINE void clear(const int rows, const int vectors, vf sum[CANTO_ROWS][VECTORS_MOST])
{
    CANTO_UNROLL
    for (int i = 0; i < rows; i++) {
        CANTO_UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] = (vf){0};
    }
}

// --- products ---

// Where a block lies: its first row, the strip that the row belongs to, the panel.
typedef struct place {
    int row, strip, panel;
} place;

CANTO_INLINE void add_term(const int rows, const int vectors, const canto_term *t, place at,
                           vf sum[CANTO_ROWS][VECTORS_MOST])
{
    const int begin = t->begin ? t->begin[at.strip] : 0;
    const int end = t->end ? t->end[at.strip] : t->depth;
    const float *a = t->a + at.row * t->row;
    const float *b = t->b + at.panel * t->panel + (int64_t)begin * CANTO_COLUMNS;
    if (!t->part) {
        accumulate(rows, vectors, CANTO_COLUMNS, end - begin, a + begin * t->column, t->row,
                   t->column, b, sum);
        return;
    }
    for (int first = 0, part = 0; first < end; first += t->part, part++) {
        const int from = begin > first ? begin : first;
        const int to = end < first + t->part ? end : first + t->part;
        if (from >= to) continue;
        accumulate(rows, vectors, CANTO_COLUMNS, to - from,
                   a + part * t->part_at + (from - first) * t->column, t->row, t->column, b, sum);
        b += (int64_t)(to - from) * CANTO_COLUMNS;
    }
}

CANTO_INLINE void scale_rows(const int rows, const int vectors, const float *scale,
                             vf sum[CANTO_ROWS][VECTORS_MOST])
{
    CANTO_UNROLL
    for (int i = 0; i < rows; i++) {
        CANTO_UNROLL
        for (int j = 0; j < vectors; j++) sum[i][j] *= scale[i];
    }
}

CANTO_INLINE void multiply_block(const int rows, const int vectors, const canto_product_of *p,
                                 place at, float *c, int64_t c_row)
{
    vf sum[CANTO_ROWS][VECTORS_MOST];
    CANTO_UNROLL
    for (int i = 0; i < rows; i++) __builtin_prefetch(c + i * c_row, 1, 3);
    clear(rows, vectors, sum);
    add_term(rows, vectors, &p->first, at, sum);
    if (p->scale) scale_rows(rows, vectors, p->scale + at.row, sum);
    if (p->second.depth > 0) add_term(rows, vectors, &p->second, at, sum);
    if (p->keep != 0) {
        CANTO_UNROLL
        for (int i = 0; i < rows; i++) {
            CANTO_UNROLL
            for (int j = 0; j < vectors; j++)
                sum[i][j] += p->keep * vload(c + i * c_row + j * LANES);
        }
    }
    CANTO_UNROLL
    for (int i = 0; i < rows; i++) {
        CANTO_UNROLL
        for (int j = 0; j < vectors; j++) vstore(c + i * c_row + j * LANES, sum[i][j]);
    }
}

static int panels(int columns)
{
    return (columns + CANTO_COLUMNS - 1) / CANTO_COLUMNS;
}

// The most rows that there is a block for, of those that are left.
CANTO_INLINE int block_rows(int left)
{
    const int sizes[] = {12, 6, 4, 2, 1};
    int i = REGISTERS == 32 ? 0 : 1;
    while (sizes[i] > left) i++;
    return sizes[i];
}

CANTO_INLINE void multiply_rows(const int vectors, const canto_product_of *p, int rows, place at,
                                float *c, int64_t c_row)
{
    while (rows > 0) {
        const int n = block_rows(rows);
        switch (n) {
#if defined(__AVX512F__)
        case 12:
            multiply_block(12, vectors, p, at, c, c_row);
            break;
#endif
        case 6:
            multiply_block(6, vectors, p, at, c, c_row);
            break;
        case 4:
            multiply_block(4, vectors, p, at, c, c_row);
            break;
        case 2:
            multiply_block(2, vectors, p, at, c, c_row);
            break;
        default:
            multiply_block(1, vectors, p, at, c, c_row);
        }
        at.row += n;
        c += n * c_row;
        rows -= n;
    }
}

// The last panel of a result that ends inside it: by way of a block that has room.
static void multiply_end(const canto_product_of *p, int rows, place at, int columns, float *c)
{
    float block[CANTO_ROWS * CANTO_COLUMNS];
    for (int i = 0; i < rows && p->keep != 0; i++)
        memcpy(block + i * CANTO_COLUMNS, c + i * p->c_row, (size_t)columns * sizeof *c);
    for (int i = 0; i < rows && p->keep != 0; i++)
        for (int j = columns; j < CANTO_COLUMNS; j++) block[i * CANTO_COLUMNS + j] = 0;
    if (columns > LANES)
        multiply_rows(2, p, rows, at, block, CANTO_COLUMNS);
    else
        multiply_rows(1, p, rows, at, block, CANTO_COLUMNS);
    for (int i = 0; i < rows; i++)
        memcpy(c + i * p->c_row, block + i * CANTO_COLUMNS, (size_t)columns * sizeof *c);
}

static void multiply_panel(const canto_product_of *p, int panel, int columns)
{
    float *c = p->c + panel * p->c_panel;
    const int most = p->single ? 1 : CANTO_ROWS;
    for (int row = 0, strip = 0; row < p->rows; row += most, strip++) {
        const int left = p->rows - row;
        const int rows = left < most ? left : most;
        if (p->lower && row + rows <= panel * CANTO_COLUMNS) continue;
        const place at = {row, strip, panel};
        canto_ask(p->soon);
        if (columns == CANTO_COLUMNS || (p->padded && columns > LANES))
            multiply_rows(2, p, rows, at, c + row * p->c_row, p->c_row);
        else if (columns == LANES || p->padded)
            multiply_rows(1, p, rows, at, c + row * p->c_row, p->c_row);
        else
            multiply_end(p, rows, at, columns, c + row * p->c_row);
    }
}

// Panels outside: a panel of the right factor stays in the nearest cache for all rows.
void canto_product(const canto_product_of *p)
{
    for (int panel = 0; panel < panels(p->columns); panel++) {
        const int left = p->columns - panel * CANTO_COLUMNS;
        multiply_panel(p, panel, left < CANTO_COLUMNS ? left : CANTO_COLUMNS);
    }
}

// --- scores ---

void canto_scores(int rows, int depth, const float *a, int64_t row, const float *b, float *c,
                  int64_t c_row, canto_soon *soon)
{
    for (int i = 0; i < rows; i += CANTO_SCORE_ROWS) {
        canto_ask(soon);
        vf sum[CANTO_ROWS][VECTORS_MOST];
        clear(CANTO_SCORE_ROWS, VECTORS_MOST, sum);
        accumulate(CANTO_SCORE_ROWS, VECTORS_MOST, CANTO_PANEL, depth, a + i * row, row, 1, b, sum);
        CANTO_UNROLL
        for (int r = 0; r < CANTO_SCORE_ROWS; r++) {
            CANTO_UNROLL
            for (int j = 0; j < VECTORS_MOST; j++)
                vstore(c + (i + r) * c_row + j * LANES, sum[r][j]);
        }
    }
}
