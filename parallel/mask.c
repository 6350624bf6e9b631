// Masks as lists of banded rectangles, sorted so that the bands of a run of queries are found by
// bisection. Nothing is sent: every rank makes the same list from the same documents.
#include "parallel/mask.h"

#include "parallel/digest.h"

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t max64(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

bool canto_band_clip(const canto_band *band, int64_t q0, int64_t q1, int64_t k0, int64_t k1,
                     canto_band *out)
{
    canto_band b = *band;
    b.q0 = max64(b.q0, q0);
    b.q1 = min64(b.q1, q1);
    b.k0 = max64(b.k0, k0);
    b.k1 = min64(b.k1, k1);
    if (b.q0 >= b.q1 || b.k0 >= b.k1 || b.lo > b.hi) return false;
    // Row q holds a pair if [q + lo, q + hi] meets [k0, k1); column k likewise.
    b.q0 = max64(b.q0, b.k0 - b.hi);
    b.q1 = min64(b.q1, b.k1 - b.lo);
    if (b.q0 >= b.q1) return false;
    b.k0 = max64(b.k0, b.q0 + b.lo);
    b.k1 = min64(b.k1, b.q1 + b.hi);
    *out = b;
    return true;
}

// Sum of min(max(y, 0), n) over all y < x.
static int64_t ramp(int64_t x, int64_t n)
{
    if (x <= 0) return 0;
    if (x <= n) return x * (x - 1) / 2;
    return n * (n - 1) / 2 + (x - n) * n;
}

// Pairs of the rectangle with k - q <= t.
static int64_t area_below(const canto_band *b, int64_t t)
{
    // Row q has min(max(q + t + 1 - k0, 0), columns) of them.
    int64_t columns = b->k1 - b->k0;
    return ramp(b->q1 + t + 1 - b->k0, columns) - ramp(b->q0 + t + 1 - b->k0, columns);
}

int64_t canto_band_area(const canto_band *band)
{
    canto_band b = *band;
    if (b.q0 >= b.q1 || b.k0 >= b.k1) return 0;
    // Sides beyond the corners change nothing, and would overflow.
    b.lo = max64(b.lo, b.k0 - (b.q1 - 1));
    b.hi = min64(b.hi, b.k1 - 1 - b.q0);
    if (b.lo > b.hi) return 0;
    return area_below(&b, b.hi) - area_below(&b, b.lo - 1);
}

canto_status canto_mask_create(canto_arena *arena, int capacity, canto_mask *out)
{
    *out = (canto_mask){.capacity = capacity};
    CANTO_TRY(canto_arena_array(arena, "bands of a mask", capacity, sizeof *out->bands,
                                (void **)&out->bands));
    return canto_arena_array(arena, "reach of a mask's bands", capacity, sizeof *out->reach,
                             (void **)&out->reach);
}

static canto_status check_documents(const canto_mask *mask, const canto_documents *documents,
                                    int64_t left, int64_t right)
{
    CANTO_CHECK(left >= CANTO_UNLIMITED && right >= CANTO_UNLIMITED,
                "mask: a window of (%lld, %lld) has a negative side", (long long)left,
                (long long)right);
    if (documents->n > mask->capacity) {
        CANTO_FAIL(CANTO_ERROR_CAPACITY,
                   "mask: %d documents, but there is room for %d; raise data.max_documents",
                   documents->n, mask->capacity);
    }
    CANTO_CHECK(documents->n == 0 || documents->starts[0] == 0,
                "mask: the first document begins at %lld instead of 0",
                (long long)documents->starts[0]);
    for (int i = 0; i < documents->n; i++) {
        CANTO_CHECK(documents->starts[i] < documents->starts[i + 1],
                    "mask: document %d of %d is empty or ends before it begins", i, documents->n);
    }
    return CANTO_OK;
}

static void make_reach(canto_mask *mask)
{
    for (int i = 0; i < mask->bands_n; i++) {
        int64_t before = i == 0 ? 0 : mask->reach[i - 1];
        mask->reach[i] = max64(before, mask->bands[i].q1);
    }
}

canto_status canto_mask_set(canto_mask *mask, const canto_documents *documents, int64_t left,
                            int64_t right)
{
    CANTO_TRY(check_documents(mask, documents, left, right));
    mask->length = documents->n == 0 ? 0 : documents->starts[documents->n];
    mask->bands_n = documents->n;
    for (int i = 0; i < documents->n; i++) {
        int64_t begin = documents->starts[i];
        int64_t end = documents->starts[i + 1];
        mask->bands[i] = (canto_band){.q0 = begin,
                                      .q1 = end,
                                      .k0 = begin,
                                      .k1 = end,
                                      .lo = left == CANTO_UNLIMITED ? CANTO_BAND_MIN : -left,
                                      .hi = right == CANTO_UNLIMITED ? CANTO_BAND_MAX : right};
    }
    make_reach(mask);
    return CANTO_OK;
}

static bool band_precedes(const canto_band *a, const canto_band *b)
{
    if (a->q0 != b->q0) return a->q0 < b->q0;
    if (a->k0 != b->k0) return a->k0 < b->k0;
    return a->lo < b->lo;
}

static bool bands_overlap(const canto_band *a, const canto_band *b)
{
    canto_band both = *a;
    both.lo = max64(a->lo, b->lo);
    both.hi = min64(a->hi, b->hi);
    return canto_band_clip(&both, b->q0, b->q1, b->k0, b->k1, &both);
}

static canto_status check_disjoint(const canto_mask *mask)
{
    for (int i = 0; i < mask->bands_n; i++) {
        const canto_band *a = &mask->bands[i];
        for (int j = i + 1; j < mask->bands_n && mask->bands[j].q0 < a->q1; j++) {
            const canto_band *b = &mask->bands[j];
            CANTO_CHECK(!bands_overlap(a, b),
                        "mask: the band of queries [%lld, %lld) and keys [%lld, %lld) overlaps "
                        "that of queries [%lld, %lld) and keys [%lld, %lld)",
                        (long long)a->q0, (long long)a->q1, (long long)a->k0, (long long)a->k1,
                        (long long)b->q0, (long long)b->q1, (long long)b->k0, (long long)b->k1);
        }
    }
    return CANTO_OK;
}

static canto_status check_band(const canto_band *band, int64_t length)
{
    CANTO_CHECK(0 <= band->q0 && band->q1 <= length && 0 <= band->k0 && band->k1 <= length &&
                    band->lo >= CANTO_BAND_MIN && band->hi <= CANTO_BAND_MAX,
                "mask: the band of queries [%lld, %lld) and keys [%lld, %lld) with %lld <= k - q "
                "<= %lld leaves the %lld positions",
                (long long)band->q0, (long long)band->q1, (long long)band->k0, (long long)band->k1,
                (long long)band->lo, (long long)band->hi, (long long)length);
    return CANTO_OK;
}

canto_status canto_mask_set_bands(canto_mask *mask, int64_t length, int bands_n,
                                  const canto_band *bands)
{
    if (bands_n > mask->capacity) {
        CANTO_FAIL(CANTO_ERROR_CAPACITY, "mask: %d bands, but there is room for %d", bands_n,
                   mask->capacity);
    }
    mask->length = length;
    mask->bands_n = 0;
    for (int i = 0; i < bands_n; i++) {
        canto_band band;
        CANTO_TRY(check_band(&bands[i], length));
        if (!canto_band_clip(&bands[i], 0, length, 0, length, &band)) continue;
        int place = mask->bands_n++;
        for (; place > 0 && band_precedes(&band, &mask->bands[place - 1]); place--) {
            mask->bands[place] = mask->bands[place - 1];
        }
        mask->bands[place] = band;
    }
    make_reach(mask);
    return check_disjoint(mask);
}

int canto_documents_find(const canto_documents *documents, int64_t position)
{
    int low = 0, high = documents->n - 1;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (documents->starts[middle] <= position)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

int64_t canto_mask_area(const canto_mask *mask)
{
    int64_t area = 0;
    for (int i = 0; i < mask->bands_n; i++) area += canto_band_area(&mask->bands[i]);
    return area;
}

int canto_mask_first(const canto_mask *mask, int64_t q0)
{
    int low = 0;
    int high = mask->bands_n;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (mask->reach[middle] > q0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

bool canto_mask_allows(const canto_mask *mask, int64_t q, int64_t k)
{
    for (int i = canto_mask_first(mask, q); i < mask->bands_n && mask->bands[i].q0 <= q; i++) {
        canto_band pair;
        if (canto_band_clip(&mask->bands[i], q, q + 1, k, k + 1, &pair)) return true;
    }
    return false;
}

uint64_t canto_mask_digest(const canto_mask *mask)
{
    canto_digest digest;
    canto_digest_init(&digest);
    canto_digest_add(&digest, 2, (int64_t[]){mask->length, mask->bands_n});
    for (int i = 0; i < mask->bands_n; i++) {
        const canto_band *b = &mask->bands[i];
        canto_digest_add(&digest, 6, (int64_t[]){b->q0, b->q1, b->k0, b->k1, b->lo, b->hi});
    }
    return canto_digest_value(&digest);
}
