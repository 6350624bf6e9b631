// Threads a process gets: bound or not, alone or among others, and when the user decides.
#define _GNU_SOURCE
#include "tests/canto_test.h"

#include "runtime/topology.h"

#include <dirent.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_max_threads(void)
{
    return 1;
}
#endif

int openblas_get_num_threads(void);

static void check_set(const canto_threads *threads)
{
    assert_int_equal(omp_get_max_threads(), threads->threads);
    assert_int_equal(openblas_get_num_threads(), 1);
}

// All threads: those of OpenBLAS and OpenMP may live already.
static void bind_process(const cpu_set_t *cpus)
{
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (const struct dirent *task; (task = readdir(tasks));) {
        const int id = atoi(task->d_name);
        if (id > 0) sched_setaffinity(id, sizeof *cpus, cpus);
    }
    closedir(tasks);
}

// Runs `body` without OMP_NUM_THREADS and with the binding of the start; puts both back.
static void as_started(void (*body)(const cpu_set_t *))
{
    const char *set = getenv("OMP_NUM_THREADS");
    char *kept = set ? strdup(set) : NULL;
    cpu_set_t cpus;
    assert_int_equal(sched_getaffinity(0, sizeof cpus, &cpus), 0);
    unsetenv("OMP_NUM_THREADS");
    body(&cpus);
    bind_process(&cpus);
    if (kept) setenv("OMP_NUM_THREADS", kept, 1);
    free(kept);
    canto_threads threads;
    CANTO_TEST_OK(canto_threads_set(canto_test_world, &threads));
}

static void check_unbound(const cpu_set_t *cpus)
{
    canto_threads threads;
    CANTO_TEST_OK(canto_threads_set(canto_test_world, &threads));
    assert_false(threads.forced);
    assert_true(threads.cores >= 1 && threads.cores <= CPU_COUNT(cpus));
    assert_true(threads.sharing >= 1 && threads.sharing <= canto_test_world->size);
    const int share = threads.cores / threads.sharing;
    assert_int_equal(threads.threads, share > 0 ? share : 1);
    check_set(&threads);
}

static void check_one_core_for_all(const cpu_set_t *cpus)
{
    (void)cpus;
    canto_threads threads;
    int all[64];
    const int cpu = sched_getcpu();
    CANTO_TEST_OK(canto_comm_gather_small(canto_test_world, sizeof cpu, &cpu, all));
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(all[0], &one);
    bind_process(&one);
    CANTO_TEST_OK(canto_threads_set(canto_test_world, &threads));
    assert_int_equal(threads.cores, 1);
    assert_int_equal(threads.sharing, canto_test_world->size);
    assert_int_equal(threads.threads, 1);
    check_set(&threads);
}

// Rank 0 on one core, the others anywhere on the machine: all of them share that core.
static void check_overlap(const cpu_set_t *cpus)
{
    canto_threads threads;
    cpu_set_t set = *cpus;
    CPU_SET(0, &set);
    for (int cpu = 1; cpu < CPU_SETSIZE; cpu++) CPU_SET(cpu, &set);
    if (canto_test_world->rank == 0) {
        const int cpu = sched_getcpu();
        CPU_ZERO(&set);
        CPU_SET(cpu, &set);
    }
    bind_process(&set);
    CANTO_TEST_OK(canto_threads_set(canto_test_world, &threads));
    assert_int_equal(threads.sharing, canto_test_world->size);
    if (canto_test_world->rank == 0) assert_int_equal(threads.cores, 1);
}

static void check_user_decides(const cpu_set_t *cpus)
{
    (void)cpus;
    static const struct {
        const char *text;
        int threads; // 0: not a decision
    } cases[] = {{"3", 3}, {"2,4", 2}, {"0", 0}, {"many", 0}, {"", 0}, {"-1", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        canto_threads threads;
        setenv("OMP_NUM_THREADS", cases[i].text, 1);
        CANTO_TEST_OK(canto_threads_set(canto_test_world, &threads));
        assert_int_equal(threads.forced, cases[i].threads > 0);
        if (cases[i].threads > 0) assert_int_equal(threads.threads, cases[i].threads);
        check_set(&threads);
    }
    unsetenv("OMP_NUM_THREADS");
}

// Numbers below 1e-38 become zero on every thread, where the processor can do that.
static void check_flush(const cpu_set_t *cpus)
{
    (void)cpus;
    canto_threads threads;
    setenv("OMP_NUM_THREADS", "3", 1);
    CANTO_TEST_OK(canto_threads_set(canto_test_world, &threads));
    unsetenv("OMP_NUM_THREADS");
#if defined(__SSE2__) && defined(_OPENMP)
    int seen = 0, zeros = 0;
#pragma omp parallel reduction(+ : seen, zeros)
    {
        volatile float small = 1e-30f;
        volatile float product = small * 1e-10f;
        seen++;
        zeros += product == 0;
    }
    assert_int_equal(seen, 3);
    assert_int_equal(zeros, 3);
#endif
}

static void check_small_stack(const cpu_set_t *cpus)
{
    (void)cpus;
    canto_threads threads;
    struct rlimit kept;
    assert_int_equal(getrlimit(RLIMIT_STACK, &kept), 0);
    const struct rlimit small = {.rlim_cur = 512 << 10, .rlim_max = kept.rlim_max};
    const bool me = canto_test_world->rank == canto_test_world->size - 1;
    if (me) assert_int_equal(setrlimit(RLIMIT_STACK, &small), 0);
    const canto_status status = canto_threads_set(canto_test_world, &threads);
    assert_int_equal(setrlimit(RLIMIT_STACK, &kept), 0);
    CANTO_TEST_FAILS(CANTO_ERROR_MEMORY, "raise `ulimit -s` or OMP_STACKSIZE", status);
}

static void test_small_stack(void **state)
{
    (void)state;
    as_started(check_small_stack);
}

static void test_unbound(void **state)
{
    (void)state;
    as_started(check_unbound);
}

static void test_one_core_for_all(void **state)
{
    (void)state;
    as_started(check_one_core_for_all);
}

static void test_overlap(void **state)
{
    (void)state;
    as_started(check_overlap);
}

static void test_user_decides(void **state)
{
    (void)state;
    as_started(check_user_decides);
}

static void test_flush_to_zero(void **state)
{
    (void)state;
    as_started(check_flush);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_unbound),       cmocka_unit_test(test_one_core_for_all),
    cmocka_unit_test(test_overlap),       cmocka_unit_test(test_user_decides),
    cmocka_unit_test(test_flush_to_zero), cmocka_unit_test(test_small_stack),
};

const canto_test_module test_topology = {"topology", tests, sizeof tests / sizeof *tests};
