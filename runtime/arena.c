// Bump allocation over one piece of a device's memory; the measuring variant maps addresses that
// nobody may touch.
#define _GNU_SOURCE
#include "runtime/arena.h"

#include <sys/mman.h>

static size_t align_up(size_t bytes)
{
    return (bytes + CANTO_ARENA_ALIGN - 1) / CANTO_ARENA_ALIGN * CANTO_ARENA_ALIGN;
}

canto_status canto_arena_create_measuring(canto_arena *arena)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    *arena = (canto_arena){.measuring = true};
    // Address space may be limited (ulimit -v), so take what there is, down to 1 GiB.
    for (size_t bytes = (size_t)1 << 42; bytes >= (size_t)1 << 30 && !arena->base; bytes >>= 1) {
        void *base = mmap(NULL, bytes, PROT_NONE, flags, -1, 0);
        arena->base = base == MAP_FAILED ? NULL : base;
        arena->capacity = bytes;
    }
    if (!arena->base) {
        CANTO_FAIL(CANTO_ERROR_MEMORY,
                   "measuring arena: cannot reserve 1 GiB of addresses; raise `ulimit -v`");
    }
    return CANTO_OK;
}

// An empty arena has an address, too: arrays without elements, and columns of them, are given to
// kernels, and devices know their own addresses.
static size_t owned_bytes(const canto_arena *arena)
{
    return arena->capacity > 0 ? arena->capacity : CANTO_ARENA_ALIGN;
}

canto_status canto_arena_create_on(canto_arena *arena, const canto_device *device, size_t capacity)
{
    *arena = (canto_arena){.device = device, .capacity = align_up(capacity)};
    return canto_device_alloc(device, owned_bytes(arena), (void **)&arena->base);
}

canto_status canto_arena_create(canto_arena *arena, size_t capacity)
{
    return canto_arena_create_on(arena, canto_device_cpu(), capacity);
}

void canto_arena_destroy(canto_arena *arena)
{
    if (arena->device) canto_device_release(arena->device, arena->base, owned_bytes(arena));
    if (arena->measuring && arena->base) munmap(arena->base, arena->capacity);
    *arena = (canto_arena){0};
}

canto_status canto_arena_take(canto_arena *arena, const char *what, size_t bytes, void **out)
{
    size_t need = align_up(bytes);
    bool fits = need >= bytes && need <= arena->capacity - arena->used;
    if (!fits && arena->measuring) {
        CANTO_FAIL(CANTO_ERROR_MEMORY,
                   "measuring arena: %s takes %zu bytes, more than there are addresses; use a "
                   "smaller model, shorter sequences or more ranks",
                   what, bytes);
    }
    if (!fits) {
        CANTO_FAIL(CANTO_ERROR_CAPACITY, "arena: no room for %s (%zu bytes, %zu of %zu used)", what,
                   bytes, arena->used, arena->capacity);
    }
    *out = arena->base + arena->used;
    arena->used += need;
    if (arena->used > arena->peak) arena->peak = arena->used;
    if (arena->ledger) canto_ledger_take(arena->ledger, what, need, arena->used);
    return CANTO_OK;
}

canto_status canto_arena_array(canto_arena *arena, const char *what, int64_t count,
                               size_t element_bytes, void **out)
{
    size_t bytes;
    CANTO_CHECK(count >= 0 && !__builtin_mul_overflow((size_t)count, element_bytes, &bytes),
                "arena: impossible size of %s", what);
    return canto_arena_take(arena, what, bytes, out);
}

size_t canto_arena_mark(const canto_arena *arena)
{
    return arena->used;
}

void canto_arena_release(canto_arena *arena, size_t mark)
{
    if (arena->ledger) canto_ledger_release(arena->ledger, mark);
    arena->used = mark;
}
