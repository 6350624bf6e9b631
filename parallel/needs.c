// Who needs which keys: for each rank the merged runs of keys that its queries may attend to, and
// the positions at which spans are cut into parts. Near-linear: bands are bisected for each span,
// runs are appended in order nearly always, cuts are sorted once.
#include "parallel/schedule.h"

#include <string.h>

canto_status canto_needs_create(canto_arena *arena, const canto_shards *shards, int bands_max,
                                canto_needs *out)
{
    *out = (canto_needs){.size = shards->size};
    out->runs_capacity = canto_schedule_bound(shards, bands_max, -1).runs;
    CANTO_TRY(canto_arena_array(arena, "runs of needed keys", out->runs_capacity, sizeof *out->runs,
                                (void **)&out->runs));
    CANTO_TRY(canto_arena_array(arena, "first run of each rank", out->size + 1, sizeof *out->first,
                                (void **)&out->first));
    return canto_arena_array(arena, "cuts of spans", 2 * (int64_t)out->runs_capacity,
                             sizeof *out->cuts, (void **)&out->cuts);
}

// Index of the first of `n` sorted, disjoint runs that ends at or after `position`.
static int first_ending_at(const canto_run *runs, int n, int64_t position)
{
    int low = 0;
    int high = n;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (runs[middle].end >= position) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

// Adds [begin, end) to the n runs, merging what it meets or touches. Returns the new number.
static int add_run(canto_run *runs, int n, canto_run run)
{
    int low = first_ending_at(runs, n, run.begin);
    int high = low;
    while (high < n && runs[high].begin <= run.end) {
        if (runs[high].begin < run.begin) run.begin = runs[high].begin;
        if (runs[high].end > run.end) run.end = runs[high].end;
        high++;
    }
    memmove(runs + low + 1, runs + high, (size_t)(n - high) * sizeof *runs);
    runs[low] = run;
    return n - (high - low) + 1;
}

static canto_status add_span(canto_needs *needs, const canto_mask *mask, const canto_span *span,
                             int first)
{
    for (int i = canto_mask_first(mask, span->begin);
         i < mask->bands_n && mask->bands[i].q0 < span->end; i++) {
        canto_band tile;
        if (!canto_band_clip(&mask->bands[i], span->begin, span->end, 0, mask->length, &tile)) {
            continue;
        }
        if (needs->runs_n == needs->runs_capacity) {
            CANTO_FAIL(CANTO_ERROR_CAPACITY,
                       "schedule: the mask needs more than %d runs of keys; create the needs for "
                       "more bands (data.max_documents)",
                       needs->runs_capacity);
        }
        canto_run *runs = needs->runs + first;
        needs->runs_n = first + add_run(runs, needs->runs_n - first, (canto_run){tile.k0, tile.k1});
    }
    return CANTO_OK;
}

static void sift_down(int64_t *heap, int n, int at)
{
    for (int child = 2 * at + 1; child < n; child = 2 * at + 1) {
        if (child + 1 < n && heap[child + 1] > heap[child]) child++;
        if (heap[at] >= heap[child]) return;
        int64_t swap = heap[at];
        heap[at] = heap[child];
        heap[child] = swap;
        at = child;
    }
}

// Heap sort, because qsort may allocate.
static void sort(int64_t *values, int n)
{
    for (int i = n / 2 - 1; i >= 0; i--) sift_down(values, n, i);
    for (int i = n - 1; i > 0; i--) {
        int64_t largest = values[0];
        values[0] = values[i];
        values[i] = largest;
        sift_down(values, i, 0);
    }
}

// Runs are maximal, so each end of one is a change of the set, except inside the rank's own spans.
static void add_cut(canto_needs *needs, const canto_shards *shards, int rank, int64_t position)
{
    if (position >= shards->length) return;
    int span = canto_shards_find(shards, position);
    if (shards->owner[span] == rank || shards->spans[span].begin == position) return;
    needs->cuts[needs->cuts_n++] = position;
}

static void make_cuts(canto_needs *needs, const canto_shards *shards)
{
    needs->cuts_n = 0;
    for (int r = 0; r < needs->size; r++) {
        for (int i = needs->first[r]; i < needs->first[r + 1]; i++) {
            add_cut(needs, shards, r, needs->runs[i].begin);
            add_cut(needs, shards, r, needs->runs[i].end);
        }
    }
    sort(needs->cuts, needs->cuts_n);
    int unique = 0;
    for (int i = 0; i < needs->cuts_n; i++) {
        if (unique > 0 && needs->cuts[unique - 1] == needs->cuts[i]) continue;
        needs->cuts[unique++] = needs->cuts[i];
    }
    needs->cuts_n = unique;
}

canto_status canto_needs_make(canto_needs *needs, const canto_mask *mask,
                              const canto_shards *shards)
{
    CANTO_CHECK(needs->size == shards->size && mask->length == shards->length,
                "schedule: a mask of %lld positions and needs of %d ranks do not fit shards of "
                "%lld positions on %d ranks",
                (long long)mask->length, needs->size, (long long)shards->length, shards->size);
    needs->runs_n = 0;
    for (int r = 0; r < shards->size; r++) {
        needs->first[r] = needs->runs_n;
        for (int i = shards->first[r]; i < shards->first[r + 1]; i++) {
            CANTO_TRY(add_span(needs, mask, &shards->spans[i], needs->first[r]));
        }
    }
    needs->first[shards->size] = needs->runs_n;
    make_cuts(needs, shards);
    return CANTO_OK;
}

bool canto_needs_meets(const canto_needs *needs, int rank, int64_t begin, int64_t end)
{
    const canto_run *runs = needs->runs + needs->first[rank];
    int n = needs->first[rank + 1] - needs->first[rank];
    int i = first_ending_at(runs, n, begin + 1);
    return i < n && runs[i].begin < end;
}

bool canto_needs_covers(const canto_needs *needs, int rank, int64_t begin, int64_t end)
{
    const canto_run *runs = needs->runs + needs->first[rank];
    int n = needs->first[rank + 1] - needs->first[rank];
    int i = first_ending_at(runs, n, begin + 1);
    return i < n && runs[i].begin <= begin && end <= runs[i].end;
}
