// The checks of the doctor, each with a planted problem: what is found, how bad it is, and that
// there is advice.
#define _GNU_SOURCE
#include "launch/doctor.h"
#include "runtime/cpu_levels.h"
#include "tests/canto_test.h"
#include "tests/runtime/store_case.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct {
    canto_patient patient;
    char root[256]; // a directory of our own; also the run directory
} fixture;

static int setup(void **state)
{
    static fixture f;
    store_case_directory(f.root);
    f.patient = (canto_patient){.dir = f.root, .root = f.root, .free_bytes = 1};
    *state = &f;
    return canto_comm_self_open(&f.patient.world) == CANTO_OK ? 0 : -1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    canto_comm_destroy(&f->patient.world);
    store_case_remove(f->root);
    return 0;
}

static void plant(const fixture *f, const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", f->root, path);
    for (char *slash = whole + strlen(f->root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0777);
        *slash = '/';
    }
    store_case_write_file(whole, text, strlen(text));
}

static void expect(const fixture *f, canto_check_look look, canto_verdict verdict,
                   const char *words)
{
    canto_finding finding = {.verdict = CANTO_VERDICT_OK};
    look(&f->patient, &finding);
    if (finding.verdict != verdict || !strstr(finding.text, words))
        fail_msg("expected verdict %d and \"%s\": verdict %d, %s", verdict, words, finding.verdict,
                 finding.text);
    assert_int_equal(finding.advice[0] != '\0', verdict != CANTO_VERDICT_OK);
}

static void test_memory(void **state)
{
    fixture *f = *state;
    expect(f, canto_look_at_memory, CANTO_VERDICT_WARN, "does not tell");
    plant(f, "/proc/meminfo", "MemTotal:  8000000 kB\nMemFree: 1 kB\nMemAvailable:  4000000 kB\n");
    expect(f, canto_look_at_memory, CANTO_VERDICT_OK, "8.2 GB, 4.1 available");
    plant(f, "/sys/fs/cgroup/memory.max", "max\n");
    expect(f, canto_look_at_memory, CANTO_VERDICT_OK, "8.2 GB, 4.1 available");
    plant(f, "/sys/fs/cgroup/memory.max", "500000000\n");
    expect(f, canto_look_at_memory, CANTO_VERDICT_WARN, "0.5 available, limited to 0.5 GB");
    plant(f, "/proc/meminfo", "MemTotal:  8000000 kB\nMemAvailable:  40000 kB\n");
    expect(f, canto_look_at_memory, CANTO_VERDICT_WARN, "0.0 available");
}

static void test_stack(void **state)
{
    fixture *f = *state;
    struct rlimit before, little;
    assert_int_equal(getrlimit(RLIMIT_STACK, &before), 0);
    little = (struct rlimit){256 << 10, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_STACK, &little), 0);
    expect(f, canto_look_at_stack, CANTO_VERDICT_FAIL, "256 KiB, kernels need 896");
    assert_int_equal(setrlimit(RLIMIT_STACK, &before), 0);
    expect(f, canto_look_at_stack, CANTO_VERDICT_OK, "");
}

static void test_directory(void **state)
{
    fixture *f = *state;
    expect(f, canto_look_at_directory, CANTO_VERDICT_OK, "writes, syncs, locks, renames");
    f->patient.free_bytes = INT64_MAX;
    expect(f, canto_look_at_directory, CANTO_VERDICT_WARN, "GB left");
    f->patient.dir = "/nowhere";
    expect(f, canto_look_at_directory, CANTO_VERDICT_FAIL, "cannot be made: No such file");
    f->patient.dir = "/proc";
    expect(f, canto_look_at_directory, CANTO_VERDICT_FAIL, "cannot be made");
}

