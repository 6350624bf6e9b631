// A stack of entries, which a release pops, and a copy of the stack at its highest.
#include "runtime/ledger.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void canto_ledger_destroy(canto_ledger *ledger)
{
    free(ledger->entries);
    free(ledger->peak);
    *ledger = (canto_ledger){0};
}

static bool make_room(canto_ledger_entry **list, int *room, int n)
{
    if (n <= *room) return true;
    const int larger = 2 * n + 64;
    canto_ledger_entry *moved = realloc(*list, (size_t)larger * sizeof *moved);
    if (!moved) return false;
    *list = moved;
    *room = larger;
    return true;
}

static size_t used(const canto_ledger *ledger)
{
    return ledger->n > 0 ? ledger->entries[ledger->n - 1].end : 0;
}

void canto_ledger_take(canto_ledger *ledger, const char *what, size_t bytes, size_t end)
{
    if (!make_room(&ledger->entries, &ledger->room, ledger->n + 1)) {
        ledger->incomplete = true;
        return;
    }
    canto_ledger_entry *entry = &ledger->entries[ledger->n++];
    entry->bytes = bytes;
    entry->end = end;
    snprintf(entry->what, sizeof entry->what, "%s", what);
}

// Copied before a release only, so that a stack that just grows is never copied.
static void keep_peak(canto_ledger *ledger)
{
    if (used(ledger) <= ledger->peak_used) return;
    if (!make_room(&ledger->peak, &ledger->peak_room, ledger->n)) {
        ledger->incomplete = true;
        return;
    }
    memcpy(ledger->peak, ledger->entries, (size_t)ledger->n * sizeof *ledger->peak);
    ledger->peak_n = ledger->n;
    ledger->peak_used = used(ledger);
}

void canto_ledger_release(canto_ledger *ledger, size_t mark)
{
    keep_peak(ledger);
    while (ledger->n > 0 && ledger->entries[ledger->n - 1].end > mark) ledger->n--;
}

const canto_ledger_entry *canto_ledger_entries(const canto_ledger *ledger, int *n)
{
    const bool now = used(ledger) > ledger->peak_used;
    *n = now ? ledger->n : ledger->peak_n;
    return now ? ledger->entries : ledger->peak;
}
