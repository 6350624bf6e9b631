// The memory of this process as the system counts it. Local.
#ifndef CANTO_RUNTIME_PROCESS_H
#define CANTO_RUNTIME_PROCESS_H

#include <stdint.h>

// Bytes resident now, and at most since the process started; 0 where the system does not tell.
typedef struct canto_process_memory {
    int64_t now, peak;
} canto_process_memory;
canto_process_memory canto_process_memory_read(void);

#endif
