// Makes a schedule: cuts the keys into parts, lets a strategy write the visits of each part, hashes
// all of them and keeps those that concern one rank. Nothing is sent.
#include "parallel/schedule.h"

#include "parallel/digest.h"
#include "parallel/strategy.h"

#include <limits.h>

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// Most parts of one rank that another rank can need. A span is cut where the queries of other spans
// begin or stop to reach it (each of those spans begins elsewhere, at least span_min apart), and at
// the last start and first end of a document inside it that crosses its edge.
static int64_t travelling_parts(const canto_shards *shards)
{
    if (shards->span_min == 0) return 0;
    int64_t reaching = min64(shards->span_max / shards->span_min + 1, shards->spans_n);
    return min64(shards->tokens_max, shards->spans_max * (2 * reaching + 3));
}

canto_schedule_bounds canto_schedule_bound(const canto_shards *shards, int bands_max, int rank)
{
    int64_t spans = shards->spans_n;
    int64_t parts = min64(3 * spans + 2 * (int64_t)bands_max, shards->length);
    // A rank hears of three visits for each part it needs, and of all visits of its own parts.
    int64_t others = shards->size - 1;
    int64_t sent = min64(travelling_parts(shards), parts);
    int64_t own = sent * others;
    int64_t all = parts * others;
    return (canto_schedule_bounds){
        .runs = (int)(2 * spans + bands_max),
        .parts = (int)parts,
        .sent = (int)sent,
        .visits = min64(rank < 0 ? all : min64(3 * parts + own, all), INT_MAX),
    };
}

canto_status canto_schedule_create(canto_arena *arena, const canto_shards *shards, int bands_max,
                                   int rank, canto_schedule *out)
{
    canto_schedule_bounds bounds = canto_schedule_bound(shards, bands_max, rank);
    *out = (canto_schedule){.size = shards->size,
                            .rank = rank,
                            .parts_capacity = bounds.parts,
                            .visits_capacity = bounds.visits};
    CANTO_TRY(canto_arena_array(arena, "parts of a schedule", bounds.parts, sizeof *out->parts,
                                (void **)&out->parts));
    return canto_arena_array(arena, "visits of a schedule", bounds.visits, sizeof *out->visits,
                             (void **)&out->visits);
}

static canto_status cut_parts(canto_schedule *schedule, const canto_needs *needs,
                              const canto_shards *shards)
{
    int cut = 0;
    schedule->parts_n = 0;
    for (int i = 0; i < shards->spans_n; i++) {
        int index = shards->by_position[i];
        const canto_span *span = &shards->spans[index];
        for (int64_t begin = span->begin; begin < span->end;) {
            bool inside = cut < needs->cuts_n && needs->cuts[cut] < span->end;
            int64_t end = inside ? needs->cuts[cut++] : span->end;
            if (schedule->parts_n == schedule->parts_capacity) {
                CANTO_FAIL(CANTO_ERROR_CAPACITY,
                           "schedule: the mask cuts the keys into more than %d parts; create the "
                           "schedule for more bands (data.max_documents)",
                           schedule->parts_capacity);
            }
            schedule->parts[schedule->parts_n++] =
                (canto_part){.owner = shards->owner[index], .step = 0, .begin = begin, .end = end};
            begin = end;
        }
    }
    return CANTO_OK;
}

// Hashes every visit and keeps those that concern the schedule's rank. One visit is held back,
// because whether it concerns the rank depends on the next one of its chain.
struct canto_emitter {
    canto_schedule *schedule;
    canto_digest digest;
    const canto_part *part; // of the visits being emitted
    canto_visit last;       // of the part; valid with `any`
    bool any, kept;
    bool full;
};

static void keep(canto_emitter *emitter, canto_visit visit)
{
    canto_schedule *schedule = emitter->schedule;
    if (schedule->visits_n == schedule->visits_capacity) {
        emitter->full = true;
        return;
    }
    schedule->visits[schedule->visits_n++] = visit;
}

// The sum of a chain comes home from its last visit.
static void end_chain(canto_emitter *emitter)
{
    bool mine = emitter->part->owner == emitter->schedule->rank;
    if (emitter->any && mine && !emitter->kept) keep(emitter, emitter->last);
    emitter->any = false;
}

void canto_emit_visit(canto_emitter *emitter, canto_visit visit)
{
    int rank = emitter->schedule->rank;
    canto_digest_add(
        &emitter->digest, 6,
        (int64_t[]){visit.part, visit.chain, visit.from, visit.to, visit.step, visit.need});
    if (emitter->any && emitter->last.chain != visit.chain) end_chain(emitter);
    if (emitter->any && visit.to == rank && !emitter->kept) keep(emitter, emitter->last);
    emitter->kept = rank < 0 || visit.from == rank || visit.to == rank ||
                    (emitter->any && emitter->last.to == rank);
    if (emitter->kept) keep(emitter, visit);
    emitter->last = visit;
    emitter->any = true;
}

canto_status canto_schedule_make(canto_schedule *schedule, const canto_strategy *strategy,
                                 const canto_needs *needs, const canto_shards *shards)
{
    if (!strategy->applicable(shards->size)) {
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED,
                   "schedule: the strategy '%s' cannot run on %d ranks; choose another "
                   "(parallel.softmax)",
                   strategy->name, shards->size);
    }
    CANTO_TRY(cut_parts(schedule, needs, shards));
    schedule->visits_n = 0;
    canto_emitter emitter = {.schedule = schedule};
    canto_digest_init(&emitter.digest);
    canto_digest_add(&emitter.digest, 3,
                     (int64_t[]){shards->size, shards->length, schedule->parts_n});
    for (int i = 0; i < schedule->parts_n; i++) {
        const canto_part *part = &schedule->parts[i];
        canto_digest_add(&emitter.digest, 4,
                         (int64_t[]){part->owner, part->step, part->begin, part->end});
        emitter.part = part;
        strategy->visits(needs, i, part, &emitter);
        end_chain(&emitter);
    }
    schedule->digest = canto_digest_value(&emitter.digest);
    if (emitter.full) {
        CANTO_FAIL(CANTO_ERROR_CAPACITY,
                   "schedule: rank %d has more than %lld visits; create the schedule for more "
                   "bands (data.max_documents)",
                   schedule->rank, (long long)schedule->visits_capacity);
    }
    return CANTO_OK;
}
