// Which (query, key) pairs may attend: a list of banded rectangles, disjoint by construction.
// Nothing else in the system knows the names of masks. Pure functions, local.
#ifndef CANTO_PARALLEL_MASK_H
#define CANTO_PARALLEL_MASK_H

#include "runtime/arena.h"
#include "runtime/band.h"

// A packed stream: document i is [starts[i], starts[i+1]); starts[0] = 0, starts[n] = length; no
// document is empty.
typedef struct canto_documents {
    int n;
    const int64_t *starts; // borrowed, [n + 1]
} canto_documents;

// Index of the document that holds `position`, 0 <= position < length.
int canto_documents_find(const canto_documents *documents, int64_t position);

typedef struct canto_mask {
    int64_t length;
    int bands_n;
    int capacity;
    canto_band *bands; // in the arena; sorted by q0; none without pairs
    int64_t *reach;    // in the arena; [bands_n]: largest q1 of the bands up to this one
} canto_mask;

#define CANTO_UNLIMITED ((int64_t)-1)

canto_status canto_mask_create(canto_arena *arena, int capacity, canto_mask *out);

// Token q attends to k of its own document with q - left <= k <= q + right; either side may be
// CANTO_UNLIMITED. full (unlimited, unlimited), causal (unlimited, 0), window of w (w - 1, 0),
// two-sided window (l, r). No allocation. CANTO_ERROR_CAPACITY if there are more documents than the
// mask holds.
canto_status canto_mask_set(canto_mask *mask, const canto_documents *documents, int64_t left,
                            int64_t right);

// Takes any list of rectangles, shrunk to the rows and columns that hold pairs (empty ones are left
// out); refuses overlapping ones, by naming two of them. No allocation.
canto_status canto_mask_set_bands(canto_mask *mask, int64_t length, int bands_n,
                                  const canto_band *bands);

int64_t canto_mask_area(const canto_mask *mask); // number of pairs
bool canto_mask_allows(const canto_mask *mask, int64_t q, int64_t k);
// The bands that meet queries [q0, q1) are those from this index on with band->q0 < q1, except that
// some of them may end before q0: for (i = first; i < bands_n && bands[i].q0 < q1; i++).
int canto_mask_first(const canto_mask *mask, int64_t q0);
uint64_t canto_mask_digest(const canto_mask *mask);

// The rectangle clipped to queries [q0, q1) and keys [k0, k1), shrunk to the rows and columns that
// hold pairs; false if none is left.
bool canto_band_clip(const canto_band *band, int64_t q0, int64_t q1, int64_t k0, int64_t k1,
                     canto_band *out);
// Pairs in one band, in closed form.
int64_t canto_band_area(const canto_band *band);

#endif
