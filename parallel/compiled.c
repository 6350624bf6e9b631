// Compiles one rank's schedule: finds its visits and messages and gives every received part, every
// visit's sum and every incoming sum its rows. Sends nothing; costs time near-linear in the visits
// and bands that concern the rank.
//
// Room: what a rank gets in one step comes from one owner, so it is one block (the largest shard)
// at most, of parts and of homecomings alike. A part lives for two steps (received, then used and
// passed on), a visit's sum likewise (made, then sent), an incoming sum for one. Two blocks of
// parts and four of sums (made now, made before, coming in, coming home) therefore suffice.
#include "parallel/compiled.h"

enum { PART_BLOCKS = 2, SUM_BLOCKS = 4 };

int64_t canto_compiled_part_rows(const canto_shards *shards)
{
    return shards->size == 1 ? 0 : PART_BLOCKS * shards->tokens_max;
}

int64_t canto_compiled_sum_rows(const canto_shards *shards)
{
    return shards->size == 1 ? 0 : SUM_BLOCKS * shards->tokens_max;
}

// In one step parts and sums come from one rank each and go to one rank each, and sums come home.
int canto_attend_messages(const canto_shards *shards, int bands_max)
{
    return shards->size == 1 ? 0 : 5 * canto_schedule_bound(shards, bands_max, 0).sent;
}

// --- creation ---

static canto_status create_tables(canto_arena *arena, canto_compiled *it)
{
    CANTO_TRY(canto_arena_array(arena, "messages of a schedule", it->messages_capacity,
                                sizeof *it->messages, (void **)&it->messages));
    CANTO_TRY(canto_arena_array(arena, "messages by end", it->messages_capacity, sizeof *it->by_end,
                                (void **)&it->by_end));
    CANTO_TRY(canto_arena_array(arena, "requests of a schedule", it->messages_capacity,
                                sizeof *it->requests, (void **)&it->requests));
    CANTO_TRY(canto_arena_array(arena, "own parts", it->parts_capacity, sizeof *it->own,
                                (void **)&it->own));
    CANTO_TRY(canto_arena_array(arena, "visits", it->parts_capacity, sizeof *it->visits,
                                (void **)&it->visits));
    CANTO_TRY(canto_arena_array(arena, "visits by part", it->parts_capacity,
                                sizeof *it->visit_of_part, (void **)&it->visit_of_part));
    CANTO_TRY(canto_arena_array(arena, "keys of bands", it->bands_capacity, sizeof *it->key_end,
                                (void **)&it->key_end));
    return canto_arena_array(arena, "keys of bands", it->bands_capacity, sizeof *it->key_begin,
                             (void **)&it->key_begin);
}

canto_status canto_compiled_create(canto_arena *arena, const canto_shards *shards, int bands_max,
                                   int rank, canto_compiled **out)
{
    const canto_schedule_bounds bounds = canto_schedule_bound(shards, bands_max, rank);
    CANTO_TRY(canto_arena_take(arena, "compiled schedule", sizeof **out, (void **)out));
    canto_compiled it = {.rank = rank, .size = shards->size, .bands_capacity = bands_max};
    it.parts_capacity = bounds.parts;
    CANTO_TRY(
        canto_moves_create(arena, bounds.visits, canto_moves_steps_bound(shards->size), &it.moves));
    it.messages_capacity = (int)it.moves.capacity;
    CANTO_TRY(create_tables(arena, &it));
    CANTO_TRY(canto_slots_create(arena, canto_compiled_part_rows(shards), it.messages_capacity,
                                 &it.parts));
    CANTO_TRY(
        canto_slots_create(arena, canto_compiled_sum_rows(shards), it.messages_capacity, &it.sums));
    if (!arena->measuring) **out = it;
    return CANTO_OK;
}

// --- compiling ---

static void raise_to(int *x, int at_least)
{
    if (*x < at_least) *x = at_least;
}

static int64_t local_row(const canto_shards *shards, int64_t position)
{
    const canto_span *span = &shards->spans[canto_shards_find(shards, position)];
    return span->local + position - span->begin;
}

