// Counts calls of malloc, calloc, realloc, aligned_alloc, posix_memalign, free and mmap by our own
// code: libraries are linked dynamically, so the linker's wrapping does not touch them. For
// programs named in canto_count_allocations() in tests/CMakeLists.txt.
#ifndef CANTO_TESTS_ALLOCATIONS_H
#define CANTO_TESTS_ALLOCATIONS_H

#include <stdint.h>

// Calls so far: of this process, and of this thread alone.
int64_t canto_test_allocations(void);
int64_t canto_test_thread_allocations(void);

#endif
