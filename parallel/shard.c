// Divides a stream of sequences over ranks. Nothing is sent: every rank computes all spans.
// Zigzag: 2W chunks, chunk c and chunk 2W-1-c to one rank, so that causal work is equal
// (Megatron's and zhuzilin's balance of ring attention).
#define _GNU_SOURCE
#include "parallel/shard.h"

#include "parallel/digest.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

// The inputs, and the place of the rank whose spans are being made.
typedef struct division {
    canto_layout layout;
    int size, sequences_n;
    const int64_t *bounds;
    const int *weights;
    int64_t total; // chunks, or weight of all ranks
    int rank;
    int64_t before; // chunks, or weight, of the ranks before
} division;

// Where the first `chunks` of all chunks of a sequence end.
static int64_t cut(const division *d, int sequence, int64_t chunks)
{
    int64_t begin = d->bounds[sequence];
    return begin + (d->bounds[sequence + 1] - begin) * chunks / d->total;
}

static int64_t rank_weight(const division *d, int rank)
{
    return d->layout == CANTO_LAYOUT_UNEVEN ? d->weights[rank] : 1;
}

static void next_rank(division *d)
{
    d->before += rank_weight(d, d->rank);
    d->rank++;
}

static division division_start(canto_layout layout, int size, int sequences_n,
                               const int64_t *bounds, const int *weights)
{
    division d = {layout, size, sequences_n, bounds, weights, 0, 0, 0};
    for (int r = 0; r < size; r++) d.total += rank_weight(&d, r);
    if (layout == CANTO_LAYOUT_ZIGZAG) d.total *= 2;
    return d;
}

// The spans of d's rank in one sequence, in order of position; `local` is not set. At most 2.
static int rank_spans(const division *d, int sequence, canto_span *spans)
{
    int64_t to = d->before + rank_weight(d, d->rank);
    int n = 0;
    canto_span span = {cut(d, sequence, d->before), cut(d, sequence, to), 0};
    if (span.begin < span.end) spans[n++] = span;
    if (d->layout != CANTO_LAYOUT_ZIGZAG) return n;
    span = (canto_span){cut(d, sequence, d->total - to), cut(d, sequence, d->total - d->before), 0};
    if (span.begin == span.end) return n;
    if (n == 1 && spans[0].end == span.begin) {
        spans[0].end = span.end;
        return n;
    }
    spans[n++] = span;
    return n;
}

static canto_share share_of(const division *d)
{
    canto_share share = {0};
    canto_span spans[2];
    for (int s = 0; s < d->sequences_n; s++) {
        int n = rank_spans(d, s, spans);
        for (int i = 0; i < n; i++) share.tokens += spans[i].end - spans[i].begin;
        share.spans += n;
    }
    return share;
}

canto_share canto_shards_share(canto_layout layout, int size, int sequences_n,
                               const int64_t *bounds, const int *weights, int rank)
{
    division d = division_start(layout, size, sequences_n, bounds, weights);
    while (d.rank < rank) next_rank(&d);
    return share_of(&d);
}

static canto_status check_inputs(canto_layout layout, int size, int sequences_n,
                                 const int64_t *bounds, const int *weights)
{
    CANTO_CHECK(size > 0 && sequences_n >= 0, "shards: %d ranks, %d sequences", size, sequences_n);
    CANTO_CHECK(bounds[0] == 0, "shards: the first sequence begins at %lld instead of 0",
                (long long)bounds[0]);
    // Spans, and a few for each of them, are counted by ints.
    if ((int64_t)sequences_n * size > INT_MAX / 16)
        CANTO_FAIL(
            CANTO_ERROR_CONFIG,
            "shards: %d sequences over %d ranks are too many spans; use a smaller train.batch "
            "or more replicas (parallel.dp)",
            sequences_n, size);
    for (int i = 0; i < sequences_n; i++) {
        CANTO_CHECK(bounds[i] <= bounds[i + 1], "shards: sequence %d ends before it begins", i);
    }
    CANTO_CHECK((layout == CANTO_LAYOUT_UNEVEN) == (weights != NULL),
                "shards: weights belong to the uneven layout and to no other");
    int64_t total = 2 * (int64_t)size;
    if (weights) {
        total = 0;
        for (int r = 0; r < size; r++) {
            CANTO_CHECK(weights[r] >= 0, "shards: weight %d of rank %d is negative", weights[r], r);
            total += weights[r];
        }
        CANTO_CHECK(total > 0, "shards: all weights are 0; one rank must hold the tokens");
    }
    CANTO_CHECK(bounds[sequences_n] <= INT64_MAX / total,
                "shards: %lld tokens are too many for weights that add up to %lld",
                (long long)bounds[sequences_n], (long long)total);
    return CANTO_OK;
}

