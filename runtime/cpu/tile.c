// Products of small matrices by outer products: a block of up to 4 x 4 vectors of the result stays
// in registers while one element of the left factor at a time is broadcast over rows of the right
// one. The left factor may therefore be transposed at no cost, and only the right one must be
// padded. Keeps nothing.
#include "runtime/cpu/tile.h"

enum { ROWS = 4, VECTORS = 4 }; // of the largest register block; the switch below lists them

// The widest vectors of the instruction set; the block is smaller where there are 16 registers.
#if defined(__AVX512F__)
enum { LANES = 16, VECTORS_USED = 4 };
#elif defined(__AVX__)
enum { LANES = 8, VECTORS_USED = 2 };
#else
enum { LANES = 4, VECTORS_USED = 2 };
#endif

typedef float vector __attribute__((vector_size(LANES * sizeof(float))));
typedef float vector_in_memory
    __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

// One register block of a product.
typedef struct block {
    canto_tile_factor a;
    const float *b;
    float *c;
    int64_t ldb, ldc;
    int depth;
    bool add;
} block;

static inline vector load(const float *x)
{
    return *(const vector_in_memory *)x;
}

// volatile keeps the compiler from loading the same vector again for every product it is used in.
static inline vector load_once(const float *x)
{
    return *(const volatile vector_in_memory *)x;
}

static inline void store(float *x, vector v)
{
    *(vector_in_memory *)x = v;
}

// rows and vectors are constants where this is inlined, so that `sum` lives in registers.
static inline __attribute__((always_inline)) void multiply(int rows, int vectors, const block *t)
{
    vector sum[ROWS][VECTORS];
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) sum[i][j] = (vector){0};
    }
    const float *a = t->a.at;
    const float *b = t->b;
    const int64_t row = t->a.row;
    for (int k = 0; k < t->depth; k++) {
        vector right[VECTORS];
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++) right[j] = load_once(b + j * LANES);
#pragma GCC unroll 4
        for (int i = 0; i < rows; i++) {
#pragma GCC unroll 4
            for (int j = 0; j < vectors; j++) sum[i][j] += a[i * row] * right[j];
        }
        a += t->a.column;
        b += t->ldb;
    }
#pragma GCC unroll 4
    for (int i = 0; i < rows; i++) {
        float *c = t->c + i * t->ldc;
#pragma GCC unroll 4
        for (int j = 0; j < vectors; j++)
            store(c + j * LANES, t->add ? load(c + j * LANES) + sum[i][j] : sum[i][j]);
    }
}

static void multiply_block(int rows, int vectors, const block *t)
{
    switch (rows * 8 + vectors) {
    case 1 * 8 + 1:
        multiply(1, 1, t);
        break;
    case 1 * 8 + 2:
        multiply(1, 2, t);
        break;
    case 1 * 8 + 3:
        multiply(1, 3, t);
        break;
    case 1 * 8 + 4:
        multiply(1, 4, t);
        break;
    case 2 * 8 + 1:
        multiply(2, 1, t);
        break;
    case 2 * 8 + 2:
        multiply(2, 2, t);
        break;
    case 2 * 8 + 3:
        multiply(2, 3, t);
        break;
    case 2 * 8 + 4:
        multiply(2, 4, t);
        break;
    case 3 * 8 + 1:
        multiply(3, 1, t);
        break;
    case 3 * 8 + 2:
        multiply(3, 2, t);
        break;
    case 3 * 8 + 3:
        multiply(3, 3, t);
        break;
    case 3 * 8 + 4:
        multiply(3, 4, t);
        break;
    case 4 * 8 + 1:
        multiply(4, 1, t);
        break;
    case 4 * 8 + 2:
        multiply(4, 2, t);
        break;
    case 4 * 8 + 3:
        multiply(4, 3, t);
        break;
    case 4 * 8 + 4:
        multiply(4, 4, t);
        break;
    }
}

