// What this process can find out about its libraries, its processor and its devices without using
// them: for `canto doctor`. Local; nothing here fails, what cannot be told is empty or 0.
#ifndef CANTO_RUNTIME_PROBE_H
#define CANTO_RUNTIME_PROBE_H

#include <stdbool.h>
#include <stdint.h>

enum { CANTO_PROBE_TEXT = 192 };

typedef struct canto_probe_mpi {
    char library[CANTO_PROBE_TEXT]; // "Open MPI v4.1.4"
    int version, subversion;        // of the standard
    const char *level;              // thread level; NULL: MPI does not run here
} canto_probe_mpi;
canto_probe_mpi canto_probe_mpi_look(void);
// Starts and ends MPI in a child process that is killed after `limit_s` seconds: whether it starts,
// and with which thread level (NULL: it does not). Not under a launcher, not once MPI runs here.
const char *canto_probe_mpi_try(int limit_s);

typedef struct canto_probe_blas {
    char config[CANTO_PROBE_TEXT]; // "OpenBLAS 0.3.21 ... DYNAMIC_ARCH USE_OPENMP ..."
    char core[32];                 // whose kernels run: "SkylakeX"
    const char *threading;         // "none", "pthreads", "OpenMP"
} canto_probe_blas;
canto_probe_blas canto_probe_blas_look(void);

// The library of runtime/products.h.
typedef struct canto_probe_products {
    const char *library; // "oneDNN"
    char version[32];    // "2.6.3"
    const char *fastest; // instructions that it uses here, for people: "AVX-512"; NULL: unknown
    bool bf16;           // products of bf16 numbers need not be widened
} canto_probe_products;
canto_probe_products canto_probe_products_look(void);

typedef struct canto_probe_hdf5 {
    unsigned built[3], runs[3]; // version compiled against, and linked
    bool parallel, thread_safe;
} canto_probe_hdf5;
canto_probe_hdf5 canto_probe_hdf5_look(void);

typedef struct canto_probe_cores {
    int packages, numa_nodes, cores, processors; // of the machine
    int allowed;                                 // processors this process may use
    int64_t cache_bytes;                         // of one of the largest caches
} canto_probe_cores;
canto_probe_cores canto_probe_cores_look(void);

typedef struct canto_probe_cuda {
    bool driver; // libcuda.so.1 is found
    int status;  // of cuInit; 0: it works
    int version; // of the driver, 13000 for 13.0
    int devices;
    char name[64]; // of the first
    int nccl;      // version of libnccl.so.2, 22809 for 2.28.9; 0: not found
} canto_probe_cuda;
canto_probe_cuda canto_probe_cuda_look(void);

// Whether one process of this user may read another's memory that is no child of its own
// (process_vm_readv): then MPI copies a message inside a host once instead of twice. 0, or errno of
// the refusal.
int canto_probe_copies(void);
// The same towards a given process: reads `bytes` at its address `from`.
int canto_probe_copy_from(int pid, const void *from, void *to, int bytes);

#endif