// A file may hold 10000 bytes, as with a quota that is used up.
static void test_directory_without_room(void **state)
{
    fixture *f = *state;
    struct rlimit before, little;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    little = (struct rlimit){10000, before.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    canto_finding finding;
    canto_look_at_directory(&f->patient, &finding);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(finding.verdict, CANTO_VERDICT_FAIL);
    assert_non_null(strstr(finding.text, "cannot be written"));
    char left[512];
    snprintf(left, sizeof left, "ls -A %s | grep -q doctor", f->root);
    assert_int_not_equal(system(left), 0); // nothing is left behind
}

static void test_places(void **state)
{
    fixture *f = *state;
    expect(f, canto_look_at_shared_memory, CANTO_VERDICT_WARN, "/dev/shm cannot be written");
    plant(f, "/dev/shm/x", "x");
    expect(f, canto_look_at_shared_memory, CANTO_VERDICT_OK, "GB left");
    setenv("TMPDIR", "/nowhere", 1);
    expect(f, canto_look_at_temporary, CANTO_VERDICT_FAIL, "/nowhere");
    char deep[512];
    plant(f, "/a-directory-with-a-name-that-is-quite-long/x", "x");
    snprintf(deep, sizeof deep, "%s/a-directory-with-a-name-that-is-quite-long", f->root);
    setenv("TMPDIR", deep, 1);
    expect(f, canto_look_at_temporary, CANTO_VERDICT_WARN, "sockets");
    unsetenv("TMPDIR");
    expect(f, canto_look_at_temporary, CANTO_VERDICT_OK, "/tmp");
}

static void test_programs(void **state)
{
    fixture *f = *state;
    char *before = strdup(getenv("PATH"));
    setenv("PATH", f->root, 1);
    expect(f, canto_look_at_gnuplot, CANTO_VERDICT_WARN, "not found");
    expect(f, canto_look_at_launcher, CANTO_VERDICT_FAIL, "mpirun is not found");
    plant(f, "/mpirun", "");
    char path[300];
    snprintf(path, sizeof path, "%s/mpirun", f->root);
    assert_int_equal(chmod(path, 0755), 0);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    expect(f, canto_look_at_launcher, CANTO_VERDICT_OK, "slots on this host");
    setenv("PATH", before, 1);
    free(before);
}

static void test_threads(void **state)
{
    fixture *f = *state;
    setenv("OMP_NUM_THREADS", "999999", 1);
    expect(f, canto_look_at_threads, CANTO_VERDICT_WARN, "OMP_NUM_THREADS=999999");
    setenv("OMP_NUM_THREADS", "many", 1);
    expect(f, canto_look_at_threads, CANTO_VERDICT_WARN, "no positive number");
    setenv("OMP_NUM_THREADS", "1", 1);
    expect(f, canto_look_at_threads, CANTO_VERDICT_OK, "OMP_NUM_THREADS=1 decides");
    unsetenv("OMP_NUM_THREADS");
    expect(f, canto_look_at_threads, CANTO_VERDICT_OK, "one rank alone");
}

#ifdef __AVX2__
enum { NEEDS_AVX2 = 1 };
#else
enum { NEEDS_AVX2 = 0 };
#endif

static void test_instructions(void **state)
{
    fixture *f = *state;
    expect(f, canto_look_at_instructions, CANTO_VERDICT_OK, "does not tell");
    plant(f, "/proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu sse4_2\npower management:\n");
    expect(f, canto_look_at_instructions, NEEDS_AVX2 ? CANTO_VERDICT_FAIL : CANTO_VERDICT_OK,
           NEEDS_AVX2 ? "avx2" : "sse4_2");
    plant(f, "/proc/cpuinfo",
          "flags\t\t: x\nflags\t: sse4_2 avx avx2 fma avx512f avx512bw avx512vl avx512_bf16 "
          "amx_bf16\n");
    canto_finding finding;
    canto_look_at_instructions(&f->patient, &finding);
    assert_int_not_equal(finding.verdict, CANTO_VERDICT_FAIL);
    assert_non_null(strstr(finding.text, "avx2"));
}

static void test_level(void **state)
{
    fixture *f = *state;
    const char *kept = getenv("CANTO_ISA");
    char *before = kept ? strdup(kept) : NULL;
    unsetenv("CANTO_ISA");
    expect(f, canto_look_at_level, CANTO_VERDICT_OK, "level ");
    setenv("CANTO_ISA", "mmx", 1);
    expect(f, canto_look_at_level, CANTO_VERDICT_FAIL, "mmx");
    setenv("CANTO_ISA", "portable", 1);
    const bool only = !canto_cpu_levels[1].name || !canto_cpu_levels[1].works();
    expect(f, canto_look_at_level, only ? CANTO_VERDICT_OK : CANTO_VERDICT_WARN, "level portable");
    unsetenv("CANTO_ISA");
    if (before) setenv("CANTO_ISA", before, 1);
    free(before);
}

// Whatever OpenBLAS runs, it is not for the widest vectors of a processor that has none.
static void test_blas(void **state)
{
    fixture *f = *state;
    plant(f, "/proc/cpuinfo", "\nflags\t: sse4_2\n");
    expect(f, canto_look_at_blas, CANTO_VERDICT_OK, "kernels of");
    plant(f, "/proc/cpuinfo", "\nflags\t: avx2 avx512f avx512bw avx512vl\n");
    canto_finding finding;
    canto_look_at_blas(&f->patient, &finding);
    const bool wide = strstr(finding.text, "SkylakeX") || strstr(finding.text, "Cooperlake") ||
                      strstr(finding.text, "SapphireRapids") || strstr(finding.text, "Zen4");
    const bool ruler = strstr(finding.text, "only canto bench") != NULL; // products are by oneDNN
    assert_int_equal(finding.verdict, wide || ruler ? CANTO_VERDICT_OK : CANTO_VERDICT_WARN);
    assert_int_equal(strstr(finding.text, "without AVX-512") != NULL, !wide);
}

static void test_copies(void **state)
{
    fixture *f = *state;
    canto_finding finding;
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "cma", 1);
    canto_look_at_copies(&f->patient, &finding);
    assert_non_null(strstr(finding.text, "ptrace_scope not there"));
    const bool allowed = finding.verdict == CANTO_VERDICT_OK;
    plant(f, "/proc/sys/kernel/yama/ptrace_scope", "3\n");
    canto_look_at_copies(&f->patient, &finding);
    assert_non_null(strstr(finding.text, "ptrace_scope 3"));
    setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 1);
    expect(f, canto_look_at_copies, CANTO_VERDICT_WARN, allowed ? "=none" : "refused");
}

