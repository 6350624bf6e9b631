// The slots of the table of kernels by name and shape of their arguments, for those who handle
// kernels without knowing them: the report of what a table lacks, and the shadow's queue.
#ifndef CANTO_RUNTIME_KERNEL_SLOTS_H
#define CANTO_RUNTIME_KERNEL_SLOTS_H

#include "runtime/backend.h"

// Arguments after the device, one letter each: 'b' bool, 'i' int or enum, 'l' int64_t, 'f' float,
// 'p' pointer into device memory or NULL; pointers to descriptions of the host: 'm'
// canto_gemm_shape, 's' canto_attention_shape, 't' canto_band, 'n' canto_linear_shape, 'r'
// canto_linear_run, 'g' canto_linear_gradients, 'a' canto_adamw.
typedef struct canto_kernel_slot {
    const char *name;
    size_t offset;         // of the function pointer in canto_kernels
    const char *arguments; // NULL: a function of the host that puts nothing into the queue
} canto_kernel_slot;

extern const canto_kernel_slot canto_kernel_slots[]; // ended by name NULL; every slot is there

#endif
