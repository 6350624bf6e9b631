// See the header.
#include "runtime/cpu/tiles.h"

#include "runtime/cpu/simd.h"

static void exp2_in_place(int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i += LANES) vstore(x + i, vexp2(vload(x + i)));
}

extern const canto_cpu_tiles CANTO_CPU(tiles);
const canto_cpu_tiles CANTO_CPU(tiles) = {
    .lanes = LANES,
    .rows = CANTO_ROWS,
    .columns = CANTO_COLUMNS,
    .panel = CANTO_PANEL,
    .score_rows = CANTO_SCORE_ROWS,
    .product = canto_product,
    .scores = canto_scores,
    .pack_rows = canto_pack_rows,
    .pack_panels = canto_pack_panels,
    .pack_transposed = canto_pack_transposed,
    .exp2 = exp2_in_place,
};