static int smaller(int x, int y)
{
    return x < y ? x : y;
}

static int larger(int x, int y)
{
    return x > y ? x : y;
}

// `rows` <= ROWS rows of the result, all columns.
static void multiply_rows(int rows, int columns, block t)
{
    int left = (columns + LANES - 1) / LANES;
    while (left > 0) {
        int vectors = smaller(left, VECTORS_USED);
        multiply_block(rows, vectors, &t);
        t.b += vectors * LANES;
        t.c += vectors * LANES;
        left -= vectors;
    }
}

void canto_tile_product(int rows, int columns, int depth, canto_tile_factor a, const float *b,
                        int ldb, bool add, float *c, int ldc)
{
    const int panel = VECTORS_USED * LANES;
    // Panels outside: depth x panel numbers of b stay in the nearest cache for all rows.
    for (int j = 0; j < columns; j += panel) {
        for (int i = 0; i < rows; i += ROWS) {
            const canto_tile_factor here = {a.at + i * a.row, a.row, a.column};
            const block t = {here, b + j, c + (int64_t)i * ldc + j, ldb, ldc, depth, add};
            multiply_rows(smaller(ROWS, rows - i), smaller(panel, columns - j), t);
        }
    }
}

// Adds the elements k in [begin, end) of `rows` <= ROWS rows from row i on.
static void add_range(int i, int rows, int columns, int begin, int end, canto_tile_factor a,
                      const float *b, int ldb, float *c, int ldc)
{
    if (begin >= end) return;
    const canto_tile_factor here = {a.at + i * a.row + begin * a.column, a.row, a.column};
    const block t = {here, b + (int64_t)begin * ldb, c + (int64_t)i * ldc, ldb, ldc, end - begin,
                     true};
    multiply_rows(rows, columns, t);
}

void canto_tile_band_product(int rows, int columns, canto_tile_ranges ranges, canto_tile_factor a,
                             const float *b, int ldb, float *c, int ldc)
{
    for (int first = 0; first < rows; first += ROWS) {
        int n = smaller(ROWS, rows - first);
        // What all rows of the block share is one block product; the ends go row by row.
        int begin = ranges.begin[first], end = ranges.end[first];
        for (int i = first + 1; i < first + n; i++) {
            begin = larger(begin, ranges.begin[i]);
            end = smaller(end, ranges.end[i]);
        }
        end = larger(begin, end);
        for (int i = first; i < first + n; i++)
            add_range(i, 1, columns, ranges.begin[i], smaller(begin, ranges.end[i]), a, b, ldb, c,
                      ldc);
        add_range(first, n, columns, begin, end, a, b, ldb, c, ldc);
        for (int i = first; i < first + n; i++)
            add_range(i, 1, columns, larger(end, ranges.begin[i]), ranges.end[i], a, b, ldb, c,
                      ldc);
    }
}

void canto_tile_copy(int rows, int columns, const float *from, int64_t stride, float *to, int ld)
{
    for (int i = 0; i < rows; i++) {
        memcpy(to + (int64_t)i * ld, from + i * stride, (size_t)columns * sizeof *to);
        memset(to + (int64_t)i * ld + columns, 0, (size_t)(ld - columns) * sizeof *to);
    }
}

void canto_tile_store(int rows, int columns, const float *from, int ld, float *to, int64_t stride)
{
    for (int i = 0; i < rows; i++)
        memcpy(to + i * stride, from + (int64_t)i * ld, (size_t)columns * sizeof *to);
}

void canto_tile_transpose(int rows, int columns, float factor, const float *from, int64_t stride,
                          float *to, int ld)
{
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) to[(int64_t)j * ld + i] = factor * from[i * stride + j];
    }
}

void canto_tile_add(int rows, int columns, float factor, const float *from, int ld, float *to,
                    int64_t stride)
{
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < columns; j++) to[i * stride + j] += factor * from[(int64_t)i * ld + j];
    }
}
