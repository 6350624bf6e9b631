// The CUDA device of one rank, on the doubles: opening and its failures, copies through the staging
// buffer, products, and errors of queued work.
#include "tests/canto_test.h"

#include "runtime/device.h"
#include "runtime/cuda/cuda_device.h"
#include "tests/doubles/doubles.h"

#include <cublas_v2.h>
#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 1 << 20, PIECES = 8 };

static const canto_device *open_device(void)
{
    const canto_device *device;
    CANTO_TEST_OK(canto_device_open(canto_backend_find("cuda"), 0, &device));
    return device;
}

static void *take(const canto_device *device, size_t bytes)
{
    void *out;
    CANTO_TEST_OK(canto_device_alloc(device, bytes, &out));
    assert_int_equal((intptr_t)out % 64, 0);
    return out;
}

static int start(void **state)
{
    (void)state;
    canto_doubles_forget();
    canto_doubles_devices(8, 9);
    return 0;
}

static int nothing_is_left(void **state)
{
    (void)state;
    assert_int_equal(canto_doubles_open_objects(), 0);
    assert_int_equal(canto_doubles_state.memory.blocks_n, 0);
    return 0;
}

// --- opening ---

static void expect_refused(int ordinal, canto_status status, const char *words)
{
    const canto_device *device;
    CANTO_TEST_FAILS(status, words,
                     canto_device_open(canto_backend_find("cuda"), ordinal, &device));
    assert_null(device);
}

static void no_device_is_a_sentence(void **state)
{
    (void)state;
    canto_doubles_devices(0, 9);
    expect_refused(0, CANTO_ERROR_UNSUPPORTED, "cudaGetDeviceCount says: no CUDA-capable device");
    canto_doubles_fail("cudaGetDeviceCount", 1, cudaErrorInsufficientDriver);
    expect_refused(0, CANTO_ERROR_UNSUPPORTED, "no NVIDIA driver here, or it is older");
    canto_doubles_devices(2, 9);
    expect_refused(2, CANTO_ERROR_UNSUPPORTED, "2 GPUs, and its rank 2 wants one of its own");
    canto_doubles_devices(2, 7);
    expect_refused(1, CANTO_ERROR_UNSUPPORTED, "too old: it has compute capability 7.0");
}

static void a_rank_that_sees_one_device_takes_it(void **state)
{
    (void)state;
    canto_doubles_devices(1, 8);
    const canto_device *device;
    CANTO_TEST_OK(canto_device_open(canto_backend_find("cuda"), 3, &device));
    CANTO_TEST_OK(canto_device_close(&device));
}

static void whatever_fails_while_opening_leaves_nothing(void **state)
{
    (void)state;
    static const char *const calls[] = {
        "cudaGetDeviceProperties",  "cudaSetDevice",     "cudaStreamCreateWithFlags",
        "cudaEventCreateWithFlags", "cudaMallocHost",    "cudaMalloc",
        "cudaMemsetAsync",          "cublasCreate_v2",   "cublasSetStream_v2",
        "cublasSetWorkspace_v2",    "cublasSetMathMode",
    };
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (int n = 1; n <= 2; n++) {
            const canto_device *device;
            canto_doubles_forget();
            canto_doubles_fail(calls[i], n, 1);
            canto_status status = canto_device_open(canto_backend_find("cuda"), 0, &device);
            if (n == 1) assert_int_not_equal(status, CANTO_OK);
            if (status == CANTO_OK) {
                CANTO_TEST_OK(canto_device_close(&device));
            } else {
                CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "was made to fail", status);
                assert_null(device);
            }
            nothing_is_left(NULL);
        }
    }
}

// --- memory ---

