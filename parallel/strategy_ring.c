// Ring attention (Liu, Zaharia, Abbeel, arXiv 2310.01889): a part goes from rank to rank, upwards
// from its owner, through those that need it. A rank that does not need it ends the chain; the next
// chain begins at the owner, whose copy is permanent, so that no rank carries what it does not use.
// Full mask: W(W-1) messages of one rank's keys and values, one step each; a rank holds two blocks.
#include "parallel/strategy.h"

static bool applicable(int size)
{
    return size >= 1;
}

static void visits(const canto_needs *needs, int index, const canto_part *part,
                   canto_emitter *emitter)
{
    int chain = 0;
    int from = part->owner;
    int last = 0;
    for (int d = 1; d < needs->size; d++) {
        int to = (part->owner + d) % needs->size;
        if (!canto_needs_meets(needs, to, part->begin, part->end)) continue;
        if (d > last + 1) {
            chain++;
            from = part->owner;
        }
        canto_emit_visit(
            emitter,
            (canto_visit){
                .part = index, .chain = chain, .from = from, .to = to, .step = d - 1, .need = d});
        from = to;
        last = d;
    }
}

const canto_strategy canto_strategy_ring = {
    .name = "ring",
    .price = "each key and value once to every rank that needs it, from neighbour to neighbour: "
             "W(W-1) messages with a full mask, half with a causal one",
    .applicable = applicable,
    .visits = visits,
};
