// Messages and the ranks that exchange them.
#define _GNU_SOURCE
#include "launch/doctor.h"

#include "launch/exit_code.h"
#include "launch/amount.h"
#include "runtime/clock.h"
#include "runtime/probe.h"
#include "runtime/store_file.h"
#include "runtime/topology.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// --- what one process can tell ---

enum { START_LIMIT_S = 15 };

void canto_look_at_mpi(const canto_patient *patient, canto_finding *out)
{
    canto_probe_mpi mpi = canto_probe_mpi_look();
    if (!patient->launched) mpi.level = canto_probe_mpi_try(START_LIMIT_S);
    if (mpi.level)
        canto_find(out, CANTO_VERDICT_OK, NULL, "%.120s, MPI %d.%d; starts, thread level %s",
                   mpi.library, mpi.version, mpi.subversion, mpi.level);
    else
        canto_find(
            out, CANTO_VERDICT_FAIL,
            "try `mpirun -n 1 hostname`; TMPDIR must be writable, and the host must know its "
            "own name",
            "%.120s, MPI %d.%d does not start within %d s", mpi.library, mpi.version,
            mpi.subversion, START_LIMIT_S);
}

static bool refuses_root(void)
{
    const char *allow = getenv("OMPI_ALLOW_RUN_AS_ROOT");
    const char *confirm = getenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM");
    const bool open_mpi = strstr(canto_probe_mpi_look().library, "Open MPI") != NULL;
    return open_mpi && geteuid() == 0 && !(allow && confirm);
}

void canto_look_at_launcher(const canto_patient *patient, canto_finding *out)
{
    char path[1024];
    const char *slots = getenv("OMPI_UNIVERSE_SIZE"),
               *over = getenv("OMPI_MCA_rmaps_base_oversubscribe");
    const int cores = canto_probe_cores_look().cores;
    if (patient->launched)
        canto_find(out, CANTO_VERDICT_OK, NULL, "%d rank%s, %s slot%s", patient->world->size,
                   canto_plural(patient->world->size), slots ? slots : "an unknown number of",
                   slots && strcmp(slots, "1") == 0 ? "" : "s");
    else if (!canto_program_found("mpirun", sizeof path, path))
        canto_find(out, CANTO_VERDICT_FAIL, "apt-get install openmpi-bin, or load its module",
                   "mpirun is not found in PATH");
    else if (refuses_root())
        canto_find(out, CANTO_VERDICT_WARN,
                   "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1, or use "
                   "another user",
                   "%.150s refuses to start anything for root", path);
    else
        canto_find(out, CANTO_VERDICT_OK, NULL, "%.150s; %d slot%s on this host%s", path, cores,
                   canto_plural(cores),
                   over ? ", more are allowed" : ", more with --oversubscribe");
}

void canto_look_at_hdf5(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    const canto_probe_hdf5 h = canto_probe_hdf5_look();
    const bool same = h.built[0] == h.runs[0] && h.built[1] == h.runs[1];
    canto_find(out, same ? CANTO_VERDICT_OK : CANTO_VERDICT_FAIL,
               same ? NULL
                    : "build again with the headers of the library that is found at run time "
                      "(ldd canto)",
               "%u.%u.%u, %s%s; locks of its own are off", h.runs[0], h.runs[1], h.runs[2],
               h.parallel ? "parallel" : "serial", same ? "" : ", built with another version");
}

// --- a message copied once ---

static void tell_copies(const canto_patient *patient, int refusal, const char *between,
                        canto_finding *out)
{
    char scope[16] = "";
    const char *off = getenv("OMPI_MCA_btl_vader_single_copy_mechanism");
    const bool known =
        canto_patient_read(patient, "/proc/sys/kernel/yama/ptrace_scope", sizeof scope, scope);
    if (refusal == 0 && off && strcmp(off, "none") == 0)
        canto_find(out, CANTO_VERDICT_WARN,
                   "unset OMPI_MCA_btl_vader_single_copy_mechanism: it is allowed here",
                   "%s it would work, but OMPI_MCA_btl_vader_single_copy_mechanism=none: long "
                   "messages are copied twice",
                   between);
    else if (refusal == 0)
        canto_find(out, CANTO_VERDICT_OK, NULL,
                   "%s process_vm_readv works (ptrace_scope %s): long messages are copied once",
                   between, known ? scope : "not there");
    else
        canto_find(
            out, CANTO_VERDICT_WARN,
            "sysctl kernel.yama.ptrace_scope=0 (containers: --cap-add=SYS_PTRACE); or export "
            "OMPI_MCA_btl_vader_single_copy_mechanism=none, to be spared the warnings",
            "%s process_vm_readv is refused (%s; ptrace_scope %s): long messages are copied "
            "twice",
            between, strerror(refusal), known ? scope : "not there");
}

