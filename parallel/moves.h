// The messages of a schedule, derived from its visits: never written by a strategy.
//
//     part   of each visit                  from -> to               step .. need - 1
//     sum    of each visit but a chain's    visit -> next visit      need + 1 .. need of the next
//            last, backward pass only
//     home   of each chain's last visit,    visit -> owner           need + 1 .. need + 1
//            backward pass only
//
// Both ends start a message when they enter the step `step`, in the order of the list, and finish
// it at the end of the step `end`. A sum is joined at its target after the tiles of step `end`.
// Pure functions, local.
#ifndef CANTO_PARALLEL_MOVES_H
#define CANTO_PARALLEL_MOVES_H

#include "parallel/schedule.h"

typedef enum canto_move_kind {
    CANTO_MOVE_PART,
    CANTO_MOVE_SUM,
    CANTO_MOVE_HOME,
    CANTO_MOVE_KINDS
} canto_move_kind;

typedef struct canto_move {
    canto_move_kind kind;
    int visit; // index into the schedule's visits: which the part serves, or whose sum leaves
    int next;  // the visit that takes the sum; -1 for parts and homecomings
    int from, to;
    int step, end;
} canto_move;

// Sorted by (step, kind, visit). Moves of one step are list[first[step] .. first[step + 1]).
typedef struct canto_moves {
    int64_t n, capacity;
    int steps; // a pass runs the steps 0 .. steps - 1: every move and every tile lies in one
    int steps_capacity;
    canto_move *list; // in the arena
    int64_t *first;   // in the arena; [steps + 1]
    int64_t *place;   // in the arena; scratch
} canto_moves;

// Number of steps of the schedule's forward or backward pass.
int canto_moves_steps(const canto_schedule *schedule, bool backward);
// Steps that are enough for any schedule that the strategies make on `size` ranks.
int canto_moves_steps_bound(int size);
// Room for the moves of `visits_max` visits, forward or backward, in at most `steps_max` steps.
canto_status canto_moves_create(canto_arena *arena, int64_t visits_max, int steps_max,
                                canto_moves *out);
// All moves of the schedule's rank (of everybody for rank -1); with `backward` those of sums too.
// No allocation. CANTO_ERROR_CAPACITY if there are too many moves or steps.
canto_status canto_moves_make(canto_moves *moves, const canto_schedule *schedule, bool backward);

#endif
