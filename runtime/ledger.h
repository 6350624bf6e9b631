// What the memory of an arena is for: the pieces it handed out, by name, at the moment when most of
// it was in use. Local.
#ifndef CANTO_RUNTIME_LEDGER_H
#define CANTO_RUNTIME_LEDGER_H

#include <stdbool.h>
#include <stddef.h>

enum { CANTO_LEDGER_NAME = 40 };

typedef struct canto_ledger_entry {
    char what[CANTO_LEDGER_NAME]; // shortened if it is longer
    size_t end;                   // of the piece in the arena
    size_t bytes;                 // with padding
} canto_ledger_entry;

// Zeroed: empty. An arena writes in it once its field `ledger` points there.
typedef struct canto_ledger {
    int n, room;
    canto_ledger_entry *entries; // owned: what is in use, in order of place
    int peak_n, peak_room;
    canto_ledger_entry *peak; // owned: what was in use at the highest point before a release
    size_t peak_used;
    bool incomplete; // there was no memory for an entry
} canto_ledger;

void canto_ledger_destroy(canto_ledger *ledger); // leaves it empty
void canto_ledger_take(canto_ledger *ledger, const char *what, size_t bytes, size_t end);
void canto_ledger_release(canto_ledger *ledger, size_t mark);
// The entries of the highest point; their bytes sum to the arena's peak. Borrowed, until the next
// change.
const canto_ledger_entry *canto_ledger_entries(const canto_ledger *ledger, int *n);

#endif
