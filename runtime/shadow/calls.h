// A table of kernels that put calls into a stream instead of doing anything, made from the table of
// slots: whoever adds a kernel to runtime/backend.h and its row there has nothing to do here.
#ifndef CANTO_RUNTIME_SHADOW_CALLS_H
#define CANTO_RUNTIME_SHADOW_CALLS_H

#include "runtime/backend.h"
#include "runtime/shadow/memory.h"
#include "runtime/shadow/streams.h"

typedef struct canto_shadow_calls canto_shadow_calls;

// Fills *table. Each of its kernels keeps its numbers and copies of the descriptions that it gets,
// and checks that its pointers point into `memory`; when the call runs it is the kernel of `real`
// (which must be complete) with pointers translated. An error is that of the streams. Everything
// borrowed must outlive the table.
canto_status canto_shadow_calls_open(const canto_kernels *real, canto_shadow_memory *memory,
                                     canto_shadow_streams *streams, int stream,
                                     canto_kernels *table, canto_shadow_calls **out);
void canto_shadow_calls_close(canto_shadow_calls **calls); // also NULL

#endif
