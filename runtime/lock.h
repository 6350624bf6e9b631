// The run directory's lock: one job at a time works in a run directory.
#ifndef CANTO_RUNTIME_LOCK_H
#define CANTO_RUNTIME_LOCK_H

#include "runtime/status.h"

#include <stdbool.h>

// DIR/lock holds, as JSON: host, boot id, pid, start time of the process, and the time it was
// taken.
typedef struct canto_lock {
    char path[4096];
    bool held;
    char id[33]; // of this acquisition, as written in the file
} canto_lock;

// Local (rank 0). `dir` must exist. A live owner, or one on another host, is CANTO_ERROR_LOCKED and
// named; so is a file that is no lock of ours. The lock of a process that is dead on this host is
// taken over, and one sentence is written to `takeover` (else it becomes ""). Of several takers
// exactly one wins.
canto_status canto_lock_acquire(const char *dir, canto_lock *out, char takeover[CANTO_MESSAGE_MAX]);
// Local. Whether canto_lock_acquire would succeed now, with the same sentences; touches nothing.
canto_status canto_lock_look(const char *dir);
// Removes the file if it is still ours. Also of a zeroed lock.
void canto_lock_release(canto_lock *lock);

#endif
