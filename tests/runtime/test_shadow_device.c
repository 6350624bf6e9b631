// The shadow as a device of one rank: what is asked for is done in order with the arguments of the
// call, whatever the caller changes afterwards; wrong pointers end in a sentence with the kernel's
// name; whoever is careful gets the cpu's bits.
#include "tests/allocations.h"
#include "tests/canto_test.h"

#include "runtime/kernel_slots.h"
#include "runtime/shadow/device.h"

#include <stdlib.h>
#include <string.h>

enum { N = 1000 };

static const canto_device *open_device(void)
{
    const canto_device *device;
    CANTO_TEST_OK(canto_device_open(canto_backend_find("shadow"), 0, &device));
    return device;
}

static void *alloc(const canto_device *device, size_t bytes)
{
    void *memory;
    CANTO_TEST_OK(canto_device_alloc(device, bytes, &memory));
    return memory;
}

static float *filled(const canto_device *device, const char *name, int64_t n)
{
    float *host = malloc(sizeof *host * (size_t)n), *at = alloc(device, sizeof *at * (size_t)n);
    canto_test_fill(name, n, host);
    CANTO_TEST_OK(canto_device_upload(device, at, host, sizeof *at * (size_t)n));
    memset(host, 0, sizeof *host * (size_t)n); // the upload has its own copy
    free(host);
    return at;
}

static void every_kernel_but_those_of_the_host_is_recorded(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    assert_null(canto_kernels_missing(device->kernels));
    assert_string_equal(device->kernels->name, "shadow");
    for (const canto_kernel_slot *slot = canto_kernel_slots; slot->name; slot++) {
        const bool same = memcmp((const char *)device->kernels + slot->offset,
                                 (const char *)canto_device_cpu()->kernels + slot->offset,
                                 sizeof(void (*)(void))) == 0;
        assert_int_equal(same, slot->arguments == NULL);
    }
    CANTO_TEST_OK(canto_device_close(&device));
    assert_null(device);
}

// A chain of kernels with every kind of argument.
static void run_chain(const canto_device *device, float out[N])
{
    const canto_kernels *k = device->kernels;
    float *x = filled(device, "x", N), *y = filled(device, "y", N), *z = filled(device, "z", N);
    float *m = filled(device, "m", N), *decay = filled(device, "decay", 2);
    double *sum = alloc(device, sizeof *sum);
    canto_adamw how = {.lr = 0.1f,
                       .beta1 = 0.9f,
                       .beta2 = 0.99f,
                       .eps = 1e-8f,
                       .grad_scale = 1,
                       .correction1 = 0.1f,
                       .correction2 = 0.01f};
    canto_attention_shape shape = {2, 1, 1, 4, 4, 0.5f};
    canto_band tile = {0, 10, 0, 10, CANTO_BAND_MIN, 0};
    canto_linear_shape linear = {.heads = 2, .kv_heads = 2, .key_dim = 3, .value_dim = 5};
    k->scale(device, 2, -1, decay);
    k->multiply(device, 2, decay, decay, decay);
    k->scale(device, 2, -1, decay);
    linear.log_decay = decay;
    canto_gemm_shape product = {
        .trans_b = true, .adds = true, .m = 10, .n = 20, .k = 30, .lda = 30, .ldb = 30, .ldc = 20};
    k->gemm(device, &product, x, y, z);
    memset(&product, 0xff, sizeof product);
    k->add(device, N, x, y);
    k->multiply(device, N, y, y, m);
    k->adamw(device, N, &how, x, y, z, m);
    k->attention_forward(device, &shape, &tile, x, y, z, m);
    canto_linear_run run = {.tokens = 20, .kv = x};
    k->linear_summary(device, &linear, &run, z);
    k->feature_forward(device, CANTO_FEATURE_SILU, 10, 10, 20, z, z);
    k->sum_squares(device, N, z, sum);
    memset(&how, 0xff, sizeof how), memset(&shape, 0xff, sizeof shape);
    memset(&run, 0xff, sizeof run);
    memset(&tile, 0xff, sizeof tile), memset(&linear, 0xff, sizeof linear);
    double found;
    CANTO_TEST_OK(canto_device_download(device, out, z, sizeof *out * N));
    CANTO_TEST_OK(canto_device_download(device, &found, sum, sizeof found));
    out[0] += (float)found;
    float *const all[] = {x, y, z, m};
    for (int i = 0; i < 4; i++) canto_device_release(device, all[i], sizeof *x * N);
    canto_device_release(device, decay, sizeof *decay * 2);
    canto_device_release(device, sum, sizeof *sum);
}

static void a_chain_of_kernels_has_the_cpus_bits(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    float found[N], expected[N];
    run_chain(canto_device_cpu(), expected);
    run_chain(device, found);
    assert_memory_equal(found, expected, sizeof found);
    CANTO_TEST_OK(canto_device_close(&device));
}