// With ranks this is looked at between them (canto_look_at_messages).
void canto_look_at_copies(const canto_patient *patient, canto_finding *out)
{
    if (patient->launched && patient->world->size > 1)
        canto_find(out, CANTO_VERDICT_OK, NULL, "tried between ranks, see messages");
    else if (patient->launched)
        canto_find(out, CANTO_VERDICT_OK, NULL, "one rank: there is nobody to copy from");
    else
        tell_copies(patient, canto_probe_copies(), "between two processes", out);
}

// --- together ---

typedef struct {
    char host[64];
    canto_hash program, library; // the executable; MPI's own words
    int64_t word;                // address of a number that other ranks of the host may read
    int32_t pid, cores, allowed;
} place;

typedef struct {
    int n;
    place *all; // owned, [n]
} places;

static canto_hash hash_program(void)
{
    void *data;
    size_t bytes;
    canto_hash none = {{0}};
    char path[4096];
    const ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    if (n <= 0 || canto_file_read(path, -1, (int64_t)1 << 31, &data, &bytes) != CANTO_OK) {
        canto_error_clear();
        return none;
    }
    const canto_hash hash = canto_hash_of(data, bytes);
    free(data);
    return hash;
}

static bool gather_places(const canto_patient *patient, const int64_t *word, places *out,
                          canto_finding *finding)
{
    const canto_probe_cores cores = canto_probe_cores_look();
    place mine = {.pid = getpid(),
                  .word = (int64_t)(intptr_t)word,
                  .cores = cores.cores,
                  .allowed = cores.allowed,
                  .program = hash_program()};
    const canto_probe_mpi mpi = canto_probe_mpi_look();
    mine.library = canto_hash_of(mpi.library, strlen(mpi.library));
    gethostname(mine.host, sizeof mine.host - 1);
    *out = (places){patient->world->size, calloc((size_t)patient->world->size, sizeof mine)};
    canto_status status = out->all ? CANTO_OK : CANTO_ERROR_MEMORY;
    if (!out->all) canto_error_raise(status, __FILE__, __LINE__, "doctor: no memory");
    status = canto_comm_agree(patient->world, status);
    if (status == CANTO_OK)
        status = canto_comm_gather_small(patient->world, sizeof mine, &mine, out->all);
    if (status == CANTO_OK) return true;
    canto_find(finding, CANTO_VERDICT_FAIL, "look at the ranks' own output", "%.280s",
               canto_error_message());
    free(out->all);
    return false;
}

static bool same_host(const place *a, const place *b)
{
    return strcmp(a->host, b->host) == 0;
}

static int ranks_beside(const places *p, int rank)
{
    int n = 0;
    for (int r = 0; r < p->n; r++) n += same_host(&p->all[r], &p->all[rank]);
    return n;
}

static bool first_of_host(const places *p, int rank)
{
    for (int r = 0; r < rank; r++) {
        if (same_host(&p->all[r], &p->all[rank])) return false;
    }
    return true;
}

void canto_look_at_ranks(const canto_patient *patient, canto_finding *out)
{
    places p;
    char list[240] = "";
    int hosts = 0;
    if (!gather_places(patient, NULL, &p, out)) return;
    for (int r = 0; r < p.n; r++) {
        if (!first_of_host(&p, r)) continue;
        const size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s: %d", hosts ? ", " : "", p.all[r].host,
                 ranks_beside(&p, r));
        hosts++;
    }
    canto_find(out, CANTO_VERDICT_OK, NULL, "%d on %d host%s (%s)", p.n, hosts, canto_plural(hosts),
               list);
    free(p.all);
}

// The first rank that has another program or library than rank 0; 0: none.
static int other_rank(const places *p, bool library)
{
    for (int r = 1; r < p->n; r++) {
        const place *a = &p->all[0], *b = &p->all[r];
        if (!canto_hash_equal(library ? &a->library : &a->program,
                              library ? &b->library : &b->program))
            return r;
    }
    return 0;
}

void canto_look_at_program(const canto_patient *patient, canto_finding *out)
{
    places p;
    char hex[CANTO_HASH_HEX];
    if (!gather_places(patient, NULL, &p, out)) return;
    const int program = other_rank(&p, false), library = other_rank(&p, true);
    const int other = program ? program : library;
    canto_hash_hex(&p.all[0].program, hex);
    if (other > 0)
        canto_find(out, CANTO_VERDICT_FAIL,
                   "install one build and one MPI on all hosts, or put them on a file system that "
                   "they share",
                   "rank %d on %s runs another %s than rank 0 on %s", other, p.all[other].host,
                   program ? "program" : "MPI library", p.all[0].host);
    else
        canto_find(out, CANTO_VERDICT_OK, NULL, "%.12s, and one MPI library, on every rank", hex);
    free(p.all);
}

