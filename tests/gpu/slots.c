// Every kernel that a device has, against the cpu's on the same inputs. With --missing it prints
// the first kernel that the device lacks, or nothing. Exit status 77, with the reason, if there is
// no device.
#include "tests/canto_test.h"

#include "runtime/kernel_slots.h"
#include "tests/gpu/slots.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77, ARRAYS_MAX = 7 };

// Shapes: not of whole blocks, and more than a small grid holds.
enum { N = 5003, ROWS = 37, WIDTH = 301, STRIDE = 320, HEADS = 3, DIM = 10, TOKENS = 97 };
enum { VOCABULARY = 53, TILE = 30 };
enum { ALL = ROWS * STRIDE };

typedef struct array {
    char type; // 'f' normal numbers, 'p' positive ones, 't' tokens, 'g' targets, 'd' doubles
    int64_t count;
} array;

typedef struct slot_case {
    const char *slot;
    array arrays[ARRAYS_MAX];
    void (*call)(const canto_device *device, void **a);
    double tolerance; // 0: to the bit
} slot_case;

static const canto_device *device;

static size_t bytes_of(const array *a)
{
    return (size_t)a->count * (a->type == 'd' ? sizeof(double) : sizeof(float));
}

// --- the calls ---

static void gemm(const canto_device *d, void **a)
{
    canto_gemm_shape shape = {
        .trans_b = true, .m = 31, .n = 17, .k = 23, .lda = 25, .ldb = 24, .ldc = 20};
    d->kernels->gemm(d, &shape, a[0], a[1], a[2]);
    shape = (canto_gemm_shape){
        .trans_a = true, .adds = true, .m = 31, .n = 17, .k = 23, .lda = 31, .ldb = 17, .ldc = 17};
    d->kernels->gemm(d, &shape, a[0], a[1], a[2]);
}

static void norm_forward(const canto_device *d, void **a)
{
    d->kernels->norm_forward(d, ROWS, WIDTH, 1e-5f, a[0], a[1], a[2], a[3]);
    d->kernels->norm_forward(d, ROWS, WIDTH, 1e-5f, a[2], NULL, a[2], a[3]);
}

static void norm_backward(const canto_device *d, void **a)
{
    d->kernels->norm_backward(d, ROWS, WIDTH, a[0], a[1], a[2], a[3], a[4], a[5]);
    d->kernels->norm_backward(d, ROWS, WIDTH, a[0], NULL, a[2], a[3], a[4], NULL);
}

static void glu_forward(const canto_device *d, void **a)
{
    d->kernels->glu_forward(d, N, a[0], a[1], a[2]);
}

static void glu_backward(const canto_device *d, void **a)
{
    d->kernels->glu_backward(d, N, a[0], a[1], a[2], a[3], a[4]);
}

static void feature_forward(const canto_device *d, void **a)
{
    for (int f = CANTO_FEATURE_IDENTITY; f <= CANTO_FEATURE_SILU; f++)
        d->kernels->feature_forward(d, (canto_feature)f, ROWS, WIDTH, STRIDE, a[0], a[f + 1]);
    d->kernels->feature_forward(d, CANTO_FEATURE_SILU, ROWS, WIDTH, STRIDE, a[0], a[0]);
}

static void feature_backward(const canto_device *d, void **a)
{
    for (int f = CANTO_FEATURE_IDENTITY; f <= CANTO_FEATURE_SILU; f++)
        d->kernels->feature_backward(d, (canto_feature)f, ROWS, WIDTH, STRIDE, a[0], a[1],
                                     a[f + 2]);
    d->kernels->feature_backward(d, CANTO_FEATURE_ELU1, ROWS, WIDTH, STRIDE, a[0], a[1], a[1]);
}

static void rope(const canto_device *d, void **a)
{
    d->kernels->rope(d, ROWS, HEADS, DIM, STRIDE, a[0], 1, a[1]);
    d->kernels->rope(d, ROWS, HEADS, DIM, STRIDE, a[0], -1, a[2]);
}

