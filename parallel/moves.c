// Derives messages from visits, and sorts them by step and kind with one counting sort: visits come
// in order, so that within a step and kind the moves do too.
#include "parallel/moves.h"

#include <string.h>

int canto_moves_steps_bound(int size)
{
    // Visits lie in steps below `size`; the last sum goes home one step later.
    return size + 1;
}

canto_status canto_moves_create(canto_arena *arena, int64_t visits_max, int steps_max,
                                canto_moves *out)
{
    *out = (canto_moves){.capacity = 2 * visits_max, .steps_capacity = steps_max};
    CANTO_TRY(canto_arena_array(arena, "moves of a schedule", out->capacity, sizeof *out->list,
                                (void **)&out->list));
    CANTO_TRY(canto_arena_array(arena, "first move of each step", (int64_t)steps_max + 1,
                                sizeof *out->first, (void **)&out->first));
    return canto_arena_array(arena, "order of moves", (int64_t)steps_max * CANTO_MOVE_KINDS + 1,
                             sizeof *out->place, (void **)&out->place);
}

static bool concerns(const canto_schedule *schedule, const canto_move *move)
{
    return schedule->rank < 0 || move->from == schedule->rank || move->to == schedule->rank;
}

static canto_move part_move(const canto_schedule *schedule, int visit)
{
    const canto_visit *v = &schedule->visits[visit];
    return (canto_move){CANTO_MOVE_PART, visit, -1, v->from, v->to, v->step, v->need - 1};
}

// Where two stored visits of a chain are not neighbours in it, or the last one stored is not its
// last, the schedule's rank is not an end of this move, and it is left out.
static canto_move sum_move(const canto_schedule *schedule, int visit)
{
    const canto_visit *v = &schedule->visits[visit];
    const canto_visit *w = v + 1;
    if (visit + 1 < schedule->visits_n && w->part == v->part && w->chain == v->chain) {
        return (canto_move){CANTO_MOVE_SUM, visit, visit + 1, v->to, w->to, v->need + 1, w->need};
    }
    int owner = schedule->parts[v->part].owner;
    return (canto_move){CANTO_MOVE_HOME, visit, -1, v->to, owner, v->need + 1, v->need + 1};
}

static int64_t *key(canto_moves *moves, const canto_move *move)
{
    return &moves->place[(int64_t)move->step * CANTO_MOVE_KINDS + move->kind];
}

int canto_moves_steps(const canto_schedule *schedule, bool backward)
{
    int steps = 1;
    for (int i = 0; i < schedule->parts_n; i++) {
        if (schedule->parts[i].step >= steps) steps = schedule->parts[i].step + 1;
    }
    for (int64_t i = 0; i < schedule->visits_n; i++) {
        int last = schedule->visits[i].need + (backward ? 1 : 0);
        if (last >= steps) steps = last + 1;
    }
    return steps;
}

// With `write` false: counts the moves of each key into the place after it. With true: writes each
// move to its place.
static void each_move(canto_moves *moves, const canto_schedule *schedule, bool backward, bool write)
{
    for (int i = 0; i < schedule->visits_n; i++) {
        canto_move both[2] = {part_move(schedule, i), sum_move(schedule, i)};
        for (int j = 0; j < (backward ? 2 : 1); j++) {
            if (!concerns(schedule, &both[j])) continue;
            if (write) {
                moves->list[(*key(moves, &both[j]))++] = both[j];
            } else {
                key(moves, &both[j])[1]++;
            }
        }
    }
}

canto_status canto_moves_make(canto_moves *moves, const canto_schedule *schedule, bool backward)
{
    moves->steps = canto_moves_steps(schedule, backward);
    if (moves->steps > moves->steps_capacity || 2 * schedule->visits_n > moves->capacity) {
        CANTO_FAIL(CANTO_ERROR_CAPACITY,
                   "moves: %d steps and %lld visits, but there is room for %d and %lld",
                   moves->steps, (long long)schedule->visits_n, moves->steps_capacity,
                   (long long)moves->capacity / 2);
    }
    int keys = moves->steps * CANTO_MOVE_KINDS;
    memset(moves->place, 0, ((size_t)keys + 1) * sizeof *moves->place);
    each_move(moves, schedule, backward, false);
    for (int i = 0; i < keys; i++) moves->place[i + 1] += moves->place[i];
    for (int t = 0; t <= moves->steps; t++) moves->first[t] = moves->place[t * CANTO_MOVE_KINDS];
    moves->n = moves->place[keys];
    each_move(moves, schedule, backward, true);
    return CANTO_OK;
}
