// Places for things of different sizes and lifetimes in one buffer, counted in rows: first fit.
//
// What starts in an even step is placed from the bottom of the buffer, what starts in an odd step
// from the top. Things that live for two steps then fill the buffer from both ends, like the two
// halves of a double buffer, and leave no holes whatever their sizes: two blocks need exactly two
// blocks of room. Local, no allocation after creation.
#ifndef CANTO_PARALLEL_SLOTS_H
#define CANTO_PARALLEL_SLOTS_H

#include "runtime/arena.h"

typedef struct canto_slot {
    int64_t begin, end; // rows
    int last;           // step at whose end the rows are free again
} canto_slot;

typedef struct canto_slots {
    int64_t rows;
    int64_t peak; // most rows taken at one time since the reset
    int live_n, capacity;
    canto_slot *live; // owned by the arena: sorted by begin, disjoint
} canto_slots;

canto_status canto_slots_create(canto_arena *arena, int64_t rows, int capacity, canto_slots *out);
void canto_slots_reset(canto_slots *slots);

// Rows for something that lives from step `first` to the end of step `last`; first never decreases
// from call to call. CANTO_ERROR_CAPACITY, naming `what`, if there is no gap of that size.
canto_status canto_slots_take(canto_slots *slots, const char *what, int first, int last,
                              int64_t rows, int64_t *row);

#endif