// Keeps the stops sorted by step; they come nearly so.
static void add_stop(canto_stop *stops, int *n, canto_stop stop)
{
    int i = (*n)++;
    for (; i > 0 && stops[i - 1].step > stop.step; i--) stops[i] = stops[i - 1];
    stops[i] = stop;
}

static canto_stop *visit_of(canto_compiled *it, int part)
{
    return &it->visits[it->visit_of_part[part]];
}

static void find_own(canto_compiled *it, const canto_schedule *schedule)
{
    it->own_n = 0;
    for (int i = 0; i < schedule->parts_n; i++) {
        const canto_part *part = &schedule->parts[i];
        if (part->owner != it->rank) continue;
        add_stop(it->own, &it->own_n,
                 (canto_stop){.part = i,
                              .begin = part->begin,
                              .end = part->end,
                              .step = part->step,
                              .row = local_row(it->shards, part->begin)});
    }
}

// In the order of the moves that bring the parts, which is nearly that of the steps.
static void find_visits(canto_compiled *it, const canto_schedule *schedule)
{
    it->visits_n = 0;
    for (int i = 0; i < schedule->parts_n; i++) it->visit_of_part[i] = -1;
    for (int64_t i = 0; i < it->moves.n; i++) {
        const canto_move *move = &it->moves.list[i];
        if (move->kind != CANTO_MOVE_PART || move->to != it->rank) continue;
        const canto_visit *visit = &schedule->visits[move->visit];
        const canto_part *part = &schedule->parts[visit->part];
        add_stop(it->visits, &it->visits_n,
                 (canto_stop){.part = visit->part,
                              .begin = part->begin,
                              .end = part->end,
                              .step = visit->need,
                              .part_last = visit->need,
                              .sum_last = visit->need});
    }
    for (int i = 0; i < it->visits_n; i++) it->visit_of_part[it->visits[i].part] = i;
}

// How long parts and sums must stay, and when nothing more happens.
static void find_lifetimes(canto_compiled *it, const canto_schedule *schedule)
{
    it->last_forward = it->own_n > 0 ? it->own[it->own_n - 1].step : 0;
    if (it->visits_n > 0) raise_to(&it->last_forward, it->visits[it->visits_n - 1].step);
    it->last_backward = it->visits_n > 0 ? it->visits[it->visits_n - 1].step : 0;
    for (int64_t i = 0; i < it->moves.n; i++) {
        const canto_move *move = &it->moves.list[i];
        const int part = schedule->visits[move->visit].part;
        raise_to(&it->last_backward, move->end);
        if (move->kind == CANTO_MOVE_PART) raise_to(&it->last_forward, move->end);
        if (move->from != it->rank || it->visit_of_part[part] < 0) continue;
        canto_stop *visit = visit_of(it, part);
        raise_to(move->kind == CANTO_MOVE_PART ? &visit->part_last : &visit->sum_last, move->end);
    }
}

// Rows of what I send: they are there already.
static void place_sent(canto_compiled *it, const canto_part *part, int index, canto_message *out)
{
    if (out->kind != CANTO_MOVE_PART) {
        out->place = CANTO_PLACE_SUMS;
        out->row = visit_of(it, index)->sum_row;
    } else if (part->owner == it->rank) {
        out->place = CANTO_PLACE_OWN;
        out->row = local_row(it->shards, part->begin);
    } else {
        out->place = CANTO_PLACE_PARTS;
        out->row = visit_of(it, index)->row;
    }
}

static canto_status place_received(canto_compiled *it, const canto_part *part, int index,
                                   canto_message *out)
{
    if (out->kind == CANTO_MOVE_PART) {
        canto_stop *visit = visit_of(it, index);
        out->place = CANTO_PLACE_PARTS;
        CANTO_TRY(canto_slots_take(&it->parts, "parts", out->step, visit->part_last, out->rows,
                                   &visit->row));
        out->row = visit->row;
        return CANTO_OK;
    }
    out->place = CANTO_PLACE_SUMS;
    if (out->kind == CANTO_MOVE_SUM) out->joins = it->visit_of_part[index];
    if (out->kind == CANTO_MOVE_HOME) out->home_row = local_row(it->shards, part->begin);
    return canto_slots_take(&it->sums, "incoming sums", out->step, out->end, out->rows, &out->row);
}

