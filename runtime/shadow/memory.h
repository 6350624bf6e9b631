// Memory that stands for a device's: addresses that nobody may touch, each with a place in ordinary
// memory that work on the device reaches by translating the address.
//
// An allocation ends where a page ends and inaccessible guards lie around it, both at its addresses
// and at its place: work that leaves an allocation by more than its padding to 64 bytes faults, and
// so does every access from the host. All functions are local.
#ifndef CANTO_RUNTIME_SHADOW_MEMORY_H
#define CANTO_RUNTIME_SHADOW_MEMORY_H

#include "runtime/status.h"

#include <stddef.h>

enum { CANTO_SHADOW_ALIGN = 64, CANTO_SHADOW_GUARD = 64 << 10 };

typedef struct canto_shadow_block {
    char *address; // what the host sees, inaccessible
    char *place;   // where the bytes are
    size_t bytes;
} canto_shadow_block;

// Zeroed: nothing is allocated.
typedef struct canto_shadow_memory {
    canto_shadow_block *blocks; // owned, [blocks_n]
    int blocks_n, blocks_capacity;
    int last; // the block found last
} canto_shadow_memory;

// Zero-filled, aligned to 64 bytes; bytes > 0.
canto_status canto_shadow_alloc(canto_shadow_memory *memory, size_t bytes, void **out);
// CANTO_ERROR_ARGUMENT unless `address` is the start of an allocation that is still there.
canto_status canto_shadow_release(canto_shadow_memory *memory, void *address);

// *place: where the bytes [address, address + bytes) of one allocation lie; bytes 0 where the
// extent is unknown, and then up to CANTO_SHADOW_GUARD bytes behind the end are legal, too: columns
// of an array without rows may start there, and whoever reads or writes them faults.
// CANTO_ERROR_ARGUMENT with a sentence that begins with `what` if they do not
// all lie in one allocation.
canto_status canto_shadow_translate(canto_shadow_memory *memory, const char *what,
                                    const void *address, size_t bytes, void **place);

// Gives everything back. CANTO_ERROR_ARGUMENT, with their number and bytes, if there were
// allocations left.
canto_status canto_shadow_memory_close(canto_shadow_memory *memory);

#endif
