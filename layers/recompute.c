// The choices of recomputation by name.
#include "layers/recompute.h"

#include <stddef.h>

static const struct {
    const char *name, *help;
} rows[] = {
    [CANTO_RECOMPUTE_NONE] = {"none", "keep everything"},
    [CANTO_RECOMPUTE_ATTENTION] = {"attention", "keep a mixer's output or states, not its "
                                                "projections"},
    [CANTO_RECOMPUTE_BLOCK] = {"block", "keep no hidden arrays of the mlp and no middle of the "
                                        "block either"},
};

enum { ROWS_N = sizeof rows / sizeof *rows };

const char *canto_recompute_name(int index)
{
    return index >= 0 && index < ROWS_N ? rows[index].name : NULL;
}

const char *canto_recompute_help(int index)
{
    return index >= 0 && index < ROWS_N ? rows[index].help : NULL;
}
