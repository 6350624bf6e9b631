// An arena owns one block of a device's memory and hands out aligned pieces of it in order.
//
// Sizes are never computed by hand: the code that creates an object runs twice, first on a
// measuring arena, then on a real one of the size the first run found. A measuring arena hands out
// addresses of a reserved, inaccessible mapping, so create code that touches its data while
// measuring faults at once. All functions are local.
#ifndef CANTO_RUNTIME_ARENA_H
#define CANTO_RUNTIME_ARENA_H

#include "runtime/device.h"
#include "runtime/ledger.h"
#include "runtime/tensor.h"

enum { CANTO_ARENA_ALIGN = 64 };

typedef struct canto_arena {
    const canto_device *device; // borrowed; NULL: measuring, or nothing
    char *base;                 // owned
    size_t capacity;
    size_t used;
    size_t peak; // largest `used` so far: the size a real arena needs
    bool measuring;
    canto_ledger *ledger; // borrowed: told of every piece; NULL: nobody keeps books
} canto_arena;

canto_status canto_arena_create_measuring(canto_arena *arena);
// Memory of a real arena is zero-filled. capacity 0 is legal. CANTO_ERROR_MEMORY if it is more than
// the device has.
canto_status canto_arena_create_on(canto_arena *arena, const canto_device *device, size_t capacity);
canto_status canto_arena_create(canto_arena *arena, size_t capacity); // this host's memory
void canto_arena_destroy(canto_arena *arena);                         // also of a zeroed arena

// `bytes` may be 0 (the address is then valid but must not be used).
// CANTO_ERROR_CAPACITY when the arena is full, CANTO_ERROR_MEMORY when a measuring one is: the
// message names `what`.
canto_status canto_arena_take(canto_arena *arena, const char *what, size_t bytes, void **out);
// The same for `count` floats, int64_t and so on: canto_arena_array(a, "q", n, sizeof *q, (void
// **)&q).
canto_status canto_arena_array(canto_arena *arena, const char *what, int64_t count,
                               size_t element_bytes, void **out);

// Everything taken after the mark is given back by the release.
size_t canto_arena_mark(const canto_arena *arena);
void canto_arena_release(canto_arena *arena, size_t mark);

#endif