static void memory_is_zero_and_the_end_is_told(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    char bytes[100];
    char *at = take(device, sizeof bytes);
    CANTO_TEST_OK(canto_device_download(device, bytes, at, sizeof bytes));
    for (size_t i = 0; i < sizeof bytes; i++) assert_int_equal(bytes[i], 0);
    canto_device_release(device, at, sizeof bytes);
    canto_doubles_fail("cudaMalloc", 1, cudaErrorMemoryAllocation);
    void *none;
    CANTO_TEST_FAILS(CANTO_ERROR_MEMORY, "has 1048576 of its 1073741824 bytes free, 77 are wanted",
                     canto_device_alloc(device, 77, &none));
    assert_null(none);
    CANTO_TEST_OK(canto_device_close(&device));
}

static unsigned char pattern(size_t i, int round)
{
    return (unsigned char)(i * 31 + i / 251 + (size_t)round);
}

// More than the staging buffer holds, from memory that changes at once.
static void copies_of_any_length_come_back(void **state)
{
    (void)state;
    static const size_t lengths[] = {1, PIECE - 1, PIECE, PIECE + 1, PIECES * PIECE + 12345};
    const canto_device *device = open_device();
    for (int round = 0; round < 5; round++) {
        const size_t n = lengths[round];
        unsigned char *const from = malloc(n), *const to = malloc(n);
        unsigned char *const at = take(device, n);
        for (size_t i = 0; i < n; i++) from[i] = pattern(i, round);
        CANTO_TEST_OK(canto_device_upload(device, at, from, n));
        memset(from, 0xee, n);
        CANTO_TEST_OK(canto_device_download(device, to, at, n));
        for (size_t i = 0; i < n; i++) assert_int_equal(to[i], pattern(i, round));
        canto_device_release(device, at, n);
        free(from);
        free(to);
    }
    CANTO_TEST_OK(canto_device_close(&device));
}

// Many uploads are under way at a time: each has its own piece until its copy is done.
static void uploads_do_not_overtake_each_other(void **state)
{
    (void)state;
    enum { N = 50 };
    const canto_device *device = open_device();
    int *const at = take(device, N * sizeof *at);
    for (int i = 0; i < N; i++) CANTO_TEST_OK(canto_device_upload(device, at + i, &i, sizeof i));
    int back[N];
    CANTO_TEST_OK(canto_device_download(device, back, at, sizeof back));
    for (int i = 0; i < N; i++) assert_int_equal(back[i], i);
    canto_device_release(device, at, N * sizeof *at);
    CANTO_TEST_OK(canto_device_close(&device));
}

// --- products ---

enum { MATRIX_MAX = 256 };

static void multiply(const canto_gemm_shape *p, const float *a, const float *b, const float *c,
                     double *out)
{
    for (int64_t i = 0; i < p->m; i++) {
        for (int64_t j = 0; j < p->n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < p->k; l++)
                sum += (double)(p->trans_a ? a[l * p->lda + i] : a[i * p->lda + l]) *
                       (p->trans_b ? b[j * p->ldb + l] : b[l * p->ldb + j]);
            out[i * p->n + j] = sum + (p->adds ? c[i * p->ldc + j] : 0);
        }
    }
}

static void expect_product(const canto_device *device, const canto_gemm_shape *p, float *at[3])
{
    float host[3][MATRIX_MAX], got[MATRIX_MAX], dense[MATRIX_MAX];
    double ref[MATRIX_MAX];
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        canto_test_fill(names[i], MATRIX_MAX, host[i]);
        CANTO_TEST_OK(canto_device_upload(device, at[i], host[i], sizeof host[i]));
    }
    device->kernels->gemm(device, p, at[0], at[1], at[2]);
    CANTO_TEST_OK(canto_device_download(device, got, at[2], sizeof got));
    multiply(p, host[0], host[1], host[2], ref);
    for (int64_t i = 0; i < p->m * p->n; i++) dense[i] = got[i / p->n * p->ldc + i % p->n];
    canto_test_close("product", p->m * p->n, dense, ref, 1e-6);
}

