// 2. Ring attention: a schedule is data. It is made, verified for every rank, priced, and run.
//
//     mpirun -n 4 build/examples/02_ring
//
// 64 tokens are dealt to the ranks in zigzag order, each with one query, key and value head, under
// a causal mask. The result of each rank is compared with plain double loops over the whole
// sequence.
#include "examples/example.h"
#include "parallel/attend.h"
#include "parallel/strategy.h"

#include <math.h>

enum { TOKENS = 64, DIM = 8, ROW = 2 * DIM };

// Everything a rank needs to know of the others, and its own part of the schedule.
typedef struct {
    canto_shards shards;
    canto_mask mask;
    canto_needs needs;
    canto_schedule all, mine;
    canto_compiled *compiled;
} plan;

static canto_status make_plan(canto_arena *arena, int rank, int size, plan *p)
{
    const canto_strategy *ring = canto_strategy_find(size > 1 ? "ring" : "serial");
    const canto_documents one = {.n = 1, .starts = (int64_t[]){0, TOKENS}};
    // Who holds which tokens: 2W chunks, rank r gets chunks r and 2W-1-r, so that all work equally.
    CANTO_TRY(
        canto_shards_create(arena, CANTO_LAYOUT_ZIGZAG, size, 1, one.starts, NULL, &p->shards));
    // Which pairs may attend: everything to the left, nothing to the right.
    CANTO_TRY(canto_mask_create(arena, 1, &p->mask));
    CANTO_TRY(canto_mask_set(&p->mask, &one, CANTO_UNLIMITED, 0));
    // Who needs which keys follows from the two; the strategy says from whom and when.
    CANTO_TRY(canto_needs_create(arena, &p->shards, 1, &p->needs));
    CANTO_TRY(canto_needs_make(&p->needs, &p->mask, &p->shards));
    CANTO_TRY(canto_schedule_create(arena, &p->shards, 1, -1, &p->all));
    CANTO_TRY(canto_schedule_make(&p->all, ring, &p->needs, &p->shards));
    CANTO_TRY(canto_schedule_create(arena, &p->shards, 1, rank, &p->mine));
    CANTO_TRY(canto_schedule_make(&p->mine, ring, &p->needs, &p->shards));
    // The whole job's schedule can be checked in one process, because it contains no message yet.
    CANTO_TRY(canto_schedule_verify(&p->all, &p->mask, &p->shards));
    CANTO_TRY(canto_compiled_create(arena, &p->shards, 1, rank, &p->compiled));
    return canto_compiled_make(p->compiled, &p->mine, &p->mask, &p->shards);
}

// Softmax attention of token t in double, over the whole sequence.
static void reference(const canto_attention_shape *shape, int64_t t, double *o)
{
    double total = 0;
    for (int c = 0; c < DIM; c++) o[c] = 0;
    for (int64_t k = 0; k <= t; k++) {
        double score = 0;
        for (int c = 0; c < DIM; c++)
            score += (double)example_number("q", t * DIM + c) * example_number("kv", k * ROW + c);
        double weight = exp(score * shape->scale);
        total += weight;
        for (int c = 0; c < DIM; c++) o[c] += weight * example_number("kv", k * ROW + DIM + c);
    }
    for (int c = 0; c < DIM; c++) o[c] /= total;
}

static canto_status run(canto_comm *world, canto_arena *arena)
{
    plan p;
    CANTO_TRY(make_plan(arena, world->rank, world->size, &p));
    const canto_attention_shape shape = {.heads = 1,
                                         .key_heads = 1,
                                         .value_heads = 1,
                                         .key_dim = DIM,
                                         .value_dim = DIM,
                                         .scale = 1 / sqrtf(DIM)};
    const int64_t n = canto_shards_tokens(&p.shards, world->rank);
    float *q, *kv, *o, *lse;
    void *work;
    CANTO_TRY(canto_arena_array(arena, "q", n * DIM, sizeof *q, (void **)&q));
    CANTO_TRY(canto_arena_array(arena, "kv", n * ROW, sizeof *kv, (void **)&kv));
    CANTO_TRY(canto_arena_array(arena, "o", n * DIM, sizeof *o, (void **)&o));
    CANTO_TRY(canto_arena_array(arena, "lse", n, sizeof *lse, (void **)&lse));
    CANTO_TRY(canto_arena_take(arena, "work", canto_attend_work_bytes(&p.shards, &shape), &work));

    // My tokens are my spans one after the other; a span tells the global positions.
    for (int s = p.shards.first[world->rank]; s < p.shards.first[world->rank + 1]; s++) {
        const canto_span *span = &p.shards.spans[s];
        for (int64_t t = span->begin; t < span->end; t++) {
            int64_t local = span->local + t - span->begin;
            for (int c = 0; c < DIM; c++) q[local * DIM + c] = example_number("q", t * DIM + c);
            for (int c = 0; c < ROW; c++) kv[local * ROW + c] = example_number("kv", t * ROW + c);
        }
    }
    canto_comm *lane;
    CANTO_TRY(canto_comm_split(world, "schedule", 0, &lane));
    CANTO_TRY(
        canto_attend_forward(p.compiled, lane, canto_device_cpu(), &shape, q, kv, o, lse, work));

    double error = 0;
    for (int s = p.shards.first[world->rank]; s < p.shards.first[world->rank + 1]; s++) {
        const canto_span *span = &p.shards.spans[s];
        for (int64_t t = span->begin; t < span->end; t++) {
            double expected[DIM];
            reference(&shape, t, expected);
            for (int c = 0; c < DIM; c++)
                error =
                    fmax(error, fabs(o[(span->local + t - span->begin) * DIM + c] - expected[c]));
        }
    }
    CANTO_TRY(example_check(world, "largest error of any rank's output", error, 2e-6));

    canto_price price;
    const canto_machine machine = {
        .alpha_s = 1e-6, .beta_s_per_byte = 1e-10, .gamma_s_per_pair = 1e-9};
    CANTO_TRY(
        canto_schedule_price(&p.all, &p.mask, &p.shards, ROW * sizeof(float), &machine, &price));
    double sent[] = {(double)lane->counts.messages_sent, (double)lane->counts.bytes_sent};
    canto_comm_destroy(&lane);
    CANTO_TRY(canto_comm_sum_small(world, 2, sent));
    CANTO_TRY(example_check(world, "messages sent, beside the price",
                            fabs(sent[0] - (double)price.messages), 0));
    CANTO_TRY(example_check(world, "bytes sent, beside the price",
                            fabs(sent[1] - (double)price.rows * ROW * sizeof(float)), 0));
    if (world->rank == 0)
        printf("%d ranks: %.0f messages, %.0f bytes\n", world->size, sent[0], sent[1]);
    return CANTO_OK;
}

int main(void)
{
    return example_main(run);
}
