// Pairs of tokens of a chunk: their products, their decays, and the triangular system of the delta
// rule, which is solved block by block (forward substitution; Golub and Van Loan, section 3.1).
#include "runtime/cpu/linear_block.h"

enum { BLOCK = 12 }; // rows that are solved one by one; register blocks fit into it

void canto_linear_scores(int n, int depth, canto_left left, const float *right, float *pairs)
{
    const canto_product_of p = {.rows = n,
                                .columns = n,
                                .first = {.a = left.at,
                                          .row = left.stride,
                                          .column = 1,
                                          .b = right,
                                          .panel = (int64_t)depth * CANTO_COLUMNS,
                                          .depth = depth},
                                .c = pairs,
                                .c_row = CANTO_CHUNK_WIDE,
                                .c_panel = CANTO_COLUMNS,
                                .lower = true,
                                .padded = true};
    canto_product(&p);
}

void canto_linear_weigh(int n, const float *decays, int row, float factor, bool strict,
                        float *pairs)
{
    for (int i = 0; i < n; i++) {
        float *at = pairs + i * CANTO_CHUNK_WIDE;
        const int end = strict ? i : i + 1, strip = (i / CANTO_ROWS + 1) * CANTO_ROWS;
        if (decays) {
            for (int j = 0; j < end; j++) at[j] *= factor * decays[i * row + j];
        } else if (factor != 1) {
            for (int j = 0; j < end; j++) at[j] *= factor;
        }
        for (int j = end; j < strip && j < CANTO_CHUNK; j++) at[j] = 0;
    }
}

// What the rows before, or behind, a block of m rows from row b on give to it.
static void take_others(int n, int panels, const float *pairs, bool turned, int b, int m, float *x)
{
    const int64_t panel = CANTO_CHUNK * CANTO_COLUMNS;
    canto_product_of p = {.rows = m,
                          .columns = panels * CANTO_COLUMNS,
                          .first = {.a = pairs + b * CANTO_CHUNK_WIDE,
                                    .row = CANTO_CHUNK_WIDE,
                                    .column = 1,
                                    .b = x,
                                    .panel = panel,
                                    .depth = b},
                          .keep = 1,
                          .c = x + b * CANTO_COLUMNS,
                          .c_row = CANTO_COLUMNS,
                          .c_panel = panel,
                          .padded = true};
    if (turned) {
        p.first.a = pairs + (b + m) * CANTO_CHUNK_WIDE + b;
        p.first.row = 1;
        p.first.column = CANTO_CHUNK_WIDE;
        p.first.b = x + (b + m) * CANTO_COLUMNS;
        p.first.depth = n - b - m;
    }
    if (p.first.depth > 0) canto_product(&p);
}

// One vector of columns of a block of m rows: each row in turn gives to those behind it, or before
// it.
CANTO_INLINE void solve_vector(const bool turned, const float *pairs, float *x)
{
    vf rows[BLOCK];
    CANTO_UNROLL
    for (int i = 0; i < BLOCK; i++) rows[i] = vload(x + i * CANTO_COLUMNS);
    CANTO_UNROLL
    for (int k = 0; k < BLOCK; k++) {
        const int i = turned ? BLOCK - 1 - k : k;
        CANTO_UNROLL
        for (int other = 0; other < BLOCK; other++) {
            if (turned && other < i) rows[other] += pairs[i * CANTO_CHUNK_WIDE + other] * rows[i];
            if (!turned && other > i) rows[other] += pairs[other * CANTO_CHUNK_WIDE + i] * rows[i];
        }
    }
    CANTO_UNROLL
    for (int i = 0; i < BLOCK; i++) vstore(x + i * CANTO_COLUMNS, rows[i]);
}

static void solve_few(bool turned, int m, const float *pairs, float *x)
{
    for (int k = 0; k < m; k++) {
        const int i = turned ? m - 1 - k : k;
        const int begin = turned ? 0 : i + 1, end = turned ? i : m;
        const vf row = vload(x + i * CANTO_COLUMNS);
        for (int other = begin; other < end; other++) {
            const int at = turned ? i * CANTO_CHUNK_WIDE + other : other * CANTO_CHUNK_WIDE + i;
            vstore(x + other * CANTO_COLUMNS, vload(x + other * CANTO_COLUMNS) + pairs[at] * row);
        }
    }
}

static void solve_block(int panels, const float *pairs, bool turned, int b, int m, float *x)
{
    const float *own = pairs + b * CANTO_CHUNK_WIDE + b;
    for (int v = 0; v < 2 * panels; v++) {
        float *at = x + (v / 2 * CANTO_CHUNK + b) * CANTO_COLUMNS + v % 2 * LANES;
        if (m < BLOCK)
            solve_few(turned, m, own, at);
        else if (turned)
            solve_vector(true, own, at);
        else
            solve_vector(false, own, at);
    }
}

void canto_linear_solve(int n, int panels, const float *pairs, bool turned, float *x)
{
    const int blocks = (n + BLOCK - 1) / BLOCK;
    for (int k = 0; k < blocks; k++) {
        const int b = (turned ? blocks - 1 - k : k) * BLOCK;
        const int m = n - b < BLOCK ? n - b : BLOCK;
        take_others(n, panels, pairs, turned, b, m, x);
        solve_block(panels, pairs, turned, b, m, x);
    }
}
