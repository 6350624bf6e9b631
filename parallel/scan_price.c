// What a scan costs: the moves of its fold, forward and mirrored, less those that are not made
// because a document starts where their value ends. Counted over all ranks at once, in memory of
// the order of the fold's operations.
#include "parallel/scan.h"

typedef struct pricing {
    canto_fold fold;
    int *owner; // [segments]
    bool *cut;  // [segments + 1], as in a program
} pricing;

static int most_segments(const canto_shards *shards)
{
    int most = 0;
    for (int r = 0; r < shards->size; r++) {
        const int mine = shards->first[r + 1] - shards->first[r];
        if (mine > most) most = mine;
    }
    return most;
}

static canto_status take(canto_arena *arena, const canto_transport *transport,
                         const canto_shards *shards, pricing *out)
{
    *out = (pricing){.fold = {.segments = shards->spans_n, .size = shards->size, .rank = -1}};
    CANTO_TRY(canto_arena_array(arena, "owners", shards->spans_n, sizeof *out->owner,
                                (void **)&out->owner));
    CANTO_TRY(canto_arena_array(arena, "cuts", shards->spans_n + 1, sizeof *out->cut,
                                (void **)&out->cut));
    out->fold.owner = out->owner;
    return canto_fold_create(arena, transport, most_segments(shards), &out->fold);
}

static canto_status open_pricing(const canto_transport *transport, const canto_shards *shards,
                                 canto_arena *arena, pricing *out)
{
    canto_arena measuring;
    CANTO_TRY(canto_arena_create_measuring(&measuring));
    canto_status status = take(&measuring, transport, shards, out);
    const size_t bytes = measuring.peak;
    canto_arena_destroy(&measuring);
    CANTO_TRY(status);
    CANTO_TRY(canto_arena_create(arena, bytes));
    return take(arena, transport, shards, out);
}

// Owners and cuts along the fold, which the backward pass runs from the last segment to the first.
static void set_segments(const canto_shards *shards, const canto_documents *documents,
                         bool backward, pricing *p)
{
    const int n = shards->spans_n;
    for (int s = 0; s < n; s++) {
        const int index = shards->by_position[s];
        const int64_t begin = shards->spans[index].begin;
        p->owner[backward ? n - 1 - s : s] = shards->owner[index];
        p->cut[backward ? n - s : s] =
            documents->starts[canto_documents_find(documents, begin)] == begin;
    }
    p->cut[0] = true; // both ends of the stream
    p->cut[n] = false;
}

static canto_status count(pricing *p, const canto_transport *transport, int64_t *messages,
                          int64_t *transitions)
{
    CANTO_TRY(canto_fold_make(&p->fold, transport));
    for (int i = 0; i < p->fold.ops_n; i++) {
        const canto_fold_op *op = &p->fold.ops[i];
        const bool unread = transport->prunes && p->cut[op->b];
        if (op->from == op->to || unread) continue;
        *messages += 1;
        *transitions += op->a > 0;
    }
    return CANTO_OK;
}

canto_status canto_scan_price_make(const canto_transport *transport, const canto_shards *shards,
                                   const canto_documents *documents, canto_scan_price *out)
{
    pricing p;
    canto_arena arena = {0};
    int ops;
    *out = (canto_scan_price){0};
    if (shards->spans_n == 0) return CANTO_OK;
    transport->bound(shards->spans_n, most_segments(shards), shards->size, &ops, &out->buffers);
    canto_status status = open_pricing(transport, shards, &arena, &p);
    if (status == CANTO_OK) {
        set_segments(shards, documents, false, &p);
        status = count(&p, transport, &out->messages, &out->transitions);
    }
    if (status == CANTO_OK) {
        set_segments(shards, documents, true, &p);
        status = count(&p, transport, &out->backward_messages, &out->backward_transitions);
    }
    canto_arena_destroy(&arena);
    return status;
}
