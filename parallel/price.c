// What a schedule costs: messages and rows as counted in its moves, buffers from the lifetimes of
// messages, seconds from the play of all ranks with clocks on a given machine.
#include "parallel/play.h"

typedef struct pricing {
    const canto_schedule *schedule;
    const canto_mask *mask;
    const canto_shards *shards;
    int64_t *rows; // [size, steps]: change of buffered rows on entering a step, then their number
    int steps;
} pricing;

static int64_t part_rows(const canto_schedule *schedule, const canto_visit *visit)
{
    const canto_part *part = &schedule->parts[visit->part];
    return part->end - part->begin;
}

// Pairs of the rank's queries with keys [k0, k1).
static int64_t rank_pairs(const pricing *p, int rank, int64_t k0, int64_t k1)
{
    int64_t pairs = 0;
    for (int i = p->shards->first[rank]; i < p->shards->first[rank + 1]; i++) {
        const canto_span *span = &p->shards->spans[i];
        const canto_mask *mask = p->mask;
        for (int b = canto_mask_first(mask, span->begin);
             b < mask->bands_n && mask->bands[b].q0 < span->end; b++) {
            canto_band tile;
            if (canto_band_clip(&mask->bands[b], span->begin, span->end, k0, k1, &tile)) {
                pairs += canto_band_area(&tile);
            }
        }
    }
    return pairs;
}

static int64_t most_pairs(const pricing *p)
{
    int64_t most = 0;
    for (int r = 0; r < p->shards->size; r++) {
        int64_t pairs = rank_pairs(p, r, 0, p->mask->length);
        if (pairs > most) most = pairs;
    }
    return most;
}

// A buffer of `rows` rows on `rank` from the beginning of step `from` to the end of step `to`.
static void hold(pricing *p, int rank, int from, int to, int64_t rows)
{
    int64_t *row = p->rows + (int64_t)rank * p->steps;
    row[from] += rows;
    if (to + 1 < p->steps) row[to + 1] -= rows;
}

static int64_t peak(const pricing *p)
{
    int64_t most = 0;
    for (int r = 0; r < p->schedule->size; r++) {
        int64_t held = 0;
        for (int t = 0; t < p->steps; t++) {
            held += p->rows[(int64_t)r * p->steps + t];
            if (held > most) most = held;
        }
    }
    return most;
}

// A received part lives until its tiles are done and it has been passed on. until: [size].
static void hold_parts(pricing *p, int *until)
{
    const canto_schedule *s = p->schedule;
    int64_t end;
    for (int64_t begin = 0; begin < s->visits_n; begin = end) {
        int part = s->visits[begin].part;
        for (end = begin; end < s->visits_n && s->visits[end].part == part; end++) {
            until[s->visits[end].to] = s->visits[end].need;
        }
        for (int64_t i = begin; i < end; i++) {
            const canto_visit *v = &s->visits[i];
            if (v->from != s->parts[part].owner && v->need - 1 > until[v->from]) {
                until[v->from] = v->need - 1;
            }
        }
        for (int64_t i = begin; i < end; i++) {
            const canto_visit *v = &s->visits[i];
            hold(p, v->to, v->step, until[v->to], part_rows(s, v));
        }
    }
}

// A rank's own sum lives from its tiles until it has left; one that comes in while it is under way.
static void hold_sums(pricing *p, const canto_moves *moves, canto_price *out)
{
    for (int64_t i = 0; i < moves->n; i++) {
        const canto_move *m = &moves->list[i];
        if (m->kind == CANTO_MOVE_PART) continue;
        const canto_visit *v = &p->schedule->visits[m->visit];
        int64_t rows = part_rows(p->schedule, v);
        hold(p, m->from, v->need, m->end, rows);
        hold(p, m->to, m->step, m->end, rows);
        out->sum_messages++;
        out->sum_rows += rows;
    }
}

// Messages that a rank starts in one step share its link, in order.
static void set_message_times(canto_play *play, const canto_schedule *schedule, size_t row_bytes,
                              const canto_machine *machine, double *busy)
{
    for (int t = 0; t < play->steps; t++) {
        for (int64_t i = play->moves.first[t]; i < play->moves.first[t + 1]; i++) {
            busy[play->moves.list[i].from] = 0;
        }
        for (int64_t i = play->moves.first[t]; i < play->moves.first[t + 1]; i++) {
            const canto_move *m = &play->moves.list[i];
            int64_t rows = part_rows(schedule, &schedule->visits[m->visit]);
            busy[m->from] +=
                machine->alpha_s + machine->beta_s_per_byte * (double)rows * (double)row_bytes;
            play->move_s[i] = busy[m->from];
        }
    }
}

