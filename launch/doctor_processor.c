// The processor and what was built for it: instructions, cores, threads, BLAS, devices.
#define _GNU_SOURCE
#include "launch/doctor.h"

#include "launch/version.h"
#include "launch/amount.h"
#include "runtime/cpu_levels.h"
#include "runtime/device.h"
#include "runtime/probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- instructions ---

#ifdef __SSE4_2__
#define BUILT_SSE4_2 true
#else
#define BUILT_SSE4_2 false
#endif
#ifdef __AVX2__
#define BUILT_AVX2 true
#else
#define BUILT_AVX2 false
#endif
#ifdef __FMA__
#define BUILT_FMA true
#else
#define BUILT_FMA false
#endif
#ifdef __AVX512F__
#define BUILT_AVX512F true
#else
#define BUILT_AVX512F false
#endif
#ifdef __AVX512BF16__
#define BUILT_AVX512_BF16 true
#else
#define BUILT_AVX512_BF16 false
#endif
#ifdef __AMX_BF16__
#define BUILT_AMX_BF16 true
#else
#define BUILT_AMX_BF16 false
#endif

// As /proc/cpuinfo names them. `kernels`: the kernels are faster with it.
static const struct {
    const char *name;
    bool built, kernels;
} instructions[] = {
    {"sse4_2", BUILT_SSE4_2, false},
    {"avx2", BUILT_AVX2, true},
    {"fma", BUILT_FMA, true},
    {"avx512f", BUILT_AVX512F, true},
    {"avx512_bf16", BUILT_AVX512_BF16, false},
    {"amx_bf16", BUILT_AMX_BF16, false},
};
enum { INSTRUCTIONS = sizeof instructions / sizeof *instructions };

// Whether a word stands in a line of words.
static bool has_word(const char *line, const char *word)
{
    const size_t length = strlen(word);
    for (const char *at = line; (at = strstr(at, word)); at += length) {
        const bool begins = at == line || at[-1] == ' ' || at[-1] == '\t';
        if (begins && (at[length] == ' ' || at[length] == '\0')) return true;
    }
    return false;
}

// The flags of the first processor; "" where the system does not tell them (other processors).
static void read_flags(const canto_patient *patient, size_t size, char *flags)
{
    char *text = malloc(1 << 16);
    flags[0] = '\0';
    if (text && canto_patient_read(patient, "/proc/cpuinfo", 1 << 16, text)) {
        const char *line = strstr(text, "\nflags");
        if (line) snprintf(flags, size, "%.*s", (int)strcspn(line + 1, "\n"), line + 1);
    }
    free(text);
}

static void append(char *list, size_t size, const char *word)
{
    const size_t used = strlen(list);
    snprintf(list + used, size - used, "%s%s", used ? " " : "", word);
}

void canto_look_at_instructions(const canto_patient *patient, canto_finding *out)
{
    char flags[8192], here[128] = "", missing[128] = "", unused[128] = "";
    read_flags(patient, sizeof flags, flags);
    if (!flags[0]) {
        canto_find(out, CANTO_VERDICT_OK, NULL, "the system does not tell the processor's");
        return;
    }
    for (int i = 0; i < INSTRUCTIONS; i++) {
        const bool has = has_word(flags, instructions[i].name);
        if (has) append(here, sizeof here, instructions[i].name);
        if (!has && instructions[i].built) append(missing, sizeof missing, instructions[i].name);
        if (has && !instructions[i].built && instructions[i].kernels)
            append(unused, sizeof unused, instructions[i].name);
    }
    if (missing[0])
        canto_find(out, CANTO_VERDICT_FAIL, "build on this machine, or with -DCANTO_NATIVE=OFF",
                   "this build needs %s, the processor has %s", missing, here);
    else if (unused[0])
        canto_find(out, CANTO_VERDICT_WARN,
                   "build on this machine with -DCANTO_NATIVE=ON (the default)",
                   "%s; this build does not use %s", here, unused);
    else
        canto_find(out, CANTO_VERDICT_OK, NULL, "%s", here);
}

