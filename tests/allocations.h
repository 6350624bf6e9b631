// Counts calls of malloc, calloc, realloc, aligned_alloc, free and mmap by our own code: libraries
// are linked dynamically, so the linker's wrapping does not touch them.
#ifndef CANTO_TESTS_ALLOCATIONS_H
#define CANTO_TESTS_ALLOCATIONS_H

#include <stdint.h>

// Calls of this process so far.
int64_t canto_test_allocations(void);

#endif
