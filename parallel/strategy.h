// A strategy writes the visits of one part; everything else (tiles, sums, buffers, prices, the
// backward pass) is derived.
#ifndef CANTO_PARALLEL_STRATEGY_H
#define CANTO_PARALLEL_STRATEGY_H

#include "parallel/schedule.h"

// Where a generator puts its visits: those of one chain together, in order of need; chains in order
// of their numbers.
typedef struct canto_emitter canto_emitter;
void canto_emit_visit(canto_emitter *emitter, canto_visit visit);

struct canto_strategy {
    const char *name;
    const char *price; // one line for people: messages and bytes a layer
    bool (*applicable)(int size);
    // Visits of part `index` (owned by part->owner) for every rank that needs it.
    void (*visits)(const canto_needs *needs, int index, const canto_part *part,
                   canto_emitter *emitter);
};

extern const canto_strategy canto_strategy_serial, canto_strategy_ring, canto_strategy_gather;

// All of them, ended by NULL.
extern const canto_strategy *const canto_strategies[];
// NULL if there is none of that name.
const canto_strategy *canto_strategy_find(const char *name);

#endif