void canto_look_at_level(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    const canto_cpu_level *now = canto_cpu_level_now(), *highest = now;
    for (const canto_cpu_level *level = canto_cpu_levels; level->name; level++) {
        if (level->works()) highest = level;
    }
    if (canto_cpu_level_check() != CANTO_OK) {
        canto_find(out, CANTO_VERDICT_FAIL, "unset CANTO_ISA, or name a level that works here",
                   "%s", canto_error_message());
        canto_error_clear();
    } else if (now != highest) {
        canto_find(out, CANTO_VERDICT_WARN, "unset CANTO_ISA",
                   "level %s, because CANTO_ISA names it; this machine runs %s", now->name,
                   highest->name);
    } else {
        canto_find(out, CANTO_VERDICT_OK, NULL, "level %s: %s", now->name, now->needs);
    }
}

void canto_look_at_build(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    char built[128] = "";
    for (int i = 0; i < INSTRUCTIONS; i++) {
        if (instructions[i].built) append(built, sizeof built, instructions[i].name);
    }
    canto_find(out, CANTO_VERDICT_OK, NULL, "canto %s, %s, for %s", canto_version(),
               canto_version_build(), built[0] ? built : "any processor of its family");
}

// --- cores and threads ---

void canto_look_at_topology(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    const canto_probe_cores c = canto_probe_cores_look();
    if (c.processors == 0) {
        canto_find(out, CANTO_VERDICT_FAIL, "look at `lstopo`; set OMP_NUM_THREADS",
                   "hwloc finds no processors");
        return;
    }
    canto_find(
        out, CANTO_VERDICT_OK, NULL,
        "%d package%s, %d NUMA node%s, %d core%s, %d processor%s (%d for this process), last "
        "cache %.0f MB",
        c.packages, canto_plural(c.packages), c.numa_nodes, canto_plural(c.numa_nodes), c.cores,
        canto_plural(c.cores), c.processors, canto_plural(c.processors), c.allowed,
        (double)c.cache_bytes / 1e6);
}

void canto_look_at_threads(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    const canto_probe_cores c = canto_probe_cores_look();
    const char *asked = getenv("OMP_NUM_THREADS"), *blas = getenv("OPENBLAS_NUM_THREADS");
    const long n = asked ? strtol(asked, NULL, 10) : 0;
    if (asked && n <= 0)
        canto_find(out, CANTO_VERDICT_WARN, "unset OMP_NUM_THREADS",
                   "OMP_NUM_THREADS=%.40s is no positive number and is not used", asked);
    else if (asked && c.allowed > 0 && n > c.allowed)
        canto_find(out, CANTO_VERDICT_WARN,
                   "unset OMP_NUM_THREADS: the cores are then divided among the ranks of a host",
                   "OMP_NUM_THREADS=%ld on %d processors: threads wait for each other", n,
                   c.allowed);
    else if (asked)
        canto_find(out, CANTO_VERDICT_OK, NULL, "OMP_NUM_THREADS=%ld decides%s", n,
                   blas ? "; OPENBLAS_NUM_THREADS does not" : "");
    else
        canto_find(out, CANTO_VERDICT_OK, NULL,
                   "one rank alone would use %d; ranks of a host divide the cores",
                   c.cores > 0 && c.cores < c.allowed ? c.cores : c.allowed);
}

// --- libraries and devices ---

// Core names of OpenBLAS with kernels for AVX-512, and for less than AVX2.
static const char *const wide_cores[] = {"SkylakeX", "Cooperlake", "SapphireRapids",
                                         "Zen4",     "Zen5",       NULL};
static const char *const narrow_cores[] = {"Generic",     "Prescott",   "Core2",  "Penryn",
                                           "Nehalem",     "Dunnington", "Athlon", "Barcelona",
                                           "Sandybridge", "Atom",       NULL};

static bool is_listed(const char *const *list, const char *core)
{
    for (; *list; list++) {
        if (strcasecmp(*list, core) == 0) return true;
    }
    return false;
}

