// Two mappings for each allocation, one of addresses without access, one of bytes.
#define _GNU_SOURCE
#include "runtime/shadow/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static size_t page_bytes(void)
{
    return (size_t)sysconf(_SC_PAGE_SIZE);
}

static size_t round_up(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

// Whole pages of an allocation, and a guard on either side.
static size_t mapped_bytes(size_t bytes)
{
    return round_up(bytes, page_bytes()) + 2 * CANTO_SHADOW_GUARD;
}

// From the start of a mapping to the first byte of its allocation.
static size_t lead_bytes(size_t bytes)
{
    return mapped_bytes(bytes) - CANTO_SHADOW_GUARD - round_up(bytes, CANTO_SHADOW_ALIGN);
}

static char *reserve(size_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    char *base = mmap(NULL, mapped_bytes(bytes), PROT_NONE, flags, -1, 0);
    return base == MAP_FAILED ? NULL : base + lead_bytes(bytes);
}

static void unmap(char *first, size_t bytes)
{
    if (first) munmap(first - lead_bytes(bytes), mapped_bytes(bytes));
}

static bool open_pages(const canto_shadow_block *block)
{
    char *const pages = block->place - lead_bytes(block->bytes) + CANTO_SHADOW_GUARD;
    const size_t bytes = mapped_bytes(block->bytes) - 2 * CANTO_SHADOW_GUARD;
    return mprotect(pages, bytes, PROT_READ | PROT_WRITE) == 0;
}

static void unmap_block(const canto_shadow_block *block)
{
    unmap(block->address, block->bytes);
    unmap(block->place, block->bytes);
}

static canto_status make_room(canto_shadow_memory *memory)
{
    if (memory->blocks_n < memory->blocks_capacity) return CANTO_OK;
    const int capacity = 2 * memory->blocks_capacity + 8;
    canto_shadow_block *list = realloc(memory->blocks, (size_t)capacity * sizeof *list);
    if (!list) CANTO_FAIL(CANTO_ERROR_MEMORY, "shadow: no memory for %d allocations", capacity);
    memory->blocks = list;
    memory->blocks_capacity = capacity;
    return CANTO_OK;
}

canto_status canto_shadow_alloc(canto_shadow_memory *memory, size_t bytes, void **out)
{
    *out = NULL;
    CANTO_CHECK(bytes > 0 && bytes <= SIZE_MAX / 2, "shadow: an allocation of %zu bytes", bytes);
    CANTO_TRY(make_room(memory));
    const canto_shadow_block block = {reserve(bytes), reserve(bytes), bytes};
    if (!block.address || !block.place || !open_pages(&block)) {
        unmap_block(&block);
        CANTO_FAIL(CANTO_ERROR_MEMORY,
                   "memory: the system has no %zu bytes; use a smaller model or more ranks", bytes);
    }
    memory->blocks[memory->blocks_n++] = block;
    *out = block.address;
    return CANTO_OK;
}

canto_status canto_shadow_release(canto_shadow_memory *memory, void *address)
{
    int i = 0;
    while (i < memory->blocks_n && memory->blocks[i].address != address) i++;
    CANTO_CHECK(i < memory->blocks_n,
                "shadow: release of %p, where no allocation starts; it was released before, or "
                "it is not memory of this device",
                address);
    unmap_block(&memory->blocks[i]);
    memory->blocks[i] = memory->blocks[--memory->blocks_n];
    return CANTO_OK;
}

static const canto_shadow_block *find(canto_shadow_memory *memory, const char *address)
{
    for (int n = 0; n < memory->blocks_n; n++) {
        const int i = (memory->last + n) % memory->blocks_n;
        const canto_shadow_block *block = &memory->blocks[i];
        const size_t limit = round_up(block->bytes, CANTO_SHADOW_ALIGN) + CANTO_SHADOW_GUARD - 1;
        // Addresses are compared as numbers: they may belong to anybody.
        const uintptr_t offset = (uintptr_t)address - (uintptr_t)block->address;
        if ((uintptr_t)address < (uintptr_t)block->address || offset > limit) continue;
        memory->last = i;
        return block;
    }
    return NULL;
}

canto_status canto_shadow_translate(canto_shadow_memory *memory, const char *what,
                                    const void *address, size_t bytes, void **place)
{
    const canto_shadow_block *block = find(memory, address);
    const size_t offset = block ? (size_t)((const char *)address - block->address) : 0;
    CANTO_CHECK(block && (offset < block->bytes || bytes == 0),
                "%s: %p is not memory of this device", what, address);
    CANTO_CHECK(bytes <= block->bytes - offset,
                "%s: %zu bytes at %zu of an allocation of %zu reach %zu bytes beyond its end", what,
                bytes, offset, block->bytes, bytes - (block->bytes - offset));
    *place = block->place + offset;
    return CANTO_OK;
}

canto_status canto_shadow_memory_close(canto_shadow_memory *memory)
{
    const int left = memory->blocks_n;
    size_t bytes = 0;
    for (int i = 0; i < left; i++) {
        bytes += memory->blocks[i].bytes;
        unmap_block(&memory->blocks[i]);
    }
    free(memory->blocks);
    *memory = (canto_shadow_memory){0};
    CANTO_CHECK(left == 0,
                "shadow: %d allocations of %zu bytes in all were not released before the device "
                "was closed",
                left, bytes);
    return CANTO_OK;
}
