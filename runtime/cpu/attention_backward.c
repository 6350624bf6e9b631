// Softmax attention over one banded rectangle, backward, from the final lse and delta of each row
// (FlashAttention-2, Dao 2023): per task and block of keys
//
//     P = exp(scale q k' - lse),  dV += P' dO,  dS = scale P * (dO V' - delta),
//     dQ += dS K,  dK += dS' Q
//
// in five products. Keeps one task and one block on the stack, O(1) per thread. Work is cut into
// runs of rows and of keys, of lengths that depend on the rectangle alone, and goes in rounds in
// which no two pairs of runs have rows or keys in common: then threads share one head, and every
// number is summed in one order whatever their number.
#include "runtime/cpu/attention_block.h"
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/product.h"
#include "runtime/cpu/simd.h"

#include <math.h>
#include <stdalign.h>

enum { LANES_MOST = 192, KEYS = 96, WIDE_VECTORS = CANTO_PANEL / LANES };
enum { KEYS_READ = KEYS + CANTO_SCORE_ROWS }; // by scores
enum { ROOM = 150 << 10 };                    // floats

typedef struct arrays {
    const float *q, *kv, *dout, *lse, *delta; // borrowed
    float *dq, *dkv;                          // borrowed
} arrays;

// What a task works on: places in `room`, of the sizes that the dims ask for.
typedef struct space {
    int lanes;            // of a task at most
    float *query_columns; // [panels, key_dim, CANTO_PANEL], scaled: to be multiplied with keys
    float *dout_columns;  // [panels, value_dim, CANTO_PANEL]
    float *queries;       // [key panels, lanes, CANTO_COLUMNS]: to be multiplied with dS
    float *douts;         // [value panels, lanes, CANTO_COLUMNS]
    float *dq;            // [key panels, lanes, CANTO_COLUMNS], of all blocks
    float *key_rows;      // [KEYS_READ, key_dim]
    float *value_rows;    // [KEYS_READ, value_dim]
    float *key_panels;    // [key panels, KEYS, CANTO_COLUMNS]
    float *probabilities; // [panels, KEYS_READ, CANTO_PANEL]
    float *slopes;        // [panels, KEYS_READ, CANTO_PANEL]: dS
    canto_soon soon;      // the next block of keys
    bool finite;          // all of the queries, of dout and of the block's keys
    bool rows_finite;     // all of the queries and of dout
    alignas(64) float lse[LANES_MOST]; // base 2
    alignas(64) float delta[LANES_MOST];
    alignas(64) float room[ROOM];
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

static int panels(int dim)
{
    return (dim + CANTO_COLUMNS - 1) / CANTO_COLUMNS;
}

// What lies in the nearer caches while a block is used, so that the wider the heads are, the fewer.
static int task_lanes(const canto_attention_shape *shape)
{
    const int dims = shape->key_dim + shape->value_dim;
    return dims <= 128 ? LANES_MOST : dims <= 256 ? LANES_MOST / 2 : LANES_MOST / 4;
}

static float *take(float **room, int64_t count)
{
    float *taken = *room;
    *room += (count + 15) / 16 * 16;
    return taken;
}

static void lay_out(const canto_attention_shape *shape, space *s)
{
    float *room = s->room;
    s->lanes = task_lanes(shape);
    const int64_t lanes = s->lanes;
    const int64_t key_columns = panels(shape->key_dim) * CANTO_COLUMNS;
    const int64_t value_columns = panels(shape->value_dim) * CANTO_COLUMNS;
    s->query_columns = take(&room, lanes * shape->key_dim);
    s->dout_columns = take(&room, lanes * shape->value_dim);
    s->queries = take(&room, lanes * key_columns);
    s->douts = take(&room, lanes * value_columns);
    s->dq = take(&room, lanes * key_columns);
    s->key_rows = take(&room, (int64_t)KEYS_READ * shape->key_dim);
    s->value_rows = take(&room, (int64_t)KEYS_READ * shape->value_dim);
    s->key_panels = take(&room, KEYS * key_columns);
    s->probabilities = take(&room, KEYS_READ * lanes);
    s->slopes = take(&room, KEYS_READ * lanes);
}

// --- the rows of a task ---

// A row that is skipped, because its lse is -inf, becomes zeros throughout.
static void clear_lane(const canto_attention_task *task, int i, space *s)
{
    const int key_dim = task->shape->key_dim, value_dim = task->shape->value_dim;
    const int64_t column = i / CANTO_PANEL * CANTO_PANEL;
    for (int c = 0; c < key_dim; c++) {
        s->query_columns[column * key_dim + c * CANTO_PANEL + i % CANTO_PANEL] = 0;
        s->queries[(c / CANTO_COLUMNS * s->lanes + i) * CANTO_COLUMNS + c % CANTO_COLUMNS] = 0;
    }
    for (int c = 0; c < value_dim; c++) {
        s->dout_columns[column * value_dim + c * CANTO_PANEL + i % CANTO_PANEL] = 0;
        s->douts[(c / CANTO_COLUMNS * s->lanes + i) * CANTO_COLUMNS + c % CANTO_COLUMNS] = 0;
    }
}

static void load_rows(const canto_attention_task *task, const arrays *a, space *s)
{
    const canto_attention_shape *shape = task->shape;
    const canto_rows q = canto_attention_lanes(task, a->q, shape->key_dim);
    const canto_rows dout = canto_attention_lanes(task, a->dout, shape->value_dim);
    canto_pack_transposed(&q, (float)(shape->scale * CANTO_LOG2_E), CANTO_PANEL, s->query_columns,
                          (int64_t)shape->key_dim * CANTO_PANEL);
    canto_pack_transposed(&dout, 1, CANTO_PANEL, s->dout_columns,
                          (int64_t)shape->value_dim * CANTO_PANEL);
    const bool q_finite = canto_pack_panels(&q, NULL, s->queries, s->lanes * CANTO_COLUMNS);
    const bool dout_finite = canto_pack_panels(&dout, NULL, s->douts, s->lanes * CANTO_COLUMNS);
    s->rows_finite = q_finite && dout_finite;
    memset(s->dq, 0, sizeof *s->dq * (size_t)(panels(shape->key_dim) * s->lanes * CANTO_COLUMNS));
    for (int i = 0; i < s->lanes; i++) {
        s->lse[i] = s->delta[i] = 0;
        if (i >= task->lanes) continue;
        const int64_t at = canto_attention_row_of(task, i);
        if (a->lse[at] == -INFINITY) {
            clear_lane(task, i, s);
            continue;
        }
        s->lse[i] = (float)(a->lse[at] * CANTO_LOG2_E);
        s->delta[i] = a->delta[at];
    }
}

static void store_rows(const canto_attention_task *task, const space *s, float *dq)
{
    const int dim = task->shape->key_dim;
    for (int i = 0; i < task->lanes; i++) {
        float *out = dq + canto_attention_row_of(task, i) * dim;
        for (int p = 0; p < panels(dim); p++) {
            const float *sum = s->dq + (p * s->lanes + i) * CANTO_COLUMNS;
            const int left = dim - p * CANTO_COLUMNS,
                      n = left < CANTO_COLUMNS ? left : CANTO_COLUMNS;
            for (int c = 0; c < n; c++) out[p * CANTO_COLUMNS + c] += sum[c];
        }
    }
}

// --- a block of keys ---

static void load_keys(const canto_attention_task *task, int64_t k0, int keys, const float *kv,
                      space *s)
{
    const canto_attention_shape *shape = task->shape;
    const canto_rows key_rows = canto_attention_keys_at(task, k0, keys, kv);
    const canto_rows value_rows = canto_attention_values_at(task, k0, keys, kv);
    canto_pack_rows(&key_rows, s->key_rows, shape->key_dim);
    canto_pack_rows(&value_rows, s->value_rows, shape->value_dim);
    // As many as scores read too many.
    memset(s->key_rows + (int64_t)keys * shape->key_dim, 0,
           sizeof *s->key_rows * (size_t)(CANTO_SCORE_ROWS * shape->key_dim));
    memset(s->value_rows + (int64_t)keys * shape->value_dim, 0,
           sizeof *s->value_rows * (size_t)(CANTO_SCORE_ROWS * shape->value_dim));
    s->finite = canto_pack_panels(&key_rows, NULL, s->key_panels, KEYS * CANTO_COLUMNS);
    s->finite = s->finite && s->rows_finite;
}

static vi mask_of(canto_range range, int first)
{
    const vi lane = viota() + first;
    return (lane >= range.begin) & (lane < range.end);
}

// Where a panel's row of pairs with key j lies.
static int pair_at(int panel, int j)
{
    return (panel * KEYS_READ + j) * CANTO_PANEL;
}

// Rows [begin, end) of a panel: scores become probabilities, products of dout with the values
// become dS. `masked`: both become 0 for the pairs that the band does not allow.
CANTO_INLINE void differentiate(const bool masked, const canto_attention_task *task, int panel,
                                int64_t k0, canto_range rows, space *s)
{
    const vf scale = vset(task->shape->scale);
    vf lse[WIDE_VECTORS], delta[WIDE_VECTORS];
    CANTO_UNROLL
    for (int v = 0; v < WIDE_VECTORS; v++) {
        lse[v] = vload(s->lse + panel * CANTO_PANEL + v * LANES);
        delta[v] = vload(s->delta + panel * CANTO_PANEL + v * LANES);
    }
    for (int j = rows.begin; j < rows.end; j++) {
        const int at = pair_at(panel, j);
        canto_range range = {0, 0};
        if (masked) range = canto_attention_lanes_of(task, k0 + j);
        float *p_at = s->probabilities + at, *slope_at = s->slopes + at;
        vf p[WIDE_VECTORS];
        CANTO_UNROLL
        for (int v = 0; v < WIDE_VECTORS; v++) p[v] = vload(p_at + v * LANES) - lse[v];
        vexp2_all(WIDE_VECTORS, p);
        CANTO_UNROLL
        for (int v = 0; v < WIDE_VECTORS; v++) {
            vf slope = p[v] * scale * (vload(slope_at + v * LANES) - delta[v]);
            if (masked) {
                const vi mask = mask_of(range, panel * CANTO_PANEL + v * LANES);
                p[v] = vbits(vints(p[v]) & mask);
                slope = vbits(vints(slope) & mask);
            }
            vstore(p_at + v * LANES, p[v]);
            vstore(slope_at + v * LANES, slope);
        }
    }
}

static void clear_rows(canto_range rows, int panel, space *s)
{
    for (int j = rows.begin; j < rows.end; j++) {
        const int at = pair_at(panel, j);
        memset(s->probabilities + at, 0, sizeof *s->probabilities * CANTO_PANEL);
        memset(s->slopes + at, 0, sizeof *s->slopes * CANTO_PANEL);
    }
}

static void fill_panel(const canto_attention_task *task, int panel, int64_t k0, int keys, space *s)
{
    const int key_dim = task->shape->key_dim, value_dim = task->shape->value_dim;
    const int first = panel * CANTO_PANEL, left = task->lanes - first;
    const int lanes = left < CANTO_PANEL ? left : CANTO_PANEL;
    const canto_attention_seen seen = canto_attention_seen_by(task, first, first + lanes, k0, keys);
    const canto_range any = seen.any, all = seen.all;
    if (any.begin < any.end) {
        const int rows = (any.end - any.begin + CANTO_SCORE_ROWS - 1) / CANTO_SCORE_ROWS;
        canto_scores(rows * CANTO_SCORE_ROWS, key_dim, s->key_rows + (int64_t)any.begin * key_dim,
                     key_dim, s->query_columns + (int64_t)first * key_dim,
                     s->probabilities + pair_at(panel, any.begin), CANTO_PANEL, &s->soon);
        canto_scores(rows * CANTO_SCORE_ROWS, value_dim,
                     s->value_rows + (int64_t)any.begin * value_dim, value_dim,
                     s->dout_columns + (int64_t)first * value_dim,
                     s->slopes + pair_at(panel, any.begin), CANTO_PANEL, &s->soon);
        differentiate(true, task, panel, k0, (canto_range){any.begin, all.begin}, s);
        differentiate(false, task, panel, k0, all, s);
        differentiate(true, task, panel, k0, (canto_range){all.end, any.end}, s);
    }
    clear_rows((canto_range){0, any.begin}, panel, s);
    clear_rows((canto_range){any.end, keys}, panel, s);
}

// dkv rows of the block += left' right over the lanes that see them: dV from probabilities and
// dout, dK from dS and the queries.
static void sum_over_lanes(const canto_attention_task *task, int64_t k0, int keys, const space *s,
                           const float *left, const float *right, int columns, float *out)
{
    int begin[KEYS], end[KEYS];
    const int strip = s->finite ? CANTO_ROWS : 1;
    for (int j = 0; j < keys; j += strip) {
        const int last = (keys - j < strip ? keys : j + strip) - 1;
        begin[j / strip] = canto_attention_lanes_of(task, k0 + j).begin;
        end[j / strip] = canto_attention_lanes_of(task, k0 + last).end;
    }
    const canto_product_of p = {.rows = keys,
                                .columns = columns,
                                .first = {.a = left,
                                          .row = CANTO_PANEL,
                                          .column = 1,
                                          .part = CANTO_PANEL,
                                          .part_at = KEYS_READ * CANTO_PANEL,
                                          .depth = task->lanes,
                                          .b = right,
                                          .panel = (int64_t)s->lanes * CANTO_COLUMNS,
                                          .begin = begin,
                                          .end = end},
                                .keep = 1,
                                .c = out,
                                .c_row = canto_attention_kv_width(task->shape),
                                .c_panel = CANTO_COLUMNS,
                                .far = true,
                                .single = strip == 1};
    canto_product(&p);
}

// dQ of a panel.
static void sum_over_keys(const canto_attention_task *task, int panel, int64_t k0, int keys,
                          space *s)
{
    int begin[CANTO_PANEL], end[CANTO_PANEL];
    const int first = panel * CANTO_PANEL, left = task->lanes - first;
    const int lanes = left < CANTO_PANEL ? left : CANTO_PANEL;
    const int strip = s->finite ? CANTO_ROWS : 1;
    for (int i = 0; i < lanes; i += strip) {
        const int last = first + (lanes - i < strip ? lanes : i + strip) - 1;
        begin[i / strip] = canto_attention_keys_of(task, first + i, k0, keys).begin;
        end[i / strip] = canto_attention_keys_of(task, last, k0, keys).end;
    }
    const canto_product_of p = {.rows = lanes,
                                .columns = task->shape->key_dim,
                                .first = {.a = s->slopes + pair_at(panel, 0),
                                          .row = 1,
                                          .column = CANTO_PANEL,
                                          .depth = keys,
                                          .b = s->key_panels,
                                          .panel = KEYS * CANTO_COLUMNS,
                                          .begin = begin,
                                          .end = end},
                                .keep = 1,
                                .c = s->dq + first * CANTO_COLUMNS,
                                .c_row = CANTO_COLUMNS,
                                .c_panel = (int64_t)s->lanes * CANTO_COLUMNS,
                                .single = strip == 1,
                                .padded = true};
    canto_product(&p);
}

static void add_block(const canto_attention_task *task, int64_t k0, int keys, const arrays *a,
                      space *s)
{
    for (int panel = 0; panel < task->panels; panel++) {
        fill_panel(task, panel, k0, keys, s);
        sum_over_keys(task, panel, k0, keys, s);
    }
    sum_over_lanes(task, k0, keys, s, s->probabilities, s->douts, task->shape->value_dim,
                   a->dkv + canto_attention_value_at(task, k0));
    sum_over_lanes(task, k0, keys, s, s->slopes, s->queries, task->shape->key_dim,
                   a->dkv + canto_attention_key_at(task, k0));
}

static int block_length(int64_t k0, int64_t k1)
{
    return k1 - k0 < KEYS ? (int)(k1 - k0) : KEYS;
}

// All of a block, in as many turns as the scores of a whole one give.
static canto_soon ask_for_block(const canto_attention_task *task, const float *kv, int64_t k0,
                                int keys)
{
    const canto_rows blocks[] = {canto_attention_keys_at(task, k0, keys, kv),
                                 canto_attention_values_at(task, k0, keys, kv)};
    return canto_soon_make(2, blocks, 2L * task->panels * KEYS / CANTO_SCORE_ROWS);
}

// The keys [k0, k1) of a task.
static void run_task(const canto_attention_task *task, int64_t k0, int64_t k1, const arrays *a,
                     space *s)
{
    int64_t first, last;
    canto_attention_keys(task, &first, &last);
    k0 = k0 > first ? k0 : first;
    k1 = k1 < last ? k1 : last;
    if (k0 >= k1) return;
    load_rows(task, a, s);
    for (int keys; k0 < k1; k0 += keys) {
        keys = block_length(k0, k1);
        load_keys(task, k0, keys, a->kv, s);
        s->soon = ask_for_block(task, a->kv, k0 + keys, block_length(k0 + keys, k1));
        add_block(task, k0, keys, a, s);
    }
    store_rows(task, s, a->dq);
}

// --- rounds ---

enum { RUNS = 8, RUN_LEAST = 1024 }; // rows or keys of a run at least

// Number of consecutive query heads of which no other head shares keys or values: the least common
// multiple of the two group sizes.
static int closed_group(const canto_attention_shape *shape)
{
    const int per_key = shape->heads / shape->key_heads;
    const int per_value = shape->heads / shape->value_heads;
    int group = per_key;
    while (group % per_value != 0) group += per_key;
    return group;
}

// Number of runs that rows and keys are both cut into.
static int count_runs(const canto_band *tile)
{
    const int64_t rows = tile->q1 - tile->q0, keys = tile->k1 - tile->k0;
    const int64_t least = (rows < keys ? rows : keys) / RUN_LEAST;
    return least < 1 ? 1 : least < RUNS ? (int)least : RUNS;
}

// Run i of n of [begin, end).
static int64_t run_begin(int64_t begin, int64_t end, int i, int n)
{
    return begin + (end - begin) * i / n;
}

// One pair of runs for the heads of one group.
static void run_pair(const canto_attention_shape *shape, const canto_band *tile, int head,
                     int row_run, int key_run, int runs, const arrays *a)
{
    const int lanes = task_lanes(shape), share = canto_attention_share(shape, lanes);
    const int rows = lanes / share, group = closed_group(shape);
    const int64_t q1 = run_begin(tile->q0, tile->q1, row_run + 1, runs);
    const int64_t k0 = run_begin(tile->k0, tile->k1, key_run, runs);
    const int64_t k1 = run_begin(tile->k0, tile->k1, key_run + 1, runs);
    space s;
    lay_out(shape, &s);
    for (int h = head; h < head + group; h += share) {
        for (int64_t q0 = run_begin(tile->q0, tile->q1, row_run, runs); q0 < q1; q0 += rows) {
            const int left = q1 - q0 < rows ? (int)(q1 - q0) : rows;
            const canto_attention_task task =
                canto_attention_task_make(shape, tile, h, share, q0, left * share);
            run_task(&task, k0, k1, a, &s);
        }
    }
}

void CANTO_CPU(attention_backward)(const canto_device *device, const canto_attention_shape *shape,
                                   const canto_band *tile, const float *q, const float *kv,
                                   const float *dout, const float *lse, const float *delta,
                                   float *dq, float *dkv)
{
    const arrays a = {q, kv, dout, lse, delta, dq, dkv};
    const int group = closed_group(shape), runs = count_runs(tile);
    const int pairs = shape->heads / group * runs; // of a round
    for (int round = 0; round < runs; round++) {
#pragma omp parallel for schedule(dynamic, 1) if (canto_attention_is_large(shape, tile))
        for (int pair = 0; pair < pairs; pair++) {
            const int row_run = pair % runs, key_run = (row_run + runs - round) % runs;
            run_pair(shape, tile, pair / runs * group, row_run, key_run, runs, &a);
        }
    }
}