static void set_tile_times(const pricing *p, canto_play *play, double gamma_s)
{
    const canto_schedule *s = p->schedule;
    for (int i = 0; i < s->parts_n; i++) {
        const canto_part *part = &s->parts[i];
        play->tiles_s[(int64_t)part->owner * play->steps + part->step] +=
            gamma_s * (double)rank_pairs(p, part->owner, part->begin, part->end);
    }
    for (int64_t i = 0; i < s->visits_n; i++) {
        const canto_visit *v = &s->visits[i];
        const canto_part *part = &s->parts[v->part];
        play->tiles_s[(int64_t)v->to * play->steps + v->need] +=
            gamma_s * (double)rank_pairs(p, v->to, part->begin, part->end);
    }
}

// Scratch: rows of every rank and step, and one number for each rank.
typedef struct scratch {
    canto_arena arena; // owned
    int64_t *rows;
    int *until;
    double *busy;
} scratch;

static canto_status take(canto_arena *arena, int64_t size, int steps, scratch *out)
{
    CANTO_TRY(canto_arena_array(arena, "rows held in each step", size * steps, sizeof *out->rows,
                                (void **)&out->rows));
    CANTO_TRY(canto_arena_array(arena, "last use of a part", size, sizeof *out->until,
                                (void **)&out->until));
    return canto_arena_array(arena, "use of links", size, sizeof *out->busy, (void **)&out->busy);
}

static canto_status scratch_open(int size, int steps, scratch *out)
{
    canto_arena measuring;
    *out = (scratch){0};
    CANTO_TRY(canto_arena_create_measuring(&measuring));
    canto_status status = take(&measuring, size, steps, out);
    size_t bytes = measuring.peak;
    canto_arena_destroy(&measuring);
    CANTO_TRY(status);
    CANTO_TRY(canto_arena_create(&out->arena, bytes));
    return take(&out->arena, size, steps, out);
}

static canto_status price_forward(pricing *p, size_t row_bytes, const canto_machine *machine,
                                  canto_play *play, canto_price *out)
{
    scratch s;
    CANTO_TRY(scratch_open(play->size, play->steps, &s));
    p->rows = s.rows;
    p->steps = play->steps;
    hold_parts(p, s.until);
    out->messages = play->moves.n;
    for (int64_t i = 0; i < play->moves.n; i++) {
        out->rows += part_rows(p->schedule, &p->schedule->visits[play->moves.list[i].visit]);
    }
    out->peak_part_rows = peak(p);
    out->pairs_max = most_pairs(p);
    set_message_times(play, p->schedule, row_bytes, machine, s.busy);
    set_tile_times(p, play, machine->gamma_s_per_pair);
    canto_arena_destroy(&s.arena);
    return canto_play_run(play, &out->seconds);
}

static canto_status price_backward(pricing *p, const canto_play *play, canto_price *out)
{
    scratch s;
    CANTO_TRY(scratch_open(play->size, play->steps, &s));
    p->rows = s.rows;
    p->steps = play->steps;
    hold_sums(p, &play->moves, out);
    out->peak_sum_rows = peak(p);
    canto_arena_destroy(&s.arena);
    return CANTO_OK;
}

canto_status canto_schedule_price(const canto_schedule *schedule, const canto_mask *mask,
                                  const canto_shards *shards, size_t row_bytes,
                                  const canto_machine *machine, canto_price *out)
{
    CANTO_CHECK(schedule->rank < 0, "price: a schedule of rank %d alone; make that of all ranks",
                schedule->rank);
    *out = (canto_price){0};
    pricing p = {.schedule = schedule, .mask = mask, .shards = shards};
    canto_play play;
    canto_status status = canto_play_open(schedule, false, &play);
    if (status == CANTO_OK) status = price_forward(&p, row_bytes, machine, &play, out);
    canto_play_close(&play);
    CANTO_TRY(status);
    status = canto_play_open(schedule, true, &play);
    if (status == CANTO_OK) status = price_backward(&p, &play, out);
    canto_play_close(&play);
    return status;
}
