// Runs every module that needs messages, on however many ranks it was started with. Rank 0 reports;
// the other ranks are silent unless something fails there.
//
//     mpirun -n 3 build/tests/mpi/all [MODULE...]
#include "tests/canto_test.h"

#include <stdio.h>
#include <string.h>

static const canto_test_module *const modules[] = {
    NULL,
};

static bool chosen(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) return true;
    }
    return argc < 2;
}

static int open_world(void)
{
    canto_comm *plain;
    canto_comm_checks checks = {.headers = true, .timeout_s = 20};
    canto_status status = canto_comm_mpi_open(&plain);
    if (status == CANTO_OK) status = canto_comm_checked_open(plain, checks, &canto_test_world);
    if (status != CANTO_OK) fprintf(stderr, "%s\n", canto_error_message());
    return status == CANTO_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (open_world() != 0) return 1;
    canto_error_set_rank(canto_test_world->rank, canto_test_world->size);
    int failed = 0;
    if (canto_test_world->rank != 0 && !freopen("/dev/null", "w", stdout)) return 1;
    for (int i = 0; modules[i]; i++) {
        if (!chosen(modules[i]->name, argc, argv)) continue;
        failed += _cmocka_run_group_tests(modules[i]->name, modules[i]->tests, modules[i]->tests_n,
                                          NULL, NULL);
        canto_error_clear();
        // A failed test may have left messages behind, so nothing after it can be trusted.
        if (failed) canto_comm_abort(canto_test_world, 1);
    }
    canto_comm_destroy(&canto_test_world);
    canto_comm_mpi_finalize();
    return failed != 0;
}