// Large, small and many; kernels read what was there when they were called.
static void copies_keep_the_order_of_the_queue(void **state)
{
    (void)state;
    enum { LARGE = 1 << 20 };
    const canto_device *device = open_device();
    static float host[LARGE], back[LARGE];
    float *x = alloc(device, sizeof host), *y = alloc(device, sizeof host);
    const int64_t before = canto_test_allocations();
    for (int round = 0; round < 3; round++) {
        canto_test_fill(round % 2 ? "a" : "b", LARGE, host);
        CANTO_TEST_OK(canto_device_upload(device, x, host, sizeof host));
        const float last = host[LARGE - 1];
        memset(host, 0, sizeof host);
        device->kernels->copy(device, LARGE, x, y);
        CANTO_TEST_OK(canto_device_upload(device, x, host, sizeof host));
        CANTO_TEST_OK(canto_device_download(device, back, y, sizeof back));
        canto_test_fill(round % 2 ? "a" : "b", LARGE, host);
        assert_true(back[LARGE - 1] == last);
        assert_memory_equal(host, back, sizeof host);
    }
    CANTO_TEST_OK(canto_device_download(device, &back[0], x + 12345, sizeof back[0]));
    assert_true(back[0] == 0);
    assert_int_equal(canto_test_allocations(), before);
    canto_device_release(device, x, sizeof host);
    canto_device_release(device, y, sizeof host);
    CANTO_TEST_OK(canto_device_close(&device));
}

// --- mistakes ---

static void expect_told(void (*mistake)(const canto_device *device, float *x), const char *words)
{
    const canto_device *device = open_device();
    float *x = alloc(device, sizeof *x * N), host;
    mistake(device, x);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, words, canto_device_finish(device));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, words, canto_device_download(device, &host, x, 4));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, words, canto_device_upload(device, x, &host, 4));
    canto_device_release(device, x, sizeof *x * N);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, words, canto_device_close(&device));
}

static void add_foreign(const canto_device *device, float *x)
{
    static float host[N];
    device->kernels->add(device, N, host, x);
}

static void add_behind_the_end(const canto_device *device, float *x)
{
    device->kernels->add(device, 0, x, x + N + 8); // columns of an empty array may start there
    device->kernels->add(device, 1, x, x + N + CANTO_SHADOW_GUARD);
}

static void summarise_with_decay_of_the_host(const canto_device *device, float *x)
{
    const float decay[] = {-1, -1};
    const canto_linear_shape shape = {
        .heads = 2, .kv_heads = 2, .key_dim = 3, .value_dim = 5, .log_decay = decay};
    const canto_linear_run run = {.tokens = 2, .kv = x};
    device->kernels->linear_summary(device, &shape, &run, x);
}

static void summarise_values_of_the_host(const canto_device *device, float *x)
{
    const float values[16] = {0};
    const canto_linear_shape shape = {.heads = 2, .kv_heads = 2, .key_dim = 3, .value_dim = 5};
    const canto_linear_run run = {.tokens = 1, .kv = values};
    device->kernels->linear_summary(device, &shape, &run, x);
}

static void forget_the_description(const canto_device *device, float *x)
{
    device->kernels->adamw(device, N, NULL, x, x, x, x);
}

static void release_twice(const canto_device *device, float *x)
{
    void *other = alloc(device, 100);
    (void)x;
    canto_device_release(device, other, 100);
    canto_device_release(device, other, 100);
}

static void wrong_pointers_are_named(void **state)
{
    (void)state;
    expect_told(add_foreign, "kernel add, argument 2:");
    expect_told(add_behind_the_end, "kernel add, argument 3:");
    expect_told(summarise_with_decay_of_the_host, "kernel linear_summary, argument 1:");
    expect_told(summarise_values_of_the_host, "kernel linear_summary, argument 2:");
    expect_told(forget_the_description, "kernel adamw, argument 2: NULL");
    expect_told(release_twice, "it was released before");
}

static void wrong_copies_are_refused(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    float *x = alloc(device, sizeof *x * N), host[2] = {0};
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "upload: 8 bytes at 3996 of an allocation of 4000",
                     canto_device_upload(device, x + N - 1, host, sizeof host));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT,
                     "download:", canto_device_download(device, host, host, sizeof host));
    CANTO_TEST_OK(canto_device_finish(device)); // nothing was queued
    canto_device_release(device, x, sizeof *x * N);
    CANTO_TEST_OK(canto_device_close(&device));
}

static void a_leak_is_told_when_the_device_is_closed(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    alloc(device, 100);
    alloc(device, 28);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "2 allocations of 128 bytes",
                     canto_device_close(&device));
    CANTO_TEST_OK(canto_device_close(&device)); // of none
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_kernel_but_those_of_the_host_is_recorded),
    cmocka_unit_test(a_chain_of_kernels_has_the_cpus_bits),
    cmocka_unit_test(copies_keep_the_order_of_the_queue),
    cmocka_unit_test(wrong_pointers_are_named),
    cmocka_unit_test(wrong_copies_are_refused),
    cmocka_unit_test(a_leak_is_told_when_the_device_is_closed),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
