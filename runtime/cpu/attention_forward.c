// Softmax attention over one banded rectangle, forward, with the online normaliser of
// FlashAttention-2 (Dao 2023) in base 2: per block of keys and panel of lanes
//
//     S = scale log2(e) K q',  m = max over what was seen,  P = 2^(S - m),  sum += P,  O += P' V
//
// A panel's scores are used while they are in the nearest cache. m only rises when a score lies
// more than SLACK above it, because what was summed so far must then shrink; the result is the same
// for every m. Keeps one task on the stack, O(1) per thread; a task belongs to one thread, so that
// the result does not depend on their number.
#include "runtime/cpu/attention_block.h"
#include "runtime/cpu/attention_few.h"
#include "runtime/cpu/cpu.h"
#include "runtime/cpu/product.h"
#include "runtime/cpu/simd.h"

#include <math.h>
#include <stdalign.h>

enum { LANES_MOST = 384, PANELS_MOST = LANES_MOST / CANTO_PANEL, KEYS_MOST = 96 };
enum { ROOM = 120 << 10 }; // floats
enum { WIDE_VECTORS = CANTO_PANEL / LANES };

static const float slack = 8;       // of log2
static const float lowest = -1e30f; // m before any key

// A block of keys and values, packed.
typedef struct block {
    int64_t k0; // position of the first key
    int keys;
    float *key_rows; // [keys, key_dim]
    float *values;   // [value panels, keys, CANTO_COLUMNS]
    bool finite;     // all values are
} block;