static void embed_forward(const canto_device *d, void **a)
{
    d->kernels->embed_forward(d, TOKENS, WIDTH, a[0], a[1], a[2]);
}

static void embed_backward(const canto_device *d, void **a)
{
    d->kernels->embed_backward(d, TOKENS, WIDTH, a[0], a[1], a[2]);
}

// Two tiles of the vocabulary, the second one narrower.
static void loss_tile(const canto_device *d, void **a)
{
    d->kernels->fill(d, TOKENS, -INFINITY, a[3]);
    d->kernels->loss_tile(d, TOKENS, TILE, 0, a[0], a[2], a[3], a[4]);
    d->kernels->loss_tile(d, TOKENS, VOCABULARY - TILE, TILE, a[1], a[2], a[3], a[4]);
}

static void loss_sum(const canto_device *d, void **a)
{
    d->kernels->loss_sum(d, TOKENS, a[0], a[1], a[2], a[3]);
}

static void loss_tile_backward(const canto_device *d, void **a)
{
    d->kernels->loss_tile_backward(d, TOKENS, VOCABULARY - TILE, TILE, a[0], a[1], 0.25f, a[2]);
}

static void fill(const canto_device *d, void **a)
{
    d->kernels->fill(d, N, 2.5f, a[0]);
    d->kernels->fill(d, 0, 3.5f, a[0]);
}

static void add(const canto_device *d, void **a)
{
    d->kernels->add(d, N, a[0], a[1]);
}

static void multiply(const canto_device *d, void **a)
{
    d->kernels->multiply(d, N, a[0], a[1], a[2]);
    d->kernels->multiply(d, N, a[0], a[1], a[1]);
}

static void scale(const canto_device *d, void **a)
{
    d->kernels->scale(d, N, -1.25f, a[0]);
}

static void copy(const canto_device *d, void **a)
{
    d->kernels->copy(d, N, a[0], a[1]);
}

static void narrow(const canto_device *d, void **a)
{
    d->kernels->narrow(d, ROWS, WIDTH, STRIDE, a[0], a[1]);
}

static void sum_squares(const canto_device *d, void **a)
{
    d->kernels->sum_squares(d, N, a[0], a[1]);
    d->kernels->sum_squares(d, 1, a[0], a[1]);
}

static void adamw(const canto_device *d, void **a)
{
    const canto_adamw how = {.lr = 0.01f,
                             .beta1 = 0.9f,
                             .beta2 = 0.95f,
                             .eps = 1e-8f,
                             .weight_decay = 0.1f,
                             .grad_scale = 0.5f,
                             .correction1 = 0.19f,
                             .correction2 = 0.0975f};
    d->kernels->adamw(d, N, &how, a[0], a[1], a[2], a[3]);
}

