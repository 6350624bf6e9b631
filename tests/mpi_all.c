// Runs every module that needs messages, on however many ranks it was started with. Rank 0 reports;
// the other ranks are silent unless something fails there. A failure on any rank ends the whole job
// at once, with exit code 1; a name that is no module's ends it with exit code 2.
//
//     [CANTO_TEST_DEVICE=shadow CANTO_SHADOW_SEED=7] mpirun -n 3 build/tests/mpi/messages
//     [MODULE...]
#define _GNU_SOURCE
#include "tests/canto_test.h"

#include "runtime/topology.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MODULE_LIMIT_S = 240 }; // a module that takes longer hangs: the alarm ends the process

#ifdef CANTO_SHADOW
#define SHADOW_MODULES(X) X(test_shadow_lanes)
#else
#define SHADOW_MODULES(X)
#endif

#define MODULES(X)                                                                                 \
    X(test_allocations)                                                                            \
    X(test_bytes_linear)                                                                           \
    X(test_bytes_softmax)                                                                          \
    X(test_comm)                                                                                   \
    X(test_comm_checked)                                                                           \
    X(test_comm_rings)                                                                             \
    X(test_comm_traced)                                                                            \
    X(test_conformance_linear)                                                                     \
    X(test_conformance_softmax)                                                                    \
    X(test_grad)                                                                                   \
    X(test_memory)                                                                                 \
    X(test_mesh)                                                                                   \
    X(test_model_mpi)                                                                              \
    X(test_recompute)                                                                              \
    X(test_step)                                                                                   \
    X(test_store_mpi)                                                                              \
    X(test_topology)                                                                               \
    X(test_tracing)                                                                                \
    SHADOW_MODULES(X)                                                                              \
    // one line each, sorted

#define DECLARE(name) extern const canto_test_module name;
#define ADDRESS(name) &name,
MODULES(DECLARE)
extern const canto_test_module test_nccl __attribute__((weak)); // of tests/doubles alone
static const canto_test_module *const modules[] = {
    MODULES(ADDRESS) // then the one that may be missing, which ends the list
        & test_nccl,
    NULL,
};

// What knows no device is the same on all of them.
static const char *const of_the_host[] = {"comm",  "comm_checked", "comm_rings",   "comm_traced",
                                          "store", "topology",     "shadow_lanes", NULL};

static bool contains(const char *const *list, const char *name)
{
    while (*list && strcmp(*list, name) != 0) list++;
    return *list != NULL;
}

// Those that are named; without names all, or, with a device named, those that are about devices.
static bool chosen(const char *name, int argc, char **argv)
{
    if (argc > 1) return contains((const char *const *)argv + 1, name);
    return !getenv("CANTO_TEST_DEVICE") || !contains(of_the_host, name);
}

// Whether all names are of modules. Rank 0 says which is not, and what there is.
static bool names_known(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        int m = 0;
        while (modules[m] && strcmp(modules[m]->name, argv[i]) != 0) m++;
        if (modules[m]) continue;
        if (canto_test_world->rank == 0) {
            fprintf(stderr, "messages: no module '%s'; there are", argv[i]);
            for (m = 0; modules[m]; m++) fprintf(stderr, " %s", modules[m]->name);
            fprintf(stderr, "\n");
        }
        return false;
    }
    return true;
}

// Every rank takes another of its kind, where there are several.
static canto_status open_device(void)
{
    const char *name = getenv("CANTO_TEST_DEVICE");
    const canto_backend *backend = canto_backend_find(name ? name : "cpu");
    if (!backend)
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED, "CANTO_TEST_DEVICE: this build has no device %s", name);
    return canto_device_open(backend, canto_test_world->rank, &canto_test_device);
}

static int open_world(void)
{
    canto_comm *plain;
    canto_comm_checks checks = {.headers = true, .timeout_s = 20};
    canto_status status = canto_comm_mpi_open(&plain);
    if (status == CANTO_OK) status = canto_comm_checked_open(plain, checks, &canto_test_world);
    // More threads than cores would make every test crawl.
    canto_threads threads;
    if (status == CANTO_OK) status = canto_threads_set(canto_test_world, &threads);
    if (status == CANTO_OK) status = canto_comm_agree(canto_test_world, open_device());
    if (status != CANTO_OK) fprintf(stderr, "%s\n", canto_error_message());
    return status == CANTO_OK ? 0 : 1;
}

// Rank 0 prints cmocka's lines, all on standard output so that they stay in order. The other ranks
// keep theirs in a file, to be shown if they fail; their standard error stays free for accidents.
static bool arrange_output(FILE **kept)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    *kept = NULL;
    if (canto_test_world->rank == 0) return dup2(STDOUT_FILENO, STDERR_FILENO) >= 0;
    cmocka_set_message_output(CM_OUTPUT_TAP);
    *kept = tmpfile();
    return *kept && dup2(fileno(*kept), STDOUT_FILENO) >= 0;
}

static void show(FILE *kept)
{
    if (!kept) return;
    rewind(kept);
    for (char line[1024]; fgets(line, sizeof line, kept);) {
        fprintf(stderr, "rank %d: %s", canto_test_world->rank, line);
    }
}

// All ranks enter a module together, so that a late one is not taken for a missing one.
static int run(const canto_test_module *module)
{
    canto_error_clear();
    double ready = 1;
    alarm(MODULE_LIMIT_S);
    if (canto_comm_sum_small(canto_test_world, 1, &ready) != CANTO_OK) {
        fprintf(stderr, "before %s: %s\n", module->name, canto_error_message());
        return 1;
    }
    int failed = _cmocka_run_group_tests(module->name, module->tests, module->tests_n, NULL, NULL);
    alarm(0);
    fflush(stdout);
    return failed;
}

static void run_all(int argc, char **argv)
{
    FILE *kept;
    if (!arrange_output(&kept)) canto_comm_abort(canto_test_world, 1);
    for (int i = 0; modules[i]; i++) {
        if (!chosen(modules[i]->name, argc, argv)) continue;
        if (run(modules[i]) == 0) continue;
        // A failed test may have left messages behind, so nothing after it can be trusted.
        show(kept);
        canto_comm_abort(canto_test_world, 1);
    }
    if (kept) fclose(kept);
}

int main(int argc, char **argv)
{
    if (open_world() != 0) return 1;
    canto_error_set_rank(canto_test_world->rank, canto_test_world->size);
    const bool known = names_known(argc, argv);
    if (known) run_all(argc, argv);
    if (canto_device_close(&canto_test_device) != CANTO_OK) {
        fprintf(stderr, "%s\n", canto_error_message());
        canto_comm_abort(canto_test_world, 1);
    }
    canto_comm_destroy(&canto_test_world);
    canto_comm_mpi_finalize();
    return known ? 0 : 2;
}