// Every check of the table that needs no launcher says something, and advises unless all is well.
static void test_every_check(void **state)
{
    fixture *f = *state;
    f->patient.root = "";
    for (const canto_check *c = canto_checks; c->name; c++) {
        if (c->together) continue;
        canto_finding finding = {.verdict = CANTO_VERDICT_OK};
        c->look(&f->patient, &finding);
        if (finding.text[0] == '\0') fail_msg("%s: says nothing", c->name);
        if ((finding.advice[0] != '\0') != (finding.verdict != CANTO_VERDICT_OK))
            fail_msg("%s: %s -> %s", c->name, finding.text, finding.advice);
    }
}

#define DOCTOR_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DOCTOR_TEST(test_memory),    DOCTOR_TEST(test_stack),
        DOCTOR_TEST(test_directory), DOCTOR_TEST(test_directory_without_room),
        DOCTOR_TEST(test_places),    DOCTOR_TEST(test_programs),
        DOCTOR_TEST(test_threads),   DOCTOR_TEST(test_instructions),
        DOCTOR_TEST(test_level),     DOCTOR_TEST(test_blas),
        DOCTOR_TEST(test_copies),    DOCTOR_TEST(test_every_check),
    };
    return cmocka_run_group_tests_name("launch.doctor", tests, NULL, NULL);
}
