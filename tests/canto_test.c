#include "tests/canto_test.h"

#include "runtime/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

canto_comm *canto_test_world;
const canto_device *canto_test_device;

__attribute__((constructor)) static void use_this_cpu(void)
{
    canto_test_device = canto_device_cpu();
}

bool canto_test_wants(const canto_cpu_level *level)
{
    return level->works() && (!getenv("CANTO_ISA") || level == canto_cpu_level_now());
}

int canto_test_at_levels(const struct CMUnitTest *tests, size_t tests_n,
                         const canto_device **device)
{
    int failed = 0;
    for (const canto_cpu_level *level = canto_cpu_levels; level->name; level++) {
        if (!canto_test_wants(level)) continue;
        *device = &level->device;
        failed += _cmocka_run_group_tests(level->name, tests, tests_n, NULL, NULL);
    }
    return failed;
}

void canto_test_upload(void *to, const void *from, size_t bytes)
{
    CANTO_TEST_OK(canto_device_upload(canto_test_device, to, from, bytes));
}

void canto_test_download(void *to, const void *from, size_t bytes)
{
    CANTO_TEST_OK(canto_device_download(canto_test_device, to, from, bytes));
}

float *canto_test_take_down(const float *from, int64_t count)
{
    const size_t bytes = (size_t)count * sizeof *from;
    float *copy = malloc(bytes + 1);
    assert_non_null(copy);
    canto_test_download(copy, from, bytes);
    return copy;
}

void canto_test_take_message(char out[CANTO_MESSAGE_MAX])
{
    snprintf(out, CANTO_MESSAGE_MAX, "%s", canto_error_message());
    canto_error_clear();
}

void canto_test_fails(canto_status expected, const char *words, const char *what,
                      canto_status status)
{
    char message[CANTO_MESSAGE_MAX];
    canto_test_take_message(message);
    if (status != expected || !strstr(message, words)) {
        fail_msg("%s: got '%s' (%s), expected '%s' with \"%s\"", what, canto_status_name(status),
                 message, canto_status_name(expected), words);
    }
}

double canto_test_error(int64_t n, const float *x, const double *ref)
{
    double largest = 0, error = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return INFINITY;
        largest = fmax(largest, fabs(ref[i]));
        error = fmax(error, fabs((double)x[i] - ref[i]));
    }
    return largest > 0 ? error / largest : error;
}

void canto_test_close(const char *what, int64_t n, const float *x, const double *ref,
                      double tolerance)
{
    double error = canto_test_error(n, x, ref);
    if (!(error <= tolerance))
        fail_msg("%s: error %.3g, tolerance %.3g (%lld numbers)", what, error, tolerance,
                 (long long)n);
}

double canto_test_forward_tolerance(int64_t tokens)
{
    return fmin(2e-6 * sqrt((double)tokens / 64 + 1), 2e-5);
}

void canto_test_fill(const char *name, int64_t n, float *x)
{
    uint64_t seed = canto_rng_seed(1, name);
    for (int64_t i = 0; i < n; i++) x[i] = canto_rng_normal(seed, CANTO_RNG_TEST, (uint64_t)i);
}
