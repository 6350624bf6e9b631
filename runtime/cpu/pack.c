// See the header. Keeps nothing.
#include "runtime/cpu/pack.h"

#include "runtime/cpu/simd.h"

// Every function of this file is a body for a constant type of the elements, and a choice of the
// body.

// All bits of the lanes that are infinite or no number: their exponent has all its bits.
CANTO_INLINE vi wild(vf v)
{
    const vi exponent = vset_int(0x7f800000);
    return (vints(v) & exponent) == exponent;
}

CANTO_INLINE int64_t row_at(const canto_rows *from, int i)
{
    if (from->share <= 1) return from->at + i * from->stride;
    const int row = from->first + i;
    return from->at + row / from->share * from->stride + row % from->share * from->inner;
}

// --- rows ---

CANTO_INLINE bool pack_rows(const canto_dtype dtype, const canto_rows *from, float *to, int64_t ld)
{
    const int whole = from->columns / LANES * LANES, left = from->columns - whole;
    vi bad = {0};
    for (int i = 0; i < from->n; i++) {
        const int64_t row = row_at(from, i);
        float *out = to + i * ld;
        for (int c = 0; c < whole; c += LANES) {
            const vf v = vload_as(dtype, from->x, row + c);
            bad |= wild(v);
            vstore(out + c, v);
        }
        if (left == 0) continue;
        const vf end = vload_some_as(dtype, from->x, row + whole, left);
        bad |= wild(end);
        vstore_some(out + whole, end, left);
    }
    return !vany(bad);
}

bool canto_pack_rows(const canto_rows *from, float *to, int64_t ld)
{
    return from->dtype == CANTO_BF16 ? pack_rows(CANTO_BF16, from, to, ld)
                                     : pack_rows(CANTO_F32, from, to, ld);
}

// --- panels ---

CANTO_INLINE bool pack_panels(const canto_dtype dtype, const canto_rows *from, const float *scale,
                              float *to, int64_t panel)
{
    const int whole = from->columns / CANTO_COLUMNS, left = from->columns % CANTO_COLUMNS;
    vi bad = {0};
    for (int i = 0; i < from->n; i++) {
        const int64_t row = row_at(from, i);
        const vf factor = vset(scale ? scale[i] : 1);
        float *out = to + (int64_t)i * CANTO_COLUMNS;
        for (int p = 0; p < whole; p++, out += panel) {
            const vf first = vload_as(dtype, from->x, row + p * CANTO_COLUMNS);
            const vf second = vload_as(dtype, from->x, row + p * CANTO_COLUMNS + LANES);
            bad |= wild(first) | wild(second);
            vstore(out, first * factor);
            vstore(out + LANES, second * factor);
        }
        if (left == 0) continue;
        const int64_t end = row + whole * CANTO_COLUMNS;
        const vf first = vload_some_as(dtype, from->x, end, left);
        const vf second =
            left > LANES ? vload_some_as(dtype, from->x, end + LANES, left - LANES) : (vf){0};
        bad |= wild(first) | wild(second);
        vstore(out, first * factor);
        vstore(out + LANES, second * factor);
    }
    return !vany(bad);
}

bool canto_pack_panels(const canto_rows *from, const float *scale, float *to, int64_t panel)
{
    return from->dtype == CANTO_BF16 ? pack_panels(CANTO_BF16, from, scale, to, panel)
                                     : pack_panels(CANTO_F32, from, scale, to, panel);
}

// --- panels of the transpose ---

// LANES rows and columns from row i and column c on: to [columns, width].
CANTO_INLINE vi transpose_square(const canto_dtype dtype, const canto_rows *from, int i, int c,
                                 vf factor, float *to, int width)
{
    vf square[LANES];
    vi bad = {0};
    CANTO_UNROLL
    for (int r = 0; r < LANES; r++) {
        square[r] = vload_as(dtype, from->x, row_at(from, i + r) + c);
        bad |= wild(square[r]);
        square[r] *= factor;
    }
    vtranspose(square);
    CANTO_UNROLL
    for (int r = 0; r < LANES; r++) vstore(to + r * width, square[r]);
    return bad;
}

// The same where there are fewer: rows that are not there are 0, columns are not written.
static vi transpose_corner(const canto_rows *from, int i, int c, vf factor, float *to, int width)
{
    const int rows = from->n - i, columns = from->columns - c;
    vf square[LANES];
    vi bad = {0};
    for (int r = 0; r < LANES; r++) {
        square[r] = (vf){0};
        if (r >= rows) continue;
        const int64_t at = row_at(from, i + r) + c;
        square[r] = from->dtype == CANTO_BF16 ? vload_some_as(CANTO_BF16, from->x, at, columns)
                                              : vload_some_as(CANTO_F32, from->x, at, columns);
        bad |= wild(square[r]);
        square[r] *= factor;
    }
    vtranspose(square);
    for (int r = 0; r < LANES && r < columns; r++) vstore(to + r * width, square[r]);
    return bad;
}

CANTO_INLINE bool pack_transposed(const canto_dtype dtype, const canto_rows *from, float factor,
                                  int width, float *to, int64_t panel)
{
    const int padded = (from->n + width - 1) / width * width;
    vi bad = {0};
    for (int i = 0; i < padded; i += LANES) {
        float *out = to + i / width * panel + i % width;
        for (int c = 0; c < from->columns; c += LANES) {
            const bool whole = i + LANES <= from->n && c + LANES <= from->columns;
            float *square = out + (int64_t)c * width;
            bad |= whole ? transpose_square(dtype, from, i, c, vset(factor), square, width)
                         : transpose_corner(from, i, c, vset(factor), square, width);
        }
    }
    return !vany(bad);
}

bool canto_pack_transposed(const canto_rows *from, float factor, int width, float *to,
                           int64_t panel)
{
    return from->dtype == CANTO_BF16 ? pack_transposed(CANTO_BF16, from, factor, width, to, panel)
                                     : pack_transposed(CANTO_F32, from, factor, width, to, panel);
}