// The numbers of canto_shards, without any array of it.
static void measure(division d, canto_shards *out)
{
    canto_span spans[2];
    *out = (canto_shards){.size = d.size, .length = d.bounds[d.sequences_n]};
    for (; d.rank < d.size; next_rank(&d)) {
        canto_share share = share_of(&d);
        out->spans_n += share.spans;
        if (share.spans > out->spans_max) out->spans_max = share.spans;
        if (share.tokens > out->tokens_max) out->tokens_max = share.tokens;
        for (int s = 0; s < d.sequences_n; s++) {
            int n = rank_spans(&d, s, spans);
            for (int i = 0; i < n; i++) {
                int64_t tokens = spans[i].end - spans[i].begin;
                if (tokens > out->span_max) out->span_max = tokens;
                if (out->span_min == 0 || tokens < out->span_min) out->span_min = tokens;
            }
        }
    }
}

static int compare_begin(const void *a, const void *b, void *context)
{
    const canto_span *spans = context;
    int64_t x = spans[*(const int *)a].begin;
    int64_t y = spans[*(const int *)b].begin;
    return (x > y) - (x < y);
}

static void fill(division d, canto_shards *out)
{
    int n = 0;
    for (; d.rank < d.size; next_rank(&d)) {
        out->first[d.rank] = n;
        int64_t local = 0;
        for (int s = 0; s < d.sequences_n; s++) {
            int end = n + rank_spans(&d, s, out->spans + n);
            for (; n < end; n++) {
                out->spans[n].local = local;
                local += out->spans[n].end - out->spans[n].begin;
                out->owner[n] = d.rank;
                out->by_position[n] = n;
            }
        }
    }
    out->first[d.size] = n;
    qsort_r(out->by_position, (size_t)n, sizeof *out->by_position, compare_begin, out->spans);
}

canto_status canto_shards_create(canto_arena *arena, canto_layout layout, int size, int sequences_n,
                                 const int64_t *bounds, const int *weights, canto_shards *out)
{
    CANTO_TRY(check_inputs(layout, size, sequences_n, bounds, weights));
    division d = division_start(layout, size, sequences_n, bounds, weights);
    measure(d, out);
    CANTO_TRY(
        canto_arena_array(arena, "spans", out->spans_n, sizeof *out->spans, (void **)&out->spans));
    CANTO_TRY(canto_arena_array(arena, "first span of each rank", size + 1, sizeof *out->first,
                                (void **)&out->first));
    CANTO_TRY(canto_arena_array(arena, "spans by position", out->spans_n, sizeof *out->by_position,
                                (void **)&out->by_position));
    CANTO_TRY(canto_arena_array(arena, "owners of spans", out->spans_n, sizeof *out->owner,
                                (void **)&out->owner));
    if (!arena->measuring) fill(d, out);
    return CANTO_OK;
}

int64_t canto_shards_tokens(const canto_shards *shards, int rank)
{
    if (shards->first[rank] == shards->first[rank + 1]) return 0;
    const canto_span *last = &shards->spans[shards->first[rank + 1] - 1];
    return last->local + last->end - last->begin;
}

int canto_shards_find(const canto_shards *shards, int64_t position)
{
    int low = 0;
    int high = shards->spans_n - 1;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (shards->spans[shards->by_position[middle]].begin <= position) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return shards->by_position[low];
}

uint64_t canto_shards_digest(const canto_shards *shards)
{
    canto_digest digest;
    canto_digest_init(&digest);
    canto_digest_add(&digest, 3,
                     (int64_t[]){shards->size, shards->length, (int64_t)shards->spans_n});
    for (int i = 0; i < shards->spans_n; i++) {
        const canto_span *span = &shards->spans[i];
        canto_digest_add(&digest, 3, (int64_t[]){shards->owner[i], span->begin, span->end});
    }
    return canto_digest_value(&digest);
}

const char *canto_layout_name(int layout)
{
    static const char *const names[] = {[CANTO_LAYOUT_CONTIGUOUS] = "contiguous",
                                        [CANTO_LAYOUT_ZIGZAG] = "zigzag",
                                        [CANTO_LAYOUT_UNEVEN] = "uneven"};
    return layout >= 0 && layout < (int)(sizeof names / sizeof *names) ? names[layout] : NULL;
}
