// Helpers of all tests: cmocka, comparison of tensors by the tolerance of the design, and the
// communicator that MPI tests share.
#ifndef CANTO_TESTS_CANTO_TEST_H
#define CANTO_TESTS_CANTO_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "runtime/cpu_levels.h"
#include "runtime/status.h"

// Fails the test with the stored sentence unless the call returns CANTO_OK; clears it then, so that
// the tests after it have sentences of their own.
#define CANTO_TEST_OK(call)                                                                        \
    do {                                                                                           \
        canto_status canto_test_status = (call);                                                   \
        if (canto_test_status != CANTO_OK) {                                                       \
            char canto_test_message[CANTO_MESSAGE_MAX];                                            \
            canto_test_take_message(canto_test_message);                                           \
            fail_msg("%s: %s: %s", #call, canto_status_name(canto_test_status),                    \
                     canto_test_message);                                                          \
        }                                                                                          \
    } while (0)
void canto_test_take_message(char out[CANTO_MESSAGE_MAX]);

// Expects a failure with this status, and that its sentence contains `words`; clears it, whatever
// comes.
#define CANTO_TEST_FAILS(expected, words, call) canto_test_fails((expected), (words), #call, (call))
void canto_test_fails(canto_status expected, const char *words, const char *what,
                      canto_status status);

// Largest |x - ref| divided by the largest |ref| (by 1 if all ref are 0); infinite if any x is not
// finite.
double canto_test_error(int64_t n, const float *x, const double *ref);
// Fails the test unless canto_test_error <= tolerance; `what` stands in the message.
void canto_test_close(const char *what, int64_t n, const float *x, const double *ref,
                      double tolerance);
// The design's forward tolerance for N tokens: min(2e-6 sqrt(N/64 + 1), 2e-5).
double canto_test_forward_tolerance(int64_t tokens);
#define CANTO_TEST_GRADIENT      1e-4
#define CANTO_TEST_GATE_GRADIENT 2e-4
// Of a model whose operands are bf16 numbers, against a reference that rounds the same ones: where
// single precision falls on the other side, one of them is off by its last bit.
#define CANTO_TEST_MODEL_BF16 4e-3

// Reproducible test data: standard normal numbers, the same for the same name and index.
void canto_test_fill(const char *name, int64_t n, float *x);

// The checked world communicator of the MPI test program (headers compared, 20 s limit); NULL in
// unit tests.
extern canto_comm *canto_test_world;

// The device on which everything above the kernels is tested: the cpu, unless the MPI test program
// finds the name of another backend in the environment variable CANTO_TEST_DEVICE.
extern const canto_device *canto_test_device;

// Whether a level of the cpu is to be tested: it works here, and CANTO_ISA names no other.
bool canto_test_wants(const canto_cpu_level *level);
// Runs a list of cmocka tests once for each level of the cpu that is wanted, with *device set to
// the cpu at that level. Returns the number of failures.
#define CANTO_TEST_AT_LEVELS(tests, device)                                                        \
    canto_test_at_levels(tests, sizeof tests / sizeof tests[0], device)
int canto_test_at_levels(const struct CMUnitTest *tests, size_t tests_n,
                         const canto_device **device);

// Copies to and from its memory; fail the test when they fail. `take_down` gives a copy in the
// host's memory, for the caller to free.
void canto_test_upload(void *to, const void *from, size_t bytes);
void canto_test_download(void *to, const void *from, size_t bytes);
float *canto_test_take_down(const float *from, int64_t count);

// A module of the MPI test program: a list of cmocka tests. Each file in tests/ that needs messages
// defines one and tests/mpi_all.c lists it.
typedef struct canto_test_module {
    const char *name;
    const struct CMUnitTest *tests;
    size_t tests_n;
} canto_test_module;

#endif
