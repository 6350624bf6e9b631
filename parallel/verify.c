// Checks a schedule of all ranks without running it. No pair is counted: parts divide the keys,
// shards divide the queries and bands are disjoint, so each allowed pair is computed exactly once
// if every rank that needs a part gets it exactly once and needs all of it.
#include "parallel/play.h"

// Per rank, about the part that is being looked at; `part` is its index + 1.
typedef struct arrival {
    int part;
    int need;
} arrival;

typedef struct check {
    const canto_schedule *schedule;
    const canto_shards *shards;
    canto_needs needs;
    arrival *arrivals; // [size]
} check;

static canto_status check_part(const check *c, int index)
{
    const canto_part *part = &c->schedule->parts[index];
    int64_t begin = index == 0 ? 0 : part[-1].end;
    if (part->begin != begin || part->end <= begin || part->end > c->shards->length) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH,
                   "schedule: part %d is [%lld, %lld), but parts divide the keys and the one "
                   "before ends at %lld of %lld",
                   index, (long long)part->begin, (long long)part->end, (long long)begin,
                   (long long)c->shards->length);
    }
    int span = canto_shards_find(c->shards, begin);
    if (part->owner != c->shards->owner[span] || part->end > c->shards->spans[span].end) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH,
                   "schedule: part %d, [%lld, %lld) of rank %d, does not lie in one span of that "
                   "rank",
                   index, (long long)part->begin, (long long)part->end, part->owner);
    }
    if (part->step < 0 || part->step > canto_schedule_step_max(c->schedule->size)) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH, "schedule: the own tiles of part %d lie in step %d", index,
                   part->step);
    }
    return CANTO_OK;
}

static canto_status check_parts(const check *c)
{
    const canto_schedule *s = c->schedule;
    for (int i = 0; i < s->parts_n; i++) CANTO_TRY(check_part(c, i));
    int64_t end = s->parts_n == 0 ? 0 : s->parts[s->parts_n - 1].end;
    if (end != c->shards->length) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH, "schedule: parts end at %lld of %lld keys", (long long)end,
                   (long long)c->shards->length);
    }
    return CANTO_OK;
}

static bool in_order(const canto_visit *a, const canto_visit *b)
{
    if (a->part != b->part) return a->part < b->part;
    if (a->chain != b->chain) return a->chain < b->chain;
    return a->need < b->need;
}

static canto_status check_visit(const check *c, int64_t index)
{
    const canto_schedule *s = c->schedule;
    const canto_visit *v = &s->visits[index];
    bool inside = v->part >= 0 && v->part < s->parts_n && v->from >= 0 && v->from < s->size &&
                  v->to >= 0 && v->to < s->size && v->from != v->to;
    if (!inside || v->step < 0 || v->need > canto_schedule_step_max(s->size)) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH,
                   "schedule: visit %lld of part %d goes from rank %d to rank %d of %d in step %d",
                   (long long)index, v->part, v->from, v->to, s->size, v->step);
    }
    if (v->step >= v->need) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH,
                   "schedule: visit %lld of part %d to rank %d starts in step %d and is needed in "
                   "step %d; it needs a step on the way",
                   (long long)index, v->part, v->to, v->step, v->need);
    }
    if (index > 0 && !in_order(v - 1, v)) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH,
                   "schedule: visit %lld of part %d to rank %d is out of order; parts and chains "
                   "ascend, and the need grows along a chain",
                   (long long)index, v->part, v->to);
    }
    return CANTO_OK;
}

static canto_status check_arrivals(const check *c, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        const canto_visit *v = &c->schedule->visits[i];
        const canto_part *part = &c->schedule->parts[v->part];
        arrival *arrived = &c->arrivals[v->to];
        if (v->to == part->owner || arrived->part == v->part + 1) {
            CANTO_FAIL(CANTO_ERROR_MISMATCH,
                       "schedule: visit %lld brings part %d to rank %d, which has it already",
                       (long long)i, v->part, v->to);
        }
        if (!canto_needs_covers(&c->needs, v->to, part->begin, part->end)) {
            CANTO_FAIL(CANTO_ERROR_MISMATCH,
                       "schedule: visit %lld brings part %d to rank %d, which does not need all "
                       "of [%lld, %lld)",
                       (long long)i, v->part, v->to, (long long)part->begin, (long long)part->end);
        }
        *arrived = (arrival){v->part + 1, v->need};
    }
    return CANTO_OK;
}

