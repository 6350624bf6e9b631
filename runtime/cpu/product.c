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

// One block: the elements of both terms that it takes, and where its result lies.
typedef struct block {
    const float *a, *b, *second_a, *second_b;
    int depth, second_depth;
    int begin; // of the first term's k: parts are counted from 0
    const float *scale;
    float *c;
} block;

// Either the rows of a left factor or its columns lie side by side: what is 1 is a constant, which
// leaves registers for everything else.
CANTO_INLINE void add_term(const int rows, const int vectors, int depth, const float *a,
                           int64_t row, int64_t column, const float *b,
                           vf sum[CANTO_ROWS][VECTORS_MOST])
{
    if (row == 1)
        accumulate(rows, vectors, CANTO_COLUMNS, depth, a, 1, column, b, sum);
    else
        accumulate(rows, vectors, CANTO_COLUMNS, depth, a, row, 1, b, sum);
}

// The first term where its left factor lies in parts.
CANTO_INLINE void add_parts(const int rows, const int vectors, const canto_term *t, const block *k,
                            vf sum[CANTO_ROWS][VECTORS_MOST])
{
    const int begin = k->begin, end = begin + k->depth;
    const float *a = k->a - begin * t->column, *b = k->b;
    for (int first = 0; first < end; first += t->part, a += t->part_at) {
        const int from = begin > first ? begin : first;
        const int to = end < first + t->part ? end : first + t->part;
        if (from >= to) continue;
        accumulate(rows, vectors, CANTO_COLUMNS, to - from, a + (from - first), t->row, 1, b, sum);
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
                                 const block *k)
{
    const int64_t c_row = p->c_row;
    vf sum[CANTO_ROWS][VECTORS_MOST];
    clear(rows, vectors, sum);
    if (p->first.part)
        add_parts(rows, vectors, &p->first, k, sum);
    else
        add_term(rows, vectors, k->depth, k->a, p->first.row, p->first.column, k->b, sum);
    if (k->scale) scale_rows(rows, vectors, k->scale, sum);
    if (k->second_depth > 0)
        add_term(rows, vectors, k->second_depth, k->second_a, p->second.row, p->second.column,
                 k->second_b, sum);
    if (p->keep != 0) {
        const vf keep = vset(p->keep);
        CANTO_UNROLL
        for (int i = 0; i < rows; i++) {
            CANTO_UNROLL
            for (int j = 0; j < vectors; j++)
                sum[i][j] += keep * vload(k->c + i * c_row + j * LANES);
        }
    }
    CANTO_UNROLL
    for (int i = 0; i < rows; i++) {
        CANTO_UNROLL
        for (int j = 0; j < vectors; j++) vstore(k->c + i * c_row + j * LANES, sum[i][j]);
    }
}

// Fewer rows than a whole strip: the largest block that there is for what is left, again and again.
static __attribute__((noinline)) void multiply_few(int rows, int vectors, const canto_product_of *p,
                                                   block k)
{
    while (rows > 0) {
        const int n = rows >= 6 ? 6 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
        switch (n * 2 + vectors) {
        case 14:
            multiply_block(6, 2, p, &k);
            break;
        case 13:
            multiply_block(6, 1, p, &k);
            break;
        case 10:
            multiply_block(4, 2, p, &k);
            break;
        case 9:
            multiply_block(4, 1, p, &k);
            break;
        case 6:
            multiply_block(2, 2, p, &k);
            break;
        case 5:
            multiply_block(2, 1, p, &k);
            break;
        case 4:
            multiply_block(1, 2, p, &k);
            break;
        default:
            multiply_block(1, 1, p, &k);
        }
        k.a += n * p->first.row;
        k.second_a += n * p->second.row;
        if (k.scale) k.scale += n;
        k.c += n * p->c_row;
        rows -= n;
    }
}

// A block that ends inside the last panel of a result that has no room behind it: by way of one
// that has.
static __attribute__((noinline)) void multiply_end(int rows, int columns, const canto_product_of *p,
                                                   block k)
{
    float room[CANTO_ROWS * CANTO_COLUMNS] = {0};
    canto_product_of inside = *p;
    float *c = k.c;
    for (int i = 0; i < rows && p->keep != 0; i++)
        memcpy(room + i * CANTO_COLUMNS, c + i * p->c_row, (size_t)columns * sizeof *c);
    inside.c_row = CANTO_COLUMNS;
    k.c = room;
    multiply_few(rows, columns > LANES ? 2 : 1, &inside, k);
    for (int i = 0; i < rows; i++)
        memcpy(c + i * p->c_row, room + i * CANTO_COLUMNS, (size_t)columns * sizeof *c);
}

// The k of a strip.
CANTO_INLINE int begin_of(const canto_term *t, int strip)
{
    return t->begin ? t->begin[strip] : 0;
}

CANTO_INLINE int end_of(const canto_term *t, int strip)
{
    return t->end ? t->end[strip] : t->depth;
}

static void multiply_panel(const canto_product_of *p, int panel, int columns)
{
    const canto_term *f = &p->first, *s = &p->second;
    const float *b = f->b + panel * f->panel, *second_b = s->b + panel * s->panel;
    float *c = p->c + panel * p->c_panel;
    const int most = p->single ? 1 : CANTO_ROWS;
    const int vectors = columns > LANES ? 2 : 1;
    const bool whole = columns == vectors * LANES || p->padded;
    for (int row = 0, strip = 0; row < p->rows; row += most, strip++) {
        const int rows = p->rows - row < most ? p->rows - row : most;
        if (p->lower && row + rows <= panel * CANTO_COLUMNS) continue;
        const int begin = begin_of(f, strip), second_begin = begin_of(s, strip);
        const block k = {.a = f->a + row * f->row + begin * f->column,
                         .b = b + begin * CANTO_COLUMNS,
                         .second_a = s->a + row * s->row + second_begin * s->column,
                         .second_b = second_b + second_begin * CANTO_COLUMNS,
                         .depth = end_of(f, strip) - begin,
                         .second_depth = s->depth > 0 ? end_of(s, strip) - second_begin : 0,
                         .begin = begin,
                         .scale = p->scale ? p->scale + row : NULL,
                         .c = c + row * p->c_row};
        canto_ask(p->soon);
        for (int i = 0; p->far && i < rows; i++) __builtin_prefetch(k.c + i * p->c_row, 1, 3);
        if (!whole)
            multiply_end(rows, columns, p, k);
        else if (rows < CANTO_ROWS)
            multiply_few(rows, vectors, p, k);
        else if (vectors == 2)
            multiply_block(CANTO_ROWS, 2, p, &k);
        else
            multiply_block(CANTO_ROWS, 1, p, &k);
    }
}

// Panels outside: a panel of the right factor stays in the nearest cache for all rows.
void canto_product(const canto_product_of *p)
{
    for (int panel = 0; panel * CANTO_COLUMNS < p->columns; panel++) {
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