void canto_look_at_sharing(const canto_patient *patient, canto_finding *out)
{
    canto_threads threads;
    if (canto_threads_set(patient->world, &threads) != CANTO_OK) {
        canto_find(out, CANTO_VERDICT_FAIL, "see the stack", "%.280s", canto_error_message());
        canto_error_clear();
        return;
    }
    const bool crowded = threads.sharing > threads.cores;
    const bool many = (int64_t)threads.threads * threads.sharing > threads.cores;
    canto_find(out, crowded || many ? CANTO_VERDICT_WARN : CANTO_VERDICT_OK,
               crowded ? "start at most one rank a core (mpirun -n), or more hosts"
               : many  ? "unset OMP_NUM_THREADS, or bind ranks (--bind-to core)"
                       : NULL,
               "%d rank%s on %d core%s, %d thread%s each", threads.sharing,
               canto_plural(threads.sharing), threads.cores, canto_plural(threads.cores),
               threads.threads, canto_plural(threads.threads));
}

// --- messages ---

enum { SHORT_BYTES = 8, LONG_BYTES = 1 << 20, SHORT_TURNS = 200, LONG_TURNS = 20 };

static canto_status turn(canto_comm *world, int peer, bool first, canto_tensor data)
{
    for (int i = 0; i < 2; i++) {
        canto_request request;
        const bool sends = first == (i == 0);
        CANTO_TRY((sends ? canto_comm_send : canto_comm_recv)(world, peer, data, &request));
        CANTO_TRY(canto_comm_wait(world, &request));
    }
    return CANTO_OK;
}

// Seconds of one way between rank 0 and `peer`; other ranks have nothing to do.
static canto_status ping_pong(canto_comm *world, int peer, int turns, canto_tensor data,
                              double *one_way_s)
{
    const bool first = world->rank == 0;
    if (!first && world->rank != peer) return CANTO_OK;
    for (int i = 0; i < 3; i++) CANTO_TRY(turn(world, first ? peer : 0, first, data));
    const double start_s = canto_clock_s();
    for (int i = 0; i < turns; i++) CANTO_TRY(turn(world, first ? peer : 0, first, data));
    *one_way_s = (canto_clock_s() - start_s) / (2 * turns);
    return CANTO_OK;
}

static canto_status exchange(canto_comm *world, int peer, double *short_s, double *long_s)
{
    void *data = calloc(1, LONG_BYTES);
    canto_status status = CANTO_OK;
    if (!data)
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__, "doctor: no memory");
    status = canto_comm_agree(world, status);
    if (status == CANTO_OK)
        status = ping_pong(world, peer, SHORT_TURNS,
                           canto_tensor_vector(CANTO_U8, data, SHORT_BYTES), short_s);
    if (status == CANTO_OK)
        status = ping_pong(world, peer, LONG_TURNS, canto_tensor_vector(CANTO_U8, data, LONG_BYTES),
                           long_s);
    free(data);
    return canto_comm_agree(world, status);
}

// The furthest rank on another host, else the last one.
static int choose_peer(const places *p)
{
    for (int r = p->n - 1; r > 0; r--) {
        if (!same_host(&p->all[r], &p->all[0])) return r;
    }
    return p->n - 1;
}

// Rank 0 tells the time of a message; if the two share a host, whether it is copied once.
static void tell_messages(const canto_patient *patient, const places *p, int peer,
                          const double seconds[2], canto_finding *out)
{
    int64_t copy;
    char times[160];
    const place *other = &p->all[peer];
    const bool near = same_host(other, &p->all[0]);
    snprintf(times, sizeof times, "ranks 0 and %d (%s): %.1f us, %.2f GB/s at 1 MiB;", peer,
             near ? "one host" : other->host, seconds[0] * 1e6, LONG_BYTES / seconds[1] / 1e9);
    if (near) {
        const int refusal = canto_probe_copy_from(other->pid, (const void *)(intptr_t)other->word,
                                                  &copy, (int)sizeof copy);
        tell_copies(patient, refusal, times, out);
    } else {
        canto_find(out, CANTO_VERDICT_OK, NULL, "%s", times);
    }
}

void canto_look_at_messages(const canto_patient *patient, canto_finding *out)
{
    places p;
    const int64_t word = 1;
    double seconds[2] = {0};
    if (!gather_places(patient, &word, &p, out)) return;
    const int peer = choose_peer(&p);
    if (p.n == 1) {
        canto_find(out, CANTO_VERDICT_OK, NULL, "one rank: nobody to send to");
    } else if (exchange(patient->world, peer, &seconds[0], &seconds[1]) != CANTO_OK) {
        canto_find(out, CANTO_VERDICT_FAIL, "look at the network between the hosts", "%.280s",
                   canto_error_message());
    } else if (patient->world->rank == 0) {
        tell_messages(patient, &p, peer, seconds, out);
    }
    // Nobody may leave while rank 0 reads its memory.
    canto_comm_agree(patient->world, CANTO_OK);
    free(p.all);
}