static canto_status add_message(canto_compiled *it, const canto_schedule *schedule,
                                const canto_move *move)
{
    const int index = schedule->visits[move->visit].part;
    const canto_part *part = &schedule->parts[index];
    const bool sends = move->from == it->rank;
    canto_message message = {.kind = move->kind,
                             .sends = sends,
                             .peer = sends ? move->to : move->from,
                             .step = move->step,
                             .end = move->end,
                             .rows = part->end - part->begin};
    if (sends) {
        place_sent(it, part, index, &message);
    } else {
        CANTO_TRY(place_received(it, part, index, &message));
    }
    int i = it->messages_n;
    for (; i > 0 && it->messages[it->by_end[i - 1]].end > message.end; i--)
        it->by_end[i] = it->by_end[i - 1];
    it->by_end[i] = it->messages_n;
    it->messages[it->messages_n++] = message;
    return CANTO_OK;
}

// Step by step, because a buffer's rows are given out in that order; a visit's sum before what
// comes in, because it lives longer.
static canto_status make_messages(canto_compiled *it, const canto_schedule *schedule)
{
    canto_slots_reset(&it->parts);
    canto_slots_reset(&it->sums);
    it->messages_n = 0;
    int visit = 0;
    for (int step = 0; step < it->moves.steps; step++) {
        for (; visit < it->visits_n && it->visits[visit].step == step; visit++) {
            canto_stop *stop = &it->visits[visit];
            CANTO_TRY(canto_slots_take(&it->sums, "sums", step, stop->sum_last,
                                       stop->end - stop->begin, &stop->sum_row));
        }
        for (int64_t i = it->moves.first[step]; i < it->moves.first[step + 1]; i++)
            CANTO_TRY(add_message(it, schedule, &it->moves.list[i]));
    }
    return CANTO_OK;
}

static void find_keys(canto_compiled *it)
{
    const canto_band *bands = it->mask->bands;
    const int n = it->mask->bands_n;
    for (int i = 0; i < n; i++) {
        const int64_t before = i > 0 ? it->key_end[i - 1] : 0;
        it->key_end[i] = bands[i].k1 > before ? bands[i].k1 : before;
    }
    for (int i = n - 1; i >= 0; i--) {
        const int64_t after = i < n - 1 ? it->key_begin[i + 1] : bands[i].k0;
        it->key_begin[i] = bands[i].k0 < after ? bands[i].k0 : after;
    }
}

canto_status canto_compiled_make(canto_compiled *it, const canto_schedule *schedule,
                                 const canto_mask *mask, const canto_shards *shards)
{
    CANTO_CHECK(schedule->rank == it->rank && schedule->size == it->size &&
                    shards->size == it->size,
                "compile: made for rank %d of %d, but the schedule is rank %d's of %d and the "
                "shards are of %d ranks",
                it->rank, it->size, schedule->rank, schedule->size, shards->size);
    if (schedule->parts_n > it->parts_capacity || mask->bands_n > it->bands_capacity)
        CANTO_FAIL(CANTO_ERROR_CAPACITY,
                   "compile: %d parts and %d bands, but there is room for %d and %d; create it for "
                   "more bands (data.max_documents)",
                   schedule->parts_n, mask->bands_n, it->parts_capacity, it->bands_capacity);
    it->mask = mask;
    it->shards = shards;
    it->tokens = canto_shards_tokens(shards, it->rank);
    find_keys(it);
    CANTO_TRY(canto_moves_make(&it->moves, schedule, true));
    find_own(it, schedule);
    find_visits(it, schedule);
    find_lifetimes(it, schedule);
    return make_messages(it, schedule);
}
