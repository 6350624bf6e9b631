// What tests of schedules share: dice, random documents, and a division with its mask and schedule.
#ifndef CANTO_TESTS_PARALLEL_WORLD_H
#define CANTO_TESTS_PARALLEL_WORLD_H

#include "parallel/schedule.h"
#include "parallel/strategy.h"

enum { WORLD_SEQUENCES_MAX = 4, WORLD_RANKS_MAX = 1024, WORLD_DOCUMENTS_MAX = 512 };

// Reproducible random numbers.
typedef struct dice {
    uint64_t seed, n;
} dice;

int64_t roll(dice *d, int64_t sides);                // [0, sides)
int64_t roll_between(dice *d, int64_t a, int64_t b); // [a, b]

// The stream cut into 1 .. n_max documents of random lengths, down to 1; starts [n + 1]. Returns n
// (0 for an empty stream).
int roll_documents(dice *d, int64_t length, int n_max, int64_t *starts);

typedef struct world_desc {
    canto_layout layout;
    int size;
    int sequences_n; // 0: one sequence of `length`
    int64_t length;
    const int64_t *bounds;
    const int *weights;
    int bands_max; // 0: 1
    int rank;      // of the schedule; -1: everybody
} world_desc;

// Strategies that nobody would want, but that are legal. star: parts straight from the owner, sums
// along one chain through all ranks. slow: a ring in which every message takes a step of its own.
extern const canto_strategy strategy_star, strategy_slow;

// A random layout (weights with zeros, one to three sequences) and a random mask of documents.
typedef struct random_case {
    world_desc desc; // points into this struct
    int64_t bounds[4];
    int weights[WORLD_RANKS_MAX];
    int documents_n;
    int64_t starts[WORLD_DOCUMENTS_MAX + 1];
    int64_t left, right;
} random_case;

void roll_case(dice *d, int size, int64_t length, int documents_max, random_case *out);

typedef struct world {
    canto_layout layout;
    canto_arena arena;
    canto_shards shards;
    canto_mask mask;
    canto_needs needs;
    canto_schedule schedule;
} world;

void world_open(world *w, world_desc desc); // sized by a measuring pass
void world_close(world *w);
void world_open_case(world *w, const random_case *c, int rank); // with mask and needs
// Mask of one document over the whole stream, then needs.
void world_window(world *w, int64_t left, int64_t right);
void world_documents(world *w, int n, const int64_t *starts, int64_t left, int64_t right);
void world_schedule(world *w, const canto_strategy *strategy);

// "ring, zigzag on 4 ranks, 64 tokens, 3 bands": what a failure is about.
enum { WORLD_NAME_MAX = 128 };
const char *world_name(const world *w, const canto_strategy *strategy, char out[WORLD_NAME_MAX]);

#endif
