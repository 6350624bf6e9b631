#include "tests/canto_test.h"

#include "tests/parallel/world.h"

#include "runtime/rng.h"

#include <stdio.h>

int64_t roll(dice *d, int64_t sides)
{
    return canto_rng_below(d->seed, CANTO_RNG_TEST, d->n++, sides);
}

int64_t roll_between(dice *d, int64_t a, int64_t b)
{
    return a + roll(d, b - a + 1);
}

int roll_documents(dice *d, int64_t length, int n_max, int64_t *starts)
{
    int n = 0;
    starts[0] = 0;
    if (length == 0) return 0;
    // Half of the documents are short, so that some have a single token.
    while (n + 1 < n_max && starts[n] + 1 < length) {
        int64_t longest = roll(d, 2) ? 3 : 1 + 2 * length / n_max;
        int64_t end = starts[n] + 1 + roll(d, longest);
        if (end >= length) break;
        starts[++n] = end;
    }
    starts[++n] = length;
    return n;
}

static bool any_size(int size)
{
    return size > 0;
}

static void star_visits(const canto_needs *needs, int index, const canto_part *part,
                        canto_emitter *emitter)
{
    for (int d = 1; d < needs->size; d++) {
        int to = (part->owner + d) % needs->size;
        if (!canto_needs_meets(needs, to, part->begin, part->end)) continue;
        canto_emit_visit(emitter, (canto_visit){index, 0, part->owner, to, d - 1, d});
    }
}

static void slow_visits(const canto_needs *needs, int index, const canto_part *part,
                        canto_emitter *emitter)
{
    int from = part->owner;
    for (int d = 1; d < needs->size; d++) {
        int to = (part->owner + d) % needs->size;
        if (!canto_needs_meets(needs, to, part->begin, part->end)) continue;
        canto_emit_visit(emitter, (canto_visit){index, 0, from, to, 2 * d - 2, 2 * d - 1});
        from = to;
    }
}

const canto_strategy strategy_star = {"star", "", any_size, star_visits};
const canto_strategy strategy_slow = {"slow", "", any_size, slow_visits};

static int64_t roll_side(dice *d, int64_t length)
{
    if (roll(d, 3) == 0) return CANTO_UNLIMITED;
    return roll(d, 2) ? roll(d, 5) : roll(d, length + 1);
}

void roll_case(dice *d, int size, int64_t length, int documents_max, random_case *out)
{
    int sequences_n = 1 + (int)roll(d, 3);
    out->bounds[0] = 0;
    for (int i = 1; i < sequences_n; i++) {
        out->bounds[i] = roll_between(d, out->bounds[i - 1], length);
    }
    out->bounds[sequences_n] = length;
    for (int r = 0; r < size; r++) out->weights[r] = (int)(roll(d, 4) * roll(d, 4));
    out->weights[roll(d, size)] += 1;
    out->documents_n = roll_documents(d, length, documents_max, out->starts);
    out->left = roll_side(d, length);
    out->right = roll_side(d, length);
    out->desc = (world_desc){.layout = (canto_layout)roll(d, 3),
                             .size = size,
                             .sequences_n = sequences_n,
                             .length = length,
                             .bounds = out->bounds,
                             .bands_max = out->documents_n};
    if (out->desc.layout == CANTO_LAYOUT_UNEVEN) out->desc.weights = out->weights;
}

void world_open_case(world *w, const random_case *c, int rank)
{
    world_desc desc = c->desc;
    desc.rank = rank;
    world_open(w, desc);
    world_documents(w, c->documents_n, c->starts, c->left, c->right);
}

static void create(world *w, const world_desc *desc)
{
    int64_t whole[2] = {0, desc->length};
    const int64_t *bounds = desc->sequences_n ? desc->bounds : whole;
    int sequences_n = desc->sequences_n ? desc->sequences_n : 1;
    int bands_max = desc->bands_max ? desc->bands_max : 1;
    CANTO_TEST_OK(canto_shards_create(&w->arena, desc->layout, desc->size, sequences_n, bounds,
                                      desc->weights, &w->shards));
    CANTO_TEST_OK(canto_mask_create(&w->arena, bands_max, &w->mask));
    CANTO_TEST_OK(canto_needs_create(&w->arena, &w->shards, bands_max, &w->needs));
    CANTO_TEST_OK(
        canto_schedule_create(&w->arena, &w->shards, bands_max, desc->rank, &w->schedule));
}

void world_open(world *w, world_desc desc)
{
    w->layout = desc.layout;
    CANTO_TEST_OK(canto_arena_create_measuring(&w->arena));
    create(w, &desc);
    size_t bytes = w->arena.peak;
    canto_arena_destroy(&w->arena);
    CANTO_TEST_OK(canto_arena_create(&w->arena, bytes));
    create(w, &desc);
}

void world_close(world *w)
{
    canto_arena_destroy(&w->arena);
}

void world_window(world *w, int64_t left, int64_t right)
{
    int64_t starts[2] = {0, w->shards.length};
    world_documents(w, w->shards.length > 0, starts, left, right);
}

void world_documents(world *w, int n, const int64_t *starts, int64_t left, int64_t right)
{
    canto_documents documents = {.n = n, .starts = starts};
    CANTO_TEST_OK(canto_mask_set(&w->mask, &documents, left, right));
    CANTO_TEST_OK(canto_needs_make(&w->needs, &w->mask, &w->shards));
}

void world_schedule(world *w, const canto_strategy *strategy)
{
    CANTO_TEST_OK(canto_schedule_make(&w->schedule, strategy, &w->needs, &w->shards));
}

const char *world_name(const world *w, const canto_strategy *strategy, char out[WORLD_NAME_MAX])
{
    snprintf(out, WORLD_NAME_MAX, "%s, %s on %d ranks, %lld tokens, %d bands", strategy->name,
             canto_layout_name(w->layout), w->shards.size, (long long)w->shards.length,
             w->mask.bands_n);
    return out;
}