static void products_are_row_major(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    float *at[3];
    for (int i = 0; i < 3; i++) at[i] = take(device, MATRIX_MAX * sizeof(float));
    for (int i = 0; i < 16; i++) {
        canto_gemm_shape p = {
            .trans_a = i & 1, .trans_b = i & 2, .adds = i & 8, .m = 3, .n = 5, .k = i & 4 ? 7 : 0};
        p.lda = (p.trans_a ? p.m : p.k) + 2;
        p.ldb = (p.trans_b ? p.k : p.n) + 1;
        p.ldc = p.n + 3;
        expect_product(device, &p, at);
    }
    const canto_gemm_shape empty = {.n = 5, .k = 7, .lda = 7, .ldb = 5, .ldc = 5};
    device->kernels->gemm(device, &empty, at[0], at[1], at[2]);
    CANTO_TEST_OK(canto_device_finish(device));
    for (int i = 0; i < 3; i++) canto_device_release(device, at[i], MATRIX_MAX * sizeof(float));
    CANTO_TEST_OK(canto_device_close(&device));
}

// --- errors of queued work ---

static void an_error_of_cublas_is_told_until_the_end(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    float *const x = take(device, 64);
    canto_doubles_fail("cublasSgemm_v2_64", 1, CUBLAS_STATUS_EXECUTION_FAILED);
    const canto_gemm_shape small = {.m = 2, .n = 2, .k = 2, .lda = 2, .ldb = 2, .ldc = 2};
    device->kernels->gemm(device, &small, x, x + 4, x + 8);
    for (int i = 0; i < 2; i++)
        CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "gemm: cuBLAS: cublasSgemm_v2_64 was made to fail",
                         canto_device_finish(device));
    float back;
    CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "gemm", canto_device_download(device, &back, x, 4));
    CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "gemm", canto_device_upload(device, x, &back, 4));
    canto_device_release(device, x, 64);
    CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "gemm", canto_device_close(&device));
}

static void a_kernel_that_cannot_be_queued_is_named(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    canto_doubles_fail("cudaGetLastError", 1, cudaErrorNoKernelImageForDevice);
    canto_cuda_launched(device, "rope");
    CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "the kernel rope could not be queued",
                     canto_device_finish(device));
    CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "rope", canto_device_close(&device));
}

static void an_event_that_fails_ends_the_wait(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    canto_cuda_launched(device, "norm_forward");
    canto_doubles_fail("cudaEventQuery", 1, cudaErrorIllegalAddress);
    CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "last kernel in the queue was norm_forward",
                     canto_device_finish(device));
    CANTO_TEST_OK(canto_device_close(&device));
}

static void the_table_on_doubles_is_complete(void **state)
{
    (void)state;
    assert_null(canto_kernels_missing(canto_backend_find("cuda")->kernels));
}

// Last: work of the doubles that fails stays failed.
static void host_memory_is_not_device_memory(void **state)
{
    (void)state;
    const canto_device *device = open_device();
    float host[4];
    device->kernels->fill(device, 4, 1, host);
    CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "is not memory of this device",
                     canto_device_finish(device));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, nothing_is_left)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_device_is_a_sentence),
        TEST(a_rank_that_sees_one_device_takes_it),
        TEST(whatever_fails_while_opening_leaves_nothing),
        TEST(memory_is_zero_and_the_end_is_told),
        TEST(copies_of_any_length_come_back),
        TEST(uploads_do_not_overtake_each_other),
        TEST(products_are_row_major),
        TEST(an_error_of_cublas_is_told_until_the_end),
        TEST(a_kernel_that_cannot_be_queued_is_named),
        TEST(an_event_that_fails_ends_the_wait),
        cmocka_unit_test(the_table_on_doubles_is_complete),
        cmocka_unit_test(host_memory_is_not_device_memory),
    };
    return cmocka_run_group_tests_name("cuda", tests, NULL, NULL);
}
