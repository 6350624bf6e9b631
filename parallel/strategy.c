// The registry of softmax strategies.
#include "parallel/strategy.h"

#include <string.h>

const canto_strategy *const canto_strategies[] = {&canto_strategy_serial, &canto_strategy_ring,
                                                  &canto_strategy_gather, NULL};

const canto_strategy *canto_strategy_find(const char *name)
{
    for (int i = 0; canto_strategies[i]; i++) {
        if (strcmp(canto_strategies[i]->name, name) == 0) return canto_strategies[i];
    }
    return NULL;
}
