// What every communicator shares; for the files runtime/comm_*.c only.
#ifndef CANTO_RUNTIME_COMM_BASE_H
#define CANTO_RUNTIME_COMM_BASE_H

#include "runtime/comm.h"

// A zeroed communicator of `bytes` bytes (>= sizeof(canto_comm)) with its scratch records.
// canto_comm_base_free gives both back.
canto_status canto_comm_base_create(size_t bytes, const canto_comm_ops *ops, const char *lane,
                                    int rank, int size, canto_comm **out);
void canto_comm_base_free(canto_comm *comm);

// Where a traced communicator keeps the one that it decorates, for a lane of a device to take its
// place; NULL: it is not traced.
canto_comm **canto_comm_traced_inner(canto_comm *comm);

#endif
