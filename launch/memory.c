// Sums the ledgers of the arenas by kind: by the name of a piece, else by its arena.
#include "launch/memory.h"

#include "launch/checkpoint.h"

#include <string.h>

static const char *const names[CANTO_MEMORY_KINDS] = {
    [CANTO_MEMORY_PARAMETERS] = "parameters",
    [CANTO_MEMORY_GRADIENTS] = "gradients",
    [CANTO_MEMORY_OPTIMIZER] = "optimizer",
    [CANTO_MEMORY_ACTIVATIONS] = "activations",
    [CANTO_MEMORY_WORK] = "work",
    [CANTO_MEMORY_MESSAGES] = "messages",
    [CANTO_MEMORY_TABLES] = "tables",
};

const char *canto_memory_name(int kind)
{
    return names[kind];
}

// Of pieces that are named here; of others the arena decides.
static const struct {
    const char *what;
    canto_memory_kind kind;
} pieces[] = {
    {"parameters", CANTO_MEMORY_PARAMETERS},
    {"gradients", CANTO_MEMORY_GRADIENTS},
    {"first moments", CANTO_MEMORY_OPTIMIZER},
    {"second moments", CANTO_MEMORY_OPTIMIZER},
    {"norm", CANTO_MEMORY_WORK},
    {"gradient pieces", CANTO_MEMORY_MESSAGES},
    {"attention buffers", CANTO_MEMORY_MESSAGES},
    {"linear attention buffers", CANTO_MEMORY_MESSAGES},
    {"scan buffers", CANTO_MEMORY_MESSAGES},
};

// In the order of canto_arenas.
static const canto_memory_kind of_arena[CANTO_ARENAS_N] = {
    CANTO_MEMORY_TABLES, CANTO_MEMORY_PARAMETERS, CANTO_MEMORY_ACTIVATIONS, CANTO_MEMORY_WORK};

static canto_memory_kind kind_of(int arena, const char *what)
{
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        if (strcmp(pieces[i].what, what) == 0) return pieces[i].kind;
    }
    return of_arena[arena];
}

canto_status canto_memory_of(canto_trainer *trainer, canto_memory *out)
{
    *out = (canto_memory){.rank = trainer->job->world->rank};
    for (int a = 0; a < CANTO_ARENAS_N; a++) {
        int n;
        const canto_ledger_entry *entries = canto_ledger_entries(&trainer->ledgers[a], &n);
        if (trainer->ledgers[a].incomplete)
            CANTO_FAIL(CANTO_ERROR_MEMORY, "memory: no memory for the list of what is taken");
        for (int i = 0; i < n; i++)
            out->kinds[kind_of(a, entries[i].what)] += (int64_t)entries[i].bytes;
    }
    out->kinds[CANTO_MEMORY_TABLES] += (int64_t)trainer->plan.tables.capacity;
    for (int k = 0; k < CANTO_MEMORY_KINDS; k++) out->arenas += out->kinds[k];
    CANTO_TRY(canto_checkpoint_bytes(trainer, &out->owned));
    out->saving = 2 * out->owned;
    return CANTO_OK;
}

static void join(int64_t value, int64_t *least, int64_t *most)
{
    if (value < *least) *least = value;
    if (value > *most) *most = value;
}

void canto_memory_join(int n, const canto_memory *all, canto_memory_range *out)
{
    *out = (canto_memory_range){all[0], all[0]};
    for (int i = 1; i < n; i++) {
        for (int k = 0; k < CANTO_MEMORY_KINDS; k++)
            join(all[i].kinds[k], &out->least.kinds[k], &out->most.kinds[k]);
        join(all[i].arenas, &out->least.arenas, &out->most.arenas);
        join(all[i].saving, &out->least.saving, &out->most.saving);
        join(all[i].owned, &out->least.owned, &out->most.owned);
    }
}
