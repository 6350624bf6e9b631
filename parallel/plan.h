// What parallel/ prepares for a model's layers: who holds which tokens, one schedule for each kind
// of mask, the scan. Layers see this and no ranks.
//
// A plan is created for a fixed stream length and division; the documents in the stream may change
// every step (canto_plan_update).
//
// Who holds what belongs to the plan itself and is real even when the arenas are measuring, so that
// everything made from a plan can be measured. What the host reads and writes comes from `tables`,
// buffers of the device from `memory`.
#ifndef CANTO_PARALLEL_PLAN_H
#define CANTO_PARALLEL_PLAN_H

#include "parallel/attend.h"
#include "parallel/mesh.h"
#include "parallel/scan.h"
#include "parallel/strategy.h"
#include "runtime/trace.h"

enum { CANTO_PLAN_MASKS_MAX = 16 };

// A run of my tokens inside one document and one of my segments (spans).
typedef struct canto_piece {
    int64_t local, tokens; // my tokens [local, local + tokens)
    int segment;           // which of my spans
    bool continues;        // the document began before this segment: the incoming state applies
    bool ends;             // last piece of its segment: its state is the segment's summary
} canto_piece;

typedef struct canto_plan_desc {
    const canto_mesh *mesh; // borrowed
    const canto_device *device;
    canto_layout layout;
    const int *weights; // for CANTO_LAYOUT_UNEVEN, [cp]
    const canto_strategy *softmax;
    const canto_transport *linear;
    int sequences_n;
    int64_t sequence_length; // the stream is sequences_n sequences of this length
    int documents_max;
    int64_t state_count_max; // floats of the largest linear state of the model with its
                             // transition (canto_linear_summary_count); 0: none
} canto_plan_desc;

typedef struct canto_plan_mask {
    int64_t left, right;
    canto_mask mask;
    canto_schedule schedule;
    canto_compiled *compiled;
} canto_plan_mask;

typedef struct canto_plan {
    canto_plan_desc desc;
    canto_trace *trace; // borrowed, the schedule lane's; NULL: off
    canto_arena tables; // owned: shards
    canto_shards shards;
    int64_t tokens; // mine
    int segments;   // my spans
    int pieces_n;
    canto_piece *pieces;       // for the current documents
    int64_t *starts;           // [documents_max + 1]
    canto_documents documents; // current, in `starts`; n 0 before the first update
    int masks_n;
    canto_plan_mask masks[CANTO_PLAN_MASKS_MAX];
    canto_needs needs; // scratch
    canto_scan *scan;  // NULL with state_count_max 0
    uint64_t digest;   // of everything ranks must agree on this step: documents, schedules, folds
    double make_s;     // seconds the last update took
} canto_plan;

// Global position of one of my tokens. Pure.
int64_t canto_plan_position(const canto_plan *plan, int64_t token);

canto_status canto_plan_create(canto_arena *tables, canto_arena *memory,
                               const canto_plan_desc *desc, canto_plan *out);
void canto_plan_destroy(canto_plan *plan); // gives back the tables; also of a zeroed plan
// The mask (left, right) of a layer; equal ones share an id. Only during creation.
canto_status canto_plan_add_mask(canto_plan *plan, canto_arena *tables, int64_t left, int64_t right,
                                 int *id);
// New documents: masks, schedules, pieces, resets. Pure, local, no allocation. Does nothing if the
// documents are the same as before.
canto_status canto_plan_update(canto_plan *plan, const canto_documents *documents);

// Enough for any documents.
size_t canto_plan_work_bytes(const canto_plan *plan, int mask, const canto_attention_shape *shape);
// See canto_attend_forward; collective on the context group.
canto_status canto_plan_attend_forward(canto_plan *plan, int mask,
                                       const canto_attention_shape *shape, const float *q,
                                       const float *kv, float *o, float *lse, void *work);
canto_status canto_plan_attend_backward(canto_plan *plan, int mask,
                                        const canto_attention_shape *shape, const float *q,
                                        const float *kv, const float *o, const float *lse,
                                        const float *dout, float *delta, float *dq, float *dkv,
                                        void *work);
// plan->scan: canto_scan_start / _poll / _finish; states are indexed by segment.

#endif
