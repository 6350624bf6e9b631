// Stands before malloc and its relatives by -Wl,--wrap.
#define _GNU_SOURCE
#include "tests/allocations.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

static _Atomic int64_t calls;
static _Thread_local int64_t calls_here;

int64_t canto_test_allocations(void)
{
    return calls;
}

int64_t canto_test_thread_allocations(void)
{
    return calls_here;
}

static void count(void)
{
    calls++;
    calls_here++;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **out, size_t alignment, size_t bytes);
void __real_free(void *old);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);

void *__wrap_malloc(size_t bytes)
{
    count();
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    count();
    return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    count();
    return __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    count();
    return __real_aligned_alloc(alignment, bytes);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    count();
    return __real_posix_memalign(out, alignment, bytes);
}

void __wrap_free(void *old)
{
    count();
    __real_free(old);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    count();
    return __real_mmap(at, bytes, protection, flags, file, offset);
}
