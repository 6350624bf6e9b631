// Ranks as threads of one process, for tests of what runs on more ranks than a test machine likes
// to start processes for. Messages behave as strictly as a message library may: a send is finished
// only when it was received, and data are copied as late as possible, so that memory that is used
// again too early shows.
#ifndef CANTO_TESTS_PARALLEL_THREADS_H
#define CANTO_TESTS_PARALLEL_THREADS_H

#include "runtime/comm.h"

enum { CANTO_TEST_THREADS_MAX = 16 };

// Runs body(comm of rank r, context) for every rank; returns the status of the lowest rank that
// failed, with its sentence. A message that does not come within 10 s is CANTO_ERROR_TIMEOUT. The
// body must not use cmocka's assertions.
typedef canto_status (*canto_test_body)(canto_comm *comm, void *context);
canto_status canto_test_threads_run(int size, canto_test_body body, void *context);

// Polls of all ranks in the last run.
int64_t canto_test_threads_polls(void);

#endif
