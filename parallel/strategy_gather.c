// Gather, as the context parallelism of Llama 3 (arXiv 2407.21783): the owner sends a part to each
// rank that needs it, staggered by distance, so that a rank holds two blocks and not W. In the
// backward pass every sum goes home directly. Full mask: W(W-1) messages of one rank's keys and
// values, as the ring, but over all links instead of neighbours.
#include "parallel/strategy.h"

static bool applicable(int size)
{
    return size >= 1;
}

static void visits(const canto_needs *needs, int index, const canto_part *part,
                   canto_emitter *emitter)
{
    for (int d = 1; d < needs->size; d++) {
        int to = (part->owner + d) % needs->size;
        if (!canto_needs_meets(needs, to, part->begin, part->end)) continue;
        canto_emit_visit(emitter, (canto_visit){.part = index,
                                                .chain = d,
                                                .from = part->owner,
                                                .to = to,
                                                .step = d - 1,
                                                .need = d});
    }
}

const canto_strategy canto_strategy_gather = {
    .name = "gather",
    .price = "each key and value once to every rank that needs it, straight from its owner: "
             "W(W-1) messages with a full mask, half with a causal one",
    .applicable = applicable,
    .visits = visits,
};
