// The play in time of the order of the messages: a rank goes on until it must wait, and is woken by
// the start of the last message it waits for.
#include "parallel/play.h"

static canto_status take(canto_play *p, canto_arena *arena, const canto_schedule *schedule,
                         bool backward)
{
    int64_t moves = schedule->visits_n * (backward ? 2 : 1);
    int64_t cells = (int64_t)p->size * p->steps;
    const struct {
        int64_t count;
        size_t bytes;
        void **out;
    } arrays[] = {
        {moves, sizeof *p->move_s, (void **)&p->move_s},
        {moves, sizeof *p->start_s, (void **)&p->start_s},
        {moves, sizeof *p->started, (void **)&p->started},
        {2 * moves, sizeof *p->order, (void **)&p->order},
        {cells, sizeof *p->tiles_s, (void **)&p->tiles_s},
        {cells, sizeof *p->ready_s, (void **)&p->ready_s},
        {cells, sizeof *p->pending, (void **)&p->pending},
        {p->size + 1, sizeof *p->first, (void **)&p->first},
        {p->size, sizeof *p->next, (void **)&p->next},
        {p->size, sizeof *p->clock_s, (void **)&p->clock_s},
        {p->size, sizeof *p->at, (void **)&p->at},
        {p->size, sizeof *p->asleep, (void **)&p->asleep},
        {p->size, sizeof *p->awake, (void **)&p->awake},
    };
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        CANTO_TRY(canto_arena_array(arena, "a played schedule", arrays[i].count, arrays[i].bytes,
                                    arrays[i].out));
    }
    return canto_moves_create(arena, schedule->visits_n, p->steps, &p->moves);
}

static canto_status take_memory(canto_play *p, const canto_schedule *schedule, bool backward)
{
    canto_arena measuring;
    CANTO_TRY(canto_arena_create_measuring(&measuring));
    canto_status status = take(p, &measuring, schedule, backward);
    size_t bytes = measuring.peak;
    canto_arena_destroy(&measuring);
    CANTO_TRY(status);
    CANTO_TRY(canto_arena_create(&p->arena, bytes));
    return take(p, &p->arena, schedule, backward);
}

// Each rank's moves in order, and how many it waits for at the end of each step.
static void list_by_rank(canto_play *p)
{
    for (int64_t i = 0; i < p->moves.n; i++) {
        const canto_move *m = &p->moves.list[i];
        p->first[m->from + 1]++;
        p->first[m->to + 1]++;
        p->pending[(int64_t)m->from * p->steps + m->end]++;
        p->pending[(int64_t)m->to * p->steps + m->end]++;
    }
    for (int r = 0; r < p->size; r++) {
        p->first[r + 1] += p->first[r];
        p->next[r] = p->first[r];
    }
    for (int64_t i = 0; i < p->moves.n; i++) {
        const canto_move *m = &p->moves.list[i];
        p->order[p->next[m->from]++] = (int)i;
        p->order[p->next[m->to]++] = (int)i;
    }
    for (int r = 0; r < p->size; r++) p->next[r] = p->first[r];
}

canto_status canto_play_open(const canto_schedule *schedule, bool backward, canto_play *out)
{
    CANTO_CHECK(schedule->rank < 0, "play: a schedule of rank %d alone; make that of all ranks",
                schedule->rank);
    *out = (canto_play){.size = schedule->size};
    out->steps = canto_moves_steps(schedule, backward);
    CANTO_TRY(take_memory(out, schedule, backward));
    CANTO_TRY(canto_moves_make(&out->moves, schedule, backward));
    list_by_rank(out);
    return CANTO_OK;
}

void canto_play_close(canto_play *play)
{
    canto_arena_destroy(&play->arena);
}

// The move is through at one of its ends, which is woken if it waited for this move alone.
static void pass(canto_play *p, int rank, int end, double when)
{
    int64_t cell = (int64_t)rank * p->steps + end;
    if (when > p->ready_s[cell]) p->ready_s[cell] = when;
    p->pending[cell]--;
    if (p->pending[cell] == 0 && p->asleep[rank] && p->at[rank] == end) {
        p->asleep[rank] = false;
        p->awake[p->awake_n++] = rank;
    }
}

static void start_moves(canto_play *p, int rank)
{
    while (p->next[rank] < p->first[rank + 1]) {
        int i = p->order[p->next[rank]];
        const canto_move *m = &p->moves.list[i];
        if (m->step != p->at[rank]) return;
        p->next[rank]++;
        if (p->clock_s[rank] > p->start_s[i]) p->start_s[i] = p->clock_s[rank];
        if (++p->started[i] < 2) continue;
        double when = p->start_s[i] + p->move_s[i];
        pass(p, m->from, m->end, when);
        pass(p, m->to, m->end, when);
    }
}

static void enter(canto_play *p, int rank)
{
    start_moves(p, rank);
    p->clock_s[rank] += p->tiles_s[(int64_t)rank * p->steps + p->at[rank]];
}

// From where the rank is, a step it has entered, to where it must wait or is done.
static void advance(canto_play *p, int rank)
{
    while (p->at[rank] < p->steps) {
        int64_t cell = (int64_t)rank * p->steps + p->at[rank];
        if (p->pending[cell] > 0) {
            p->asleep[rank] = true;
            return;
        }
        if (p->ready_s[cell] > p->clock_s[rank]) p->clock_s[rank] = p->ready_s[cell];
        p->at[rank]++;
        if (p->at[rank] < p->steps) enter(p, rank);
    }
}

static canto_status stuck(const canto_play *p, int rank)
{
    for (int64_t i = p->first[rank]; i < p->first[rank + 1]; i++) {
        const canto_move *m = &p->moves.list[p->order[i]];
        if (m->end != p->at[rank] || p->started[p->order[i]] == 2) continue;
        CANTO_FAIL(CANTO_ERROR_MISMATCH,
                   "schedule: rank %d waits for ever in step %d for the message of visit %d from "
                   "rank %d to rank %d, which starts in step %d",
                   rank, p->at[rank], m->visit, m->from, m->to, m->step);
    }
    CANTO_FAIL(CANTO_ERROR_MISMATCH, "schedule: rank %d never leaves step %d", rank, p->at[rank]);
}

canto_status canto_play_run(canto_play *play, double *seconds)
{
    for (int r = 0; r < play->size; r++) {
        enter(play, r);
        advance(play, r);
        while (play->awake_n > 0) advance(play, play->awake[--play->awake_n]);
    }
    *seconds = 0;
    for (int r = 0; r < play->size; r++) {
        if (play->at[r] < play->steps) return stuck(play, r);
        if (play->clock_s[r] > *seconds) *seconds = play->clock_s[r];
    }
    return CANTO_OK;
}
