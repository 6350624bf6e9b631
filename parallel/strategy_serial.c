// Serial: one rank holds all keys and values. Sends nothing.
#include "parallel/strategy.h"

static bool applicable(int size)
{
    return size == 1;
}

static void visits(const canto_needs *needs, int index, const canto_part *part,
                   canto_emitter *emitter)
{
    (void)needs, (void)index, (void)part, (void)emitter;
}

const canto_strategy canto_strategy_serial = {
    .name = "serial",
    .price = "one rank; no messages",
    .applicable = applicable,
    .visits = visits,
};