static canto_status check_senders(const check *c, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        const canto_visit *v = &c->schedule->visits[i];
        if (v->from == c->schedule->parts[v->part].owner) continue;
        const arrival *held = &c->arrivals[v->from];
        if (held->part != v->part + 1 || held->need > v->step) {
            CANTO_FAIL(CANTO_ERROR_MISMATCH,
                       "schedule: visit %lld lets rank %d send part %d to rank %d in step %d, "
                       "before it holds it",
                       (long long)i, v->from, v->part, v->to, v->step);
        }
    }
    return CANTO_OK;
}

static canto_status check_needed(const check *c, int index)
{
    const canto_part *part = &c->schedule->parts[index];
    for (int r = 0; r < c->schedule->size; r++) {
        if (r == part->owner || c->arrivals[r].part == index + 1) continue;
        if (canto_needs_meets(&c->needs, r, part->begin, part->end)) {
            CANTO_FAIL(CANTO_ERROR_MISMATCH,
                       "schedule: rank %d needs part %d, [%lld, %lld) of rank %d, and never gets "
                       "it",
                       r, index, (long long)part->begin, (long long)part->end, part->owner);
        }
    }
    return CANTO_OK;
}

static canto_status check_visits(const check *c)
{
    const canto_schedule *s = c->schedule;
    for (int64_t i = 0; i < s->visits_n; i++) CANTO_TRY(check_visit(c, i));
    int64_t begin = 0;
    for (int part = 0; part < s->parts_n; part++) {
        int64_t end = begin;
        while (end < s->visits_n && s->visits[end].part == part) end++;
        CANTO_TRY(check_arrivals(c, begin, end));
        CANTO_TRY(check_senders(c, begin, end));
        CANTO_TRY(check_needed(c, part));
        begin = end;
    }
    return CANTO_OK;
}

static canto_status check_play(const canto_schedule *schedule, bool backward)
{
    canto_play play;
    double seconds;
    canto_status status = canto_play_open(schedule, backward, &play);
    if (status == CANTO_OK) status = canto_play_run(&play, &seconds);
    canto_play_close(&play);
    return status;
}

static canto_status take(canto_arena *arena, const canto_mask *mask, check *c)
{
    // Runs of keys before merging: no mask has more.
    int64_t runs = 0;
    for (int i = 0; i < c->shards->spans_n; i++) {
        const canto_span *span = &c->shards->spans[i];
        for (int b = canto_mask_first(mask, span->begin);
             b < mask->bands_n && mask->bands[b].q0 < span->end; b++) {
            runs++;
        }
    }
    CANTO_TRY(canto_needs_create(arena, c->shards, (int)runs, &c->needs));
    return canto_arena_array(arena, "arrivals", c->shards->size, sizeof *c->arrivals,
                             (void **)&c->arrivals);
}

static canto_status check_all(canto_arena *arena, const canto_mask *mask, check *c)
{
    CANTO_TRY(take(arena, mask, c));
    CANTO_TRY(canto_needs_make(&c->needs, mask, c->shards));
    CANTO_TRY(check_parts(c));
    CANTO_TRY(check_visits(c));
    CANTO_TRY(check_play(c->schedule, false));
    return check_play(c->schedule, true);
}

canto_status canto_schedule_verify(const canto_schedule *schedule, const canto_mask *mask,
                                   const canto_shards *shards)
{
    CANTO_CHECK(schedule->rank < 0, "verify: a schedule of rank %d alone; make that of all ranks",
                schedule->rank);
    CANTO_CHECK(schedule->size == shards->size && mask->length == shards->length,
                "verify: schedule, mask and shards are of different sizes");
    check c = {.schedule = schedule, .shards = shards};
    canto_arena arena;
    CANTO_TRY(canto_arena_create_measuring(&arena));
    canto_status status = take(&arena, mask, &c);
    size_t bytes = arena.peak;
    canto_arena_destroy(&arena);
    CANTO_TRY(status);
    CANTO_TRY(canto_arena_create(&arena, bytes));
    status = check_all(&arena, mask, &c);
    canto_arena_destroy(&arena);
    return status;
}