static const slot_case cases[] = {
    {"gemm", {{'f', 1000}, {'f', 1000}, {'f', 1000}}, gemm, 1e-5},
    {"norm_forward", {{'f', ALL}, {'f', WIDTH}, {'f', ALL}, {'f', ROWS}}, norm_forward, 1e-6},
    {"norm_backward",
     {{'f', ALL}, {'f', WIDTH}, {'p', ROWS}, {'f', ALL}, {'f', ALL}, {'f', WIDTH}},
     norm_backward,
     1e-5},
    {"glu_forward", {{'f', N}, {'f', N}, {'f', N}}, glu_forward, 1e-6},
    {"glu_backward", {{'f', N}, {'f', N}, {'f', N}, {'f', N}, {'f', N}}, glu_backward, 1e-6},
    {"feature_forward", {{'f', ALL}, {'f', ALL}, {'f', ALL}, {'f', ALL}}, feature_forward, 1e-6},
    {"feature_backward",
     {{'f', ALL}, {'f', ALL}, {'f', ALL}, {'f', ALL}, {'f', ALL}},
     feature_backward,
     1e-6},
    {"rope", {{'f', ROWS *DIM}, {'f', ALL}, {'f', ALL}}, rope, 1e-6},
    {"embed_forward",
     {{'t', TOKENS}, {'f', VOCABULARY *WIDTH}, {'f', TOKENS *WIDTH}},
     embed_forward,
     0},
    {"embed_backward",
     {{'t', TOKENS}, {'f', TOKENS *WIDTH}, {'f', VOCABULARY *WIDTH}},
     embed_backward,
     1e-6},
    {"loss_tile",
     {{'f', TOKENS *TILE}, {'f', TOKENS *TILE}, {'g', TOKENS}, {'f', TOKENS}, {'f', TOKENS}},
     loss_tile,
     1e-6},
    {"loss_sum", {{'g', TOKENS}, {'f', TOKENS}, {'f', TOKENS}, {'d', 1}}, loss_sum, 1e-12},
    {"loss_tile_backward",
     {{'g', TOKENS}, {'p', TOKENS}, {'f', TOKENS *TILE}},
     loss_tile_backward,
     1e-6},
    {"fill", {{'f', N + 1}}, fill, 0},
    {"add", {{'f', N}, {'f', N + 1}}, add, 0},
    {"multiply", {{'f', N}, {'f', N}, {'f', N + 1}}, multiply, 0},
    {"scale", {{'f', N + 1}}, scale, 0},
    {"copy", {{'f', N}, {'f', N + 1}}, copy, 0},
    {"narrow", {{'f', ALL}, {'f', ROWS *WIDTH / 2}}, narrow, 0}, // two numbers in the room of one
    {"sum_squares", {{'f', N}, {'d', 1}}, sum_squares, 1e-12},
    {"adamw", {{'f', N}, {'f', N}, {'f', N}, {'p', N}}, adamw, 1e-6},
};
enum { CASES = sizeof cases / sizeof *cases };

// --- comparison ---

static void make_input(const array *a, int index, void *out)
{
    char name[8];
    snprintf(name, sizeof name, "in %d", index);
    float *const numbers = malloc((size_t)a->count * sizeof *numbers);
    canto_test_fill(name, a->count, numbers);
    for (int64_t i = 0; i < a->count; i++) {
        const int token = (int)(fabsf(numbers[i]) * 1000) % VOCABULARY;
        if (a->type == 'f') ((float *)out)[i] = numbers[i];
        if (a->type == 'p') ((float *)out)[i] = fabsf(numbers[i]) + 0.1f;
        if (a->type == 't') ((int32_t *)out)[i] = token;
        if (a->type == 'g') ((int32_t *)out)[i] = i % 5 == 0 ? -1 : token;
        if (a->type == 'd') ((double *)out)[i] = numbers[i];
    }
    free(numbers);
}

// The case's arrays after its call on this device, for the caller to free.
static void run_case(const slot_case *it, const canto_device *on, void *results[ARRAYS_MAX])
{
    void *places[ARRAYS_MAX] = {NULL};
    for (int i = 0; it->arrays[i].count > 0; i++) {
        results[i] = malloc(bytes_of(&it->arrays[i]));
        make_input(&it->arrays[i], i, results[i]);
        CANTO_TEST_OK(canto_device_alloc(on, bytes_of(&it->arrays[i]), &places[i]));
        CANTO_TEST_OK(canto_device_upload(on, places[i], results[i], bytes_of(&it->arrays[i])));
    }
    it->call(on, places);
    for (int i = 0; it->arrays[i].count > 0; i++) {
        const size_t bytes = bytes_of(&it->arrays[i]);
        CANTO_TEST_OK(canto_device_download(on, results[i], places[i], bytes));
        canto_device_release(on, places[i], bytes);
    }
}

static double number(const array *a, const void *data, int64_t i)
{
    if (a->type == 'd') return ((const double *)data)[i];
    if (a->type == 'f' || a->type == 'p') return ((const float *)data)[i];
    return ((const int32_t *)data)[i];
}

static void expect_close(const slot_case *it, int index, const void *got, const void *wanted)
{
    const array *a = &it->arrays[index];
    double largest = 0, error = 0;
    for (int64_t i = 0; i < a->count; i++) {
        const double x = number(a, got, i), ref = number(a, wanted, i);
        if (!isfinite(x))
            fail_msg("%s, array %d: number %lld is %g", it->slot, index, (long long)i, x);
        largest = fmax(largest, fabs(ref));
        error = fmax(error, fabs(x - ref));
    }
    if (error > it->tolerance * largest)
        fail_msg("%s, array %d: error %.3g of %.3g", it->slot, index, error, largest);
}