// What a task works on: places in `room`, of the sizes that the dims ask for.
typedef struct space {
    int keys;        // of a block at most
    float *queries;  // [panels, key_dim, CANTO_PANEL], scaled
    float *out;      // [panels, value panels, CANTO_PANEL, CANTO_COLUMNS]
    canto_soon soon; // of the next block
    block blocks[2]; // one is used while the other is packed
    float *scores;   // [keys, CANTO_PANEL]
    alignas(64) float largest[PANELS_MOST * CANTO_PANEL]; // m
    alignas(64) float sum[PANELS_MOST * CANTO_PANEL];
    alignas(64) float room[ROOM];
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

static int value_panels(const canto_attention_shape *shape)
{
    return (shape->value_dim + CANTO_COLUMNS - 1) / CANTO_COLUMNS;
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
    const int lanes = task_lanes(shape);
    s->keys = shape->key_dim + shape->value_dim <= 256 ? KEYS_MOST : KEYS_MOST / 2;
    const int64_t columns = (int64_t)value_panels(shape) * CANTO_COLUMNS;
    s->queries = take(&room, (int64_t)lanes * shape->key_dim);
    s->out = take(&room, lanes * columns);
    for (int i = 0; i < 2; i++) {
        s->blocks[i].key_rows = take(&room, (int64_t)(s->keys + CANTO_SCORE_ROWS) * shape->key_dim);
        s->blocks[i].values = take(&room, s->keys * columns);
    }
    s->scores = take(&room, (int64_t)(s->keys + CANTO_SCORE_ROWS) * CANTO_PANEL);
}

// The sums of a panel.
static float *out_of(const canto_attention_task *task, const space *s, int panel)
{
    return s->out + (int64_t)panel * value_panels(task->shape) * CANTO_PANEL * CANTO_COLUMNS;
}

static int lanes_of(const canto_attention_task *task, int panel)
{
    const int left = task->lanes - panel * CANTO_PANEL;
    return left < CANTO_PANEL ? left : CANTO_PANEL;
}

// All bits of the lanes of `range`, counted from the first lane of the panel, that vector v holds.
static vi mask_of(canto_range range, int v)
{
    const vi lane = viota() + v * LANES;
    return (lane >= range.begin) & (lane < range.end);
}

// Rows [begin, end) of a panel's scores: what is masked becomes -inf.
static void mask_scores(const canto_attention_task *task, int panel, int64_t k0, canto_range rows,
                        float *scores)
{
    for (int j = rows.begin; j < rows.end; j++) {
        canto_range range = canto_attention_lanes_of(task, k0 + j);
        range.begin -= panel * CANTO_PANEL;
        range.end -= panel * CANTO_PANEL;
        CANTO_UNROLL
        for (int v = 0; v < WIDE_VECTORS; v++) {
            float *at = scores + j * CANTO_PANEL + v * LANES;
            vstore(at, vselect(mask_of(range, v), vload(at), vset(-INFINITY)));
        }
    }
}

// What was summed against an old m shrinks by 2^(old - m).
static void shrink(const canto_attention_task *task, const float *factor, int lanes, float *out,
                   float *sum)
{
    const int panels = value_panels(task->shape);
    for (int i = 0; i < lanes; i++) {
        if (factor[i] == 1) continue;
        sum[i] *= factor[i];
        for (int p = 0; p < panels; p++) {
            float *row = out + (p * CANTO_PANEL + i) * CANTO_COLUMNS;
            for (int c = 0; c < CANTO_COLUMNS; c++) row[c] *= factor[i];
        }
    }
}

// Raises m to the largest score of rows [begin, end) where one lies too far above it.
static void raise_largest(const canto_attention_task *task, int panel, canto_range rows, space *s)
{
    float *largest = s->largest + panel * CANTO_PANEL;
    alignas(64) float factor[CANTO_PANEL];
    vf most[WIDE_VECTORS];
    vi above = {0};
    CANTO_UNROLL
    for (int v = 0; v < WIDE_VECTORS; v++) most[v] = vload(largest + v * LANES);
    for (int j = rows.begin; j < rows.end; j++) {
        CANTO_UNROLL
        for (int v = 0; v < WIDE_VECTORS; v++)
            most[v] = vmax(most[v], vload(s->scores + j * CANTO_PANEL + v * LANES));
    }
    CANTO_UNROLL
    for (int v = 0; v < WIDE_VECTORS; v++) above |= most[v] > vload(largest + v * LANES) + slack;
    if (!vany(above)) return;
    CANTO_UNROLL
    for (int v = 0; v < WIDE_VECTORS; v++) {
        const vf old = vload(largest + v * LANES);
        vstore(factor + v * LANES, vselect(most[v] > old, vexp2(old - most[v]), vset(1)));
        vstore(largest + v * LANES, most[v]);
    }
    shrink(task, factor, lanes_of(task, panel), out_of(task, s, panel),
           s->sum + panel * CANTO_PANEL);
}

// Scores become probabilities, which the sums take in. `masked`: -inf becomes exactly 0.
CANTO_INLINE void exponentiate(const bool masked, canto_range rows, const float *largest,
                               float *scores, float *sum)
{
    vf total[WIDE_VECTORS], base[WIDE_VECTORS];
    CANTO_UNROLL
    for (int v = 0; v < WIDE_VECTORS; v++) {
        base[v] = vload(largest + v * LANES);
        total[v] = (vf){0};
    }
    for (int j = rows.begin; j < rows.end; j++) {
        float *at = scores + j * CANTO_PANEL;
        vf p[WIDE_VECTORS];
        vi seen[WIDE_VECTORS];
        CANTO_UNROLL
        for (int v = 0; v < WIDE_VECTORS; v++) p[v] = vload(at + v * LANES);
        CANTO_UNROLL
        for (int v = 0; v < WIDE_VECTORS; v++) {
            seen[v] = p[v] != vset(-INFINITY);
            p[v] -= base[v];
        }
        vexp2_all(WIDE_VECTORS, p);
        CANTO_UNROLL
        for (int v = 0; v < WIDE_VECTORS; v++) {
            if (masked) p[v] = vbits(vints(p[v]) & seen[v]);
            vstore(at + v * LANES, p[v]);
            total[v] += p[v];
        }
    }
    CANTO_UNROLL
    for (int v = 0; v < WIDE_VECTORS; v++)
        vstore(sum + v * LANES, vload(sum + v * LANES) + total[v]);
}

// O += P' V over the block's keys that the panel sees. Values that are not finite must not meet the
// zeros of masked pairs: then every lane has a range of its own.
static void add_values(const canto_attention_task *task, int panel, const block *b, space *s)
{
    int begin[CANTO_PANEL], end[CANTO_PANEL];
    const int first = panel * CANTO_PANEL, lanes = lanes_of(task, panel);
    const int strip = b->finite ? CANTO_ROWS : 1;
    for (int i = 0; i < lanes; i += strip) {
        const int last = first + (lanes - i < strip ? lanes : i + strip) - 1;
        begin[i / strip] = canto_attention_keys_of(task, first + i, b->k0, b->keys).begin;
        end[i / strip] = canto_attention_keys_of(task, last, b->k0, b->keys).end;
    }
    const canto_product_of p = {.rows = lanes,
                                .columns = task->shape->value_dim,
                                .first = {.a = s->scores,
                                          .row = 1,
                                          .column = CANTO_PANEL,
                                          .depth = b->keys,
                                          .b = b->values,
                                          .panel = (int64_t)s->keys * CANTO_COLUMNS,
                                          .begin = begin,
                                          .end = end},
                                .keep = 1,
                                .c = out_of(task, s, panel),
                                .c_row = CANTO_COLUMNS,
                                .c_panel = CANTO_PANEL * CANTO_COLUMNS,
                                .single = strip == 1,
                                .padded = true};
    canto_product(&p);
}

static void add_block(const canto_attention_task *task, int panel, const block *b, space *s)
{
    const int dim = task->shape->key_dim, first = panel * CANTO_PANEL;
    const canto_attention_seen seen =
        canto_attention_seen_by(task, first, first + lanes_of(task, panel), b->k0, b->keys);
    const canto_range any = seen.any, all = seen.all;
    if (any.begin >= any.end) return;
    const int rows =
        (any.end - any.begin + CANTO_SCORE_ROWS - 1) / CANTO_SCORE_ROWS * CANTO_SCORE_ROWS;
    canto_scores(rows, dim, b->key_rows + (int64_t)any.begin * dim, dim,
                 s->queries + (int64_t)first * dim, s->scores + any.begin * CANTO_PANEL,
                 CANTO_PANEL, &s->soon);
    const canto_range before = {any.begin, all.begin}, after = {all.end, any.end};
    mask_scores(task, panel, b->k0, before, s->scores);
    mask_scores(task, panel, b->k0, after, s->scores);
    raise_largest(task, panel, any, s);
    float *largest = s->largest + first, *sum = s->sum + first;
    exponentiate(true, before, largest, s->scores, sum);
    exponentiate(false, all, largest, s->scores, sum);
    exponentiate(true, after, largest, s->scores, sum);
    add_values(task, panel, b, s);
}

// The task's partial result is merged with what o and lse hold.
static void finish(const canto_attention_task *task, const space *s, float *o, float *lse)
{
    const int dim = task->shape->value_dim;
    alignas(64) float row[CANTO_HEAD_DIM_MAX + CANTO_COLUMNS];
    for (int i = 0; i < task->lanes; i++) {
        if (s->sum[i] == 0) continue; // no keys
        const float *out = out_of(task, s, i / CANTO_PANEL) + i % CANTO_PANEL * CANTO_COLUMNS;
        const float inverse = 1 / s->sum[i];
        for (int p = 0; p < value_panels(task->shape); p++) {
            for (int c = 0; c < CANTO_COLUMNS; c++)
                row[p * CANTO_COLUMNS + c] = inverse * out[p * CANTO_PANEL * CANTO_COLUMNS + c];
        }
        const double own = s->largest[i] * CANTO_LN_2 + log((double)s->sum[i]);
        const int64_t at = canto_attention_row_of(task, i);
        canto_attention_merge_row(dim, row, (float)own, o + at * dim, &lse[at]);
    }
}

// The keys [k0, k1) at most; none of them is packed yet.
static void begin_block(int64_t k0, int64_t k1, const space *s, block *b)
{
    b->k0 = k0;
    b->keys = k1 - k0 < s->keys ? (int)(k1 - k0) : s->keys;
    b->finite = true;
}

static void pack_block(const canto_attention_task *task, const float *kv, const space *s, block *b)
{
    const int dim = task->shape->key_dim;
    const canto_rows key_rows = canto_attention_keys_at(task, b->k0, b->keys, kv);
    const canto_rows values = canto_attention_values_at(task, b->k0, b->keys, kv);
    canto_pack_rows(&key_rows, b->key_rows, dim);
    // As many as scores read too many.
    memset(b->key_rows + (int64_t)b->keys * dim, 0,
           sizeof *b->key_rows * (size_t)(CANTO_SCORE_ROWS * dim));
    b->finite = canto_pack_panels(&values, NULL, b->values, (int64_t)s->keys * CANTO_COLUMNS);
}

// All of a block, in as many turns as scores of the other one give.
static canto_soon ask_for_block(const canto_attention_task *task, const float *kv, const block *now,
                                const block *b)
{
    const canto_rows blocks[] = {canto_attention_keys_at(task, b->k0, b->keys, kv),
                                 canto_attention_values_at(task, b->k0, b->keys, kv)};
    const int64_t turns = (int64_t)task->panels * (now->keys + CANTO_SCORE_ROWS) / CANTO_SCORE_ROWS;
    return canto_soon_make(2, blocks, turns);
}

static void run_task(const canto_attention_task *task, const float *q, const float *kv, float *o,
                     float *lse, space *s)
{
    const canto_attention_shape *shape = task->shape;
    int64_t k0, k1;
    canto_attention_keys(task, &k0, &k1);
    if (k0 >= k1) return;
    const canto_rows queries = canto_attention_lanes(task, q, shape->key_dim);
    canto_pack_transposed(&queries, (float)(shape->scale * CANTO_LOG2_E), CANTO_PANEL, s->queries,
                          (int64_t)shape->key_dim * CANTO_PANEL);
    const int64_t sums = (int64_t)task->panels * value_panels(shape) * CANTO_PANEL * CANTO_COLUMNS;
    memset(s->out, 0, sizeof *s->out * (size_t)sums);
    for (int i = 0; i < task->panels * CANTO_PANEL; i++) {
        s->largest[i] = lowest;
        s->sum[i] = 0;
    }
    block *now = &s->blocks[0], *next = &s->blocks[1];
    begin_block(k0, k1, s, now);
    pack_block(task, kv, s, now);
    while (now->keys > 0) {
        begin_block(now->k0 + now->keys, k1, s, next);
        s->soon = ask_for_block(task, kv, now, next);
        for (int panel = 0; panel < task->panels; panel++) add_block(task, panel, now, s);
        pack_block(task, kv, s, next);
        block *used = now;
        now = next;
        next = used;
    }
    finish(task, s, o, lse);
}

void CANTO_CPU(attention_forward)(const canto_device *device, const canto_attention_shape *shape,
                                  const canto_band *tile, const float *q, const float *kv, float *o,
                                  float *lse)
{
    if (canto_attention_is_few(shape, tile)) {
        canto_attention_few(shape, tile, q, kv, o, lse);
        return;
    }
    const int lanes = task_lanes(shape), share = canto_attention_share(shape, lanes);
    const int rows = lanes / share;
    const int64_t blocks = (tile->q1 - tile->q0 + rows - 1) / rows;
    const int64_t tasks = blocks > 0 ? blocks * (shape->heads / share) : 0;
    // Last blocks first: under a causal mask they are the longest.
#pragma omp parallel for schedule(dynamic, 1) if (canto_attention_is_large(shape, tile))
    for (int64_t i = 0; i < tasks; i++) {
        const canto_attention_task task =
            canto_attention_task_make(shape, tile, (int)(i / blocks) * share, share,
                                      tile->q0 + (blocks - 1 - i % blocks) * rows, rows * share);
        space s;
        lay_out(shape, &s);
        run_task(&task, q, kv, o, lse, &s);
    }
}
