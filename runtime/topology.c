// Threads for this process. Sends one small record a rank: its host and the cores it may run on.
//
// OpenMP and OpenBLAS are set alike, because they take turns: a product inside a layer runs when no
// loop of ours does.
#define _GNU_SOURCE
#include "runtime/topology.h"

#include "runtime/backend.h"

#include <cblas.h>
#include <hwloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#ifdef _OPENMP
#include <omp.h>
#else
static void omp_set_num_threads(int threads)
{
    (void)threads;
}
#endif

#ifdef __SSE2__
#include <xmmintrin.h>

enum { FLUSH_TO_ZERO = 0x8000, DENORMALS_ARE_ZERO = 0x0040 };

static void flush_denormals(void)
{
    _mm_setcsr(_mm_getcsr() | FLUSH_TO_ZERO | DENORMALS_ARE_ZERO);
}
#else
static void flush_denormals(void)
{
}
#endif

enum { WORDS = 64 }; // of a set of processors: 4096 on 64-bit machines

typedef struct place {
    uint64_t host;
    unsigned long set[WORDS];
} place;

_Static_assert(sizeof(place) <= CANTO_GATHER_SMALL_MAX, "a place is a small record");

// The cores that overlap `allowed`, whole: two ranks on the hyper-threads of one core share it.
static int count_cores(hwloc_topology_t topology, hwloc_const_cpuset_t allowed,
                       hwloc_cpuset_t whole)
{
    int n = 0;
    hwloc_bitmap_zero(whole);
    for (hwloc_obj_t core = NULL;
         (core = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_CORE, core));) {
        if (!hwloc_bitmap_intersects(core->cpuset, allowed)) continue;
        hwloc_bitmap_or(whole, whole, core->cpuset);
        n++;
    }
    if (n > 0) return n;
    // Some virtual machines show processors and no cores.
    hwloc_bitmap_copy(whole, allowed);
    return hwloc_bitmap_weight(allowed);
}

static bool look(hwloc_topology_t topology, hwloc_cpuset_t allowed, hwloc_cpuset_t whole,
                 int *cores, place *out)
{
    if (hwloc_topology_load(topology) != 0) return false;
    // Where a binding cannot be asked for, the whole machine is allowed.
    if (hwloc_get_cpubind(topology, allowed, HWLOC_CPUBIND_PROCESS) != 0) {
        hwloc_bitmap_copy(allowed, hwloc_topology_get_topology_cpuset(topology));
    }
    *cores = count_cores(topology, allowed, whole);
    for (unsigned i = 0; i < WORDS; i++) out->set[i] = hwloc_bitmap_to_ith_ulong(whole, i);
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    out->host = XXH3_64bits(host, strlen(host));
    return *cores > 0;
}

static canto_status find_place(int *cores, place *out)
{
    *out = (place){0};
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0) {
        CANTO_FAIL(CANTO_ERROR_MEMORY, "threads: hwloc cannot start");
    }
    hwloc_cpuset_t allowed = hwloc_bitmap_alloc();
    hwloc_cpuset_t whole = hwloc_bitmap_alloc();
    const bool found = allowed && whole && look(topology, allowed, whole, cores, out);
    hwloc_bitmap_free(allowed);
    hwloc_bitmap_free(whole);
    hwloc_topology_destroy(topology);
    if (!found) {
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED,
                   "threads: hwloc finds no processors; set OMP_NUM_THREADS or look at `lstopo`");
    }
    return CANTO_OK;
}

static bool overlap(const place *a, const place *b)
{
    if (a->host != b->host) return false;
    for (int i = 0; i < WORDS; i++) {
        if (a->set[i] & b->set[i]) return true;
    }
    return false;
}

static canto_status count_sharing(canto_comm *comm, const place *mine, canto_threads *out)
{
    place *all = malloc((size_t)comm->size * sizeof *all);
    canto_status status = CANTO_OK;
    if (!all) {
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "threads: no memory for %d ranks", comm->size);
    }
    status = canto_comm_agree(comm, status);
    if (status == CANTO_OK) status = canto_comm_gather_small(comm, sizeof *mine, mine, all);
    out->sharing = out->local_rank = 0;
    for (int r = 0; status == CANTO_OK && r < comm->size; r++) {
        out->sharing += overlap(mine, &all[r]);
        out->local_rank += r < comm->rank && mine->host == all[r].host;
    }
    free(all);
    return status;
}

// 0 if the variable is not set or not a positive number. It may be a list, one number a level.
static int asked_for(void)
{
    const char *text = getenv("OMP_NUM_THREADS");
    const long n = text ? strtol(text, NULL, 10) : 0;
    return n > 0 && n < 1 << 16 ? (int)n : 0;
}

// 0 if it cannot be told.
static size_t stack_bytes(void)
{
    pthread_attr_t attributes;
    size_t bytes = 0;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0) return 0;
    if (pthread_attr_getstacksize(&attributes, &bytes) != 0) bytes = 0;
    pthread_attr_destroy(&attributes);
    return bytes;
}

// Sets up each thread; a stack that is too small would end the process without a word, later.
static canto_status prepare_threads(void)
{
    const size_t enough = CANTO_KERNEL_STACK + (256 << 10); // and what is called before a kernel
    size_t least = enough;
#pragma omp parallel reduction(min : least)
    {
        flush_denormals();
        const size_t bytes = stack_bytes();
        if (bytes > 0 && bytes < least) least = bytes;
    }
    if (least < enough)
        CANTO_FAIL(CANTO_ERROR_MEMORY,
                   "threads: a stack of %zu KiB is too small, kernels need %zu; raise `ulimit -s` "
                   "or OMP_STACKSIZE",
                   least >> 10, enough >> 10);
    return CANTO_OK;
}

canto_status canto_threads_set(canto_comm *comm, canto_threads *out)
{
    *out = (canto_threads){0};
    place mine;
    CANTO_TRY(canto_comm_agree(comm, find_place(&out->cores, &mine)));
    CANTO_TRY(count_sharing(comm, &mine, out));
    const int asked = asked_for();
    const int share = out->cores / out->sharing;
    out->forced = asked > 0;
    out->threads = asked > 0 ? asked : share > 0 ? share : 1;
    omp_set_num_threads(out->threads);
    openblas_set_num_threads(1); // runtime/cpu/gemm.c divides products among OpenMP's threads
    return canto_comm_agree(comm, prepare_threads());
}