// Twice, to the same bits.
static void every_kernel_is_the_cpus(void **state)
{
    (void)state;
    for (int c = 0; c < CASES; c++) {
        const slot_case *it = &cases[c];
        void *wanted[ARRAYS_MAX], *got[ARRAYS_MAX], *again[ARRAYS_MAX];
        run_case(it, canto_device_cpu(), wanted);
        run_case(it, device, got);
        run_case(it, device, again);
        for (int i = 0; it->arrays[i].count > 0; i++) {
            expect_close(it, i, got[i], wanted[i]);
            assert_memory_equal(got[i], again[i], bytes_of(&it->arrays[i]));
            free(wanted[i]);
            free(got[i]);
            free(again[i]);
        }
    }
}

// A logit that is no number, in the first tile or the second, makes its row's loss none.
static void expect_nan_in_lse(const canto_device *on)
{
    enum { COUNT = 3 * TILE };
    float logits[2][COUNT], lse[3] = {-INFINITY, -INFINITY, -INFINITY};
    float *places[5];
    const int32_t targets[3] = {1, 1, 1};
    for (int i = 0; i < COUNT; i++) logits[0][i] = logits[1][i] = 0.1f * (float)i;
    logits[0][7] = logits[1][TILE + 7] = NAN; // rows 0 and 1
    for (int i = 0; i < 5; i++)
        CANTO_TEST_OK(canto_device_alloc(on, sizeof logits[0], (void **)&places[i]));
    CANTO_TEST_OK(canto_device_upload(on, places[0], logits[0], sizeof logits[0]));
    CANTO_TEST_OK(canto_device_upload(on, places[1], logits[1], sizeof logits[1]));
    CANTO_TEST_OK(canto_device_upload(on, places[2], lse, sizeof lse));
    CANTO_TEST_OK(canto_device_upload(on, places[3], targets, sizeof targets));
    for (int i = 0; i < 2; i++)
        on->kernels->loss_tile(on, 3, TILE, i * TILE, places[i], (const int32_t *)places[3],
                               places[2], places[4]);
    CANTO_TEST_OK(canto_device_download(on, lse, places[2], sizeof lse));
    for (int i = 0; i < 5; i++) canto_device_release(on, places[i], sizeof logits[0]);
    assert_true(isnan(lse[0]) && isnan(lse[1]) && isfinite(lse[2]));
}

static void a_loss_hides_no_nan(void **state)
{
    (void)state;
    expect_nan_in_lse(canto_device_cpu());
    if (device->kernels->loss_tile) expect_nan_in_lse(device);
}

// A kernel that a device gets brings its case.
static void every_kernel_has_a_case(void **state)
{
    (void)state;
    for (const canto_kernel_slot *slot = canto_kernel_slots; slot->name; slot++) {
        void (*function)(void);
        memcpy(&function, (const char *)device->kernels + slot->offset, sizeof function);
        bool found = !function || !slot->arguments;
        for (int c = 0; c < CASES; c++) found = found || strcmp(cases[c].slot, slot->name) == 0;
        if (!found) fail_msg("kernel %s has no case in tests/gpu/slots.c", slot->name);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_is_the_cpus),
        cmocka_unit_test(a_loss_hides_no_nan),
        cmocka_unit_test(every_kernel_has_a_case),
    };
    const canto_status status = canto_test_slots_open(&device);
    if (status != CANTO_OK) {
        printf("skipped: %s\n", canto_error_message());
        return status == CANTO_ERROR_UNSUPPORTED ? SKIPPED : 1;
    }
    if (argc > 1 && strcmp(argv[1], "--missing") == 0) {
        const char *missing = canto_kernels_missing(device->kernels);
        if (missing) printf("%s\n", missing);
        return 0;
    }
    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