// What the processor could do and OpenBLAS, which goes by the names of processors, does not; NULL:
// nothing.
static const char *unused_by_blas(const char *flags, const char *core)
{
    const bool wide =
        has_word(flags, "avx512f") && has_word(flags, "avx512bw") && has_word(flags, "avx512vl");
    if (wide && !is_listed(wide_cores, core)) return "AVX-512";
    if (has_word(flags, "avx2") && is_listed(narrow_cores, core)) return "AVX2";
    return NULL;
}

// Length of the first two, "OpenBLAS 0.3.21".
static int two_words(const char *text)
{
    const size_t first = strcspn(text, " ");
    return (int)(first + (text[first] ? 1 + strcspn(text + first + 1, " ") : 0));
}

void canto_look_at_blas(const canto_patient *patient, canto_finding *out)
{
    char flags[8192], advice[128] = "unset OPENBLAS_CORETYPE";
    const canto_probe_blas blas = canto_probe_blas_look();
    read_flags(patient, sizeof flags, flags);
    const char *unused = unused_by_blas(flags, blas.core);
    const bool ruler = strcmp(canto_probe_products_look().library, "OpenBLAS") != 0;
    if (unused && !getenv("OPENBLAS_CORETYPE"))
        snprintf(advice, sizeof advice,
                 "export OPENBLAS_CORETYPE=%s, before a run starts (it changes last bits)",
                 strcmp(unused, "AVX2") == 0 ? "Haswell" : "SkylakeX");
    const bool warns = unused && !ruler;
    canto_find(out, warns ? CANTO_VERDICT_WARN : CANTO_VERDICT_OK, warns ? advice : NULL,
               "%.*s, kernels of %s%s%s, threads by %s%s", two_words(blas.config), blas.config,
               blas.core, unused ? " without " : "", unused ? unused : "", blas.threading,
               ruler ? "; only canto bench compares with it" : "");
}

void canto_look_at_dnnl(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    const canto_probe_products products = canto_probe_products_look();
    if (!products.fastest)
        canto_find(out, CANTO_VERDICT_OK, NULL,
                   "not in this build: products are by %s, those of bf16 widened",
                   products.library);
    else
        canto_find(out, CANTO_VERDICT_OK, NULL,
                   "%s: all products are by it, with %s; those of bf16 %s", products.version,
                   products.fastest,
                   products.bf16 ? "as they are"
                                 : "widened, because this processor has no instructions for them");
}

static void version_text(int version, int thousand, char text[16])
{
    if (version == 0)
        strcpy(text, "none");
    else
        snprintf(text, 16, "%d.%d", version / thousand, version % thousand * 100 / thousand);
}

void canto_look_at_cuda(const canto_patient *patient, canto_finding *out)
{
    (void)patient;
    const bool built = canto_backend_find("cuda") != NULL;
    const canto_probe_cuda cuda = canto_probe_cuda_look();
    const char *in = built ? "in this build" : "not in this build";
    char nccl[16], driver[16];
    version_text(cuda.nccl, 10000, nccl);
    version_text(cuda.version, 1000, driver);
    if (!cuda.driver)
        canto_find(out, built ? CANTO_VERDICT_WARN : CANTO_VERDICT_OK,
                   built ? "install NVIDIA's driver, or use run.device=cpu" : NULL,
                   "%s; no driver (libcuda.so.1), NCCL %s", in, nccl);
    else if (cuda.status != 0 || cuda.devices == 0)
        canto_find(out, built ? CANTO_VERDICT_WARN : CANTO_VERDICT_OK,
                   built ? "look at nvidia-smi and CUDA_VISIBLE_DEVICES" : NULL,
                   "%s; driver %s finds no device (cuInit %d), NCCL %s", in, driver, cuda.status,
                   nccl);
    else
        canto_find(out, built ? CANTO_VERDICT_OK : CANTO_VERDICT_WARN,
                   built ? NULL : "configure with -DCANTO_CUDA=ON to use it",
                   "%s; driver %s, %d devices (%s), NCCL %s", in, driver, cuda.devices, cuda.name,
                   nccl);
}
