// Products, row-wise and element-wise kernels and the loss of the cpu backend against plain loops
// in double; gradients also by central differences of those loops.
#include "tests/ref/differences.h"
#include "tests/ref/rowwise.h"
#include "tests/runtime/numbers.h"

#include "runtime/cpu/exp.h"
#include "runtime/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const canto_device *device; // the cpu at the level under test

enum { ROWS = 37, WIDTH = 70, COUNT = ROWS * WIDTH };

static void test_exp(void **state)
{
    (void)state;
    double worst = 0;
    for (float x = -87.2f; x < 88.2f; x += 0.003f) {
        const double exact = exp((double)x);
        worst = fmax(worst, fabs((double)canto_cpu_exp(x) - exact) / exact);
    }
    assert_true(worst < 1.3e-7);
    assert_true(canto_cpu_exp(-INFINITY) == 0);
    assert_true(isinf(canto_cpu_exp(INFINITY)));
    assert_true(isnan(canto_cpu_exp(NAN)));
    assert_true(canto_cpu_exp(0) == 1);
}

static void check_norm(bool weighted)
{
    const double eps = 1e-5;
    float *x = numbers_random("x", COUNT);
    float *w = weighted ? numbers_random("w", WIDTH) : NULL;
    float *dy = numbers_random("dy", COUNT);
    float *dx = numbers_random("dx", COUNT);
    float dw[WIDTH] = {1};
    float y[COUNT], rstd[ROWS];
    double *wide_x = numbers_wide(COUNT, x), *wide_dy = numbers_wide(COUNT, dy),
           *ref_dx = numbers_wide(COUNT, dx);
    double *wide_w = weighted ? numbers_wide(WIDTH, w) : NULL;
    double ref_y[COUNT], ref_dw[WIDTH] = {1};
    canto_ref_norm(ROWS, WIDTH, eps, wide_x, wide_w, ref_y);
    canto_ref_norm_backward(ROWS, WIDTH, eps, wide_x, wide_w, wide_dy, ref_dx,
                            weighted ? ref_dw : NULL);
    device->kernels->norm_forward(device, ROWS, WIDTH, (float)eps, x, w, y, rstd);
    device->kernels->norm_backward(device, ROWS, WIDTH, x, w, rstd, dy, dx, weighted ? dw : NULL);
    canto_test_close("norm", COUNT, y, ref_y, 2e-6);
    canto_test_close("norm dx", COUNT, dx, ref_dx, 1e-5);
    if (weighted) canto_test_close("norm dw", WIDTH, dw, ref_dw, 1e-5);
    device->kernels->norm_forward(device, ROWS, WIDTH, (float)eps, x, w, x, rstd);
    assert_memory_equal(x, y, sizeof y);
    free(x), free(w), free(dy), free(dx);
    free(wide_x), free(wide_dy), free(ref_dx), free(wide_w);
}

static void test_norm(void **state)
{
    (void)state;
    check_norm(true);
    check_norm(false);
}

typedef struct norm_case {
    double x[COUNT], w[WIDTH], dy[COUNT];
} norm_case;

static double norm_scalar(void *context)
{
    const norm_case *c = context;
    double y[COUNT], sum = 0;
    canto_ref_norm(ROWS, WIDTH, 1e-5, c->x, c->w, y);
    for (int i = 0; i < COUNT; i++) sum += y[i] * c->dy[i];
    return sum;
}

static void fill_wide(const char *name, int64_t n, double *x)
{
    float *narrow = numbers_random(name, n);
    canto_ref_widen(n, narrow, x);
    free(narrow);
}

static void test_norm_reference(void **state)
{
    (void)state;
    norm_case c;
    double dx[COUNT] = {0}, dw[WIDTH] = {0};
    fill_wide("x", COUNT, c.x);
    fill_wide("w", WIDTH, c.w);
    fill_wide("dy", COUNT, c.dy);
    canto_ref_norm_backward(ROWS, WIDTH, 1e-5, c.x, c.w, c.dy, dx, dw);
    canto_differences_close("norm x", norm_scalar, &c, COUNT, c.x, dx);
    canto_differences_close("norm w", norm_scalar, &c, WIDTH, c.w, dw);
}

static void test_features(void **state)
{
    (void)state;
    enum { STRIDE = WIDTH + 9 };
    float *x = numbers_random("x", ROWS * STRIDE);
    float *dy = numbers_random("dy", ROWS * STRIDE);
    x[0] = 0, x[1] = -100, x[2] = 100;
    for (int f = CANTO_FEATURE_IDENTITY; f <= CANTO_FEATURE_SILU; f++) {
        float *y = numbers_random("y", ROWS * STRIDE), *dx = numbers_random("dx", ROWS * STRIDE);
        double *ref_y = numbers_wide(ROWS * STRIDE, y), *ref_dx = numbers_wide(ROWS * STRIDE, dx);
        for (int64_t i = 0; i < ROWS * STRIDE; i++) {
            if (i % STRIDE >= WIDTH) continue;
            ref_y[i] = canto_ref_feature(f, x[i]);
            ref_dx[i] = canto_ref_feature_slope(f, x[i]) * dy[i];
            const double h = 1e-4;
            const double slope =
                (canto_ref_feature(f, x[i] + h) - canto_ref_feature(f, x[i] - h)) / (2 * h);
            if (fabsf(x[i]) > 1e-3f)
                assert_true(fabs(slope - canto_ref_feature_slope(f, x[i])) < 1e-7);
        }
        device->kernels->feature_forward(device, f, ROWS, WIDTH, STRIDE, x, y);
        device->kernels->feature_backward(device, f, ROWS, WIDTH, STRIDE, x, dy, dx);
        canto_test_close("feature", ROWS * STRIDE, y, ref_y, 1e-6);
        canto_test_close("feature slope", ROWS * STRIDE, dx, ref_dx, 1e-6);
        free(y), free(dx), free(ref_y), free(ref_dx);
    }
    free(x), free(dy);
}

static void test_glu(void **state)
{
    (void)state;
    float *gate = numbers_random("gate", COUNT), *up = numbers_random("up", COUNT),
          *dy = numbers_random("dy", COUNT);
    float y[COUNT], dgate[COUNT], dup[COUNT];
    double ref_y[COUNT], ref_dgate[COUNT], ref_dup[COUNT];
    gate[0] = -100;
    for (int i = 0; i < COUNT; i++) {
        const double s = canto_ref_feature(CANTO_FEATURE_SILU, gate[i]);
        ref_y[i] = s * up[i];
        ref_dup[i] = s * dy[i];
        ref_dgate[i] = canto_ref_feature_slope(CANTO_FEATURE_SILU, gate[i]) * up[i] * dy[i];
    }
    device->kernels->glu_forward(device, COUNT, gate, up, y);
    device->kernels->glu_backward(device, COUNT, gate, up, dy, dgate, dup);
    canto_test_close("glu", COUNT, y, ref_y, 1e-6);
    canto_test_close("glu dgate", COUNT, dgate, ref_dgate, 1e-6);
    canto_test_close("glu dup", COUNT, dup, ref_dup, 1e-6);
    free(gate), free(up), free(dy);
}

static void test_rope(void **state)
{
    (void)state;
    enum { HEADS = 3, DIM = 10, STRIDE = HEADS * DIM + 4 };
    int64_t positions[ROWS];
    float table[ROWS * DIM];
    for (int t = 0; t < ROWS; t++) {
        positions[t] = 1000000 + 7 * t;
        for (int j = 0; j < DIM / 2; j++) {
            const double angle = (double)positions[t] * pow(10000, -2.0 * j / DIM);
            table[t * DIM + 2 * j] = (float)cos(angle);
            table[t * DIM + 2 * j + 1] = (float)sin(angle);
        }
    }
    float *x = numbers_random("x", ROWS * STRIDE);
    double *original = numbers_wide(ROWS * STRIDE, x), *turned = numbers_wide(ROWS * STRIDE, x);
    canto_ref_rope(ROWS, HEADS, DIM, STRIDE, positions, 10000, 1, turned);
    device->kernels->rope(device, ROWS, HEADS, DIM, STRIDE, table, 1, x);
    canto_test_close("rope", ROWS * STRIDE, x, turned, 1e-6);
    device->kernels->rope(device, ROWS, HEADS, DIM, STRIDE, table, -1, x);
    canto_test_close("rope back", ROWS * STRIDE, x, original, 1e-6);
    free(x), free(original), free(turned);
}

static void test_embed(void **state)
{
    (void)state;
    enum { VOCAB = 11 };
    float *table = numbers_random("table", VOCAB * WIDTH), *dy = numbers_random("dy", COUNT);
    float *dtable = numbers_random("dtable", VOCAB * WIDTH), y[COUNT];
    double *ref_dtable = numbers_wide(VOCAB * WIDTH, dtable);
    int32_t token[ROWS];
    for (int t = 0; t < ROWS; t++) {
        token[t] = t * t % VOCAB;
        for (int i = 0; i < WIDTH; i++) ref_dtable[token[t] * WIDTH + i] += dy[t * WIDTH + i];
    }
    device->kernels->embed_forward(device, ROWS, WIDTH, token, table, y);
    device->kernels->embed_backward(device, ROWS, WIDTH, token, dy, dtable);
    for (int t = 0; t < ROWS; t++)
        assert_memory_equal(y + t * WIDTH, table + token[t] * WIDTH, WIDTH * sizeof *y);
    canto_test_close("embed", VOCAB * WIDTH, dtable, ref_dtable, 1e-6);
    free(table), free(dy), free(dtable), free(ref_dtable);
}

// Tiles of any width give the loss and gradient of the whole row.
static void check_loss(int tile)
{
    float *logits = numbers_random("logits", COUNT);
    for (int i = 0; i < COUNT; i++) logits[i] *= 20;
    double *wide_logits = numbers_wide(COUNT, logits), ref_gradient[COUNT] = {0};
    int32_t target[ROWS];
    float lse[ROWS], picked[ROWS], gradient[COUNT];
    for (int t = 0; t < ROWS; t++) {
        target[t] = t % 5 == 4 ? -1 : t * 13 % WIDTH;
        lse[t] = -INFINITY;
    }
    const double ref = canto_ref_loss(ROWS, WIDTH, wide_logits, target, 0.25, ref_gradient);
    float *part = malloc(sizeof(float) * ROWS * (size_t)tile);
    for (int pass = 0; pass < 2; pass++) {
        for (int first = 0; first < WIDTH; first += tile) {
            const int n = WIDTH - first < tile ? WIDTH - first : tile;
            for (int i = 0; i < ROWS * n; i++) part[i] = logits[i / n * WIDTH + first + i % n];
            if (pass == 0) {
                device->kernels->loss_tile(device, ROWS, n, first, part, target, lse, picked);
                continue;
            }
            device->kernels->loss_tile_backward(device, ROWS, n, first, target, lse, 0.25f, part);
            for (int i = 0; i < ROWS * n; i++) gradient[i / n * WIDTH + first + i % n] = part[i];
        }
    }
    double loss = 0;
    for (int t = 0; t < ROWS; t++) loss += target[t] < 0 ? 0 : (double)lse[t] - picked[t];
    assert_true(fabs(loss - ref) <= 1e-6 * fabs(ref));
    canto_test_close("loss gradient", COUNT, gradient, ref_gradient, 2e-5);
    free(logits), free(wide_logits), free(part);
}

static void test_loss(void **state)
{
    (void)state;
    check_loss(1);
    check_loss(16);
    check_loss(WIDTH);
}

typedef struct loss_case {
    double logits[COUNT];
    int32_t target[ROWS];
} loss_case;

static double loss_scalar(void *context)
{
    const loss_case *c = context;
    return canto_ref_loss(ROWS, WIDTH, c->logits, c->target, 1, NULL);
}

static void test_loss_reference(void **state)
{
    (void)state;
    loss_case c;
    double gradient[COUNT] = {0};
    fill_wide("logits", COUNT, c.logits);
    for (int t = 0; t < ROWS; t++) c.target[t] = t % 3 - 1;
    canto_ref_loss(ROWS, WIDTH, c.logits, c.target, 1, gradient);
    canto_differences_close("loss", loss_scalar, &c, COUNT, c.logits, gradient);
}

static void test_arithmetic(void **state)
{
    (void)state;
    enum { N = 100003 };
    float *x = numbers_random("x", N), *y = numbers_random("y", N), *z = numbers_random("z", N);
    double sum = 0;
    for (int i = 0; i < N; i++) sum += (double)x[i] * x[i];
    double squares = 0;
    device->kernels->sum_squares(device, N, x, &squares);
    device->kernels->sum_squares(device, 0, x, &squares);
    assert_true(fabs(squares - sum) < 1e-12 * sum);
    const float x7 = x[7], y7 = y[7];
    device->kernels->multiply(device, N, x, y, z);
    assert_true(z[7] == x7 * y7);
    device->kernels->add(device, N, x, y);
    assert_true(y[7] == x7 + y7);
    device->kernels->scale(device, N, 3, x);
    assert_true(x[7] == 3 * x7);
    device->kernels->fill(device, N, -2, x);
    assert_true(x[0] == -2 && x[N - 1] == -2);
    free(x), free(y), free(z);
}

static void test_adamw(void **state)
{
    (void)state;
    const canto_adamw how = {.lr = 0.01f,
                             .beta1 = 0.9f,
                             .beta2 = 0.95f,
                             .eps = 1e-8f,
                             .weight_decay = 0.1f,
                             .grad_scale = 0.5f,
                             .correction1 = 0.19f,
                             .correction2 = 0.0975f};
    float *grad = numbers_random("grad", COUNT), *param = numbers_random("param", COUNT);
    float *first = numbers_random("first", COUNT), *second = numbers_random("second", COUNT);
    double ref_param[COUNT], ref_first[COUNT], ref_second[COUNT];
    for (int i = 0; i < COUNT; i++) {
        second[i] = fabsf(second[i]);
        const double g = 0.5 * grad[i];
        ref_first[i] = 0.9 * first[i] + 0.1 * g;
        ref_second[i] = 0.95 * second[i] + 0.05 * g * g;
        const double step = ref_first[i] / 0.19 / (sqrt(ref_second[i] / 0.0975) + 1e-8);
        ref_param[i] = param[i] - 0.01 * (step + 0.1 * param[i]);
    }
    device->kernels->adamw(device, COUNT, &how, grad, param, first, second);
    canto_test_close("adamw param", COUNT, param, ref_param, 1e-6);
    canto_test_close("adamw first", COUNT, first, ref_first, 1e-6);
    canto_test_close("adamw second", COUNT, second, ref_second, 1e-6);
    free(grad), free(param), free(first), free(second);
}

// Rows with large and small numbers; dx in the place of dy, dbias added to what is there.
static void test_log_sigmoid(void **state)
{
    (void)state;
    enum { LINES = 70, BIASES = 67, N = LINES * BIASES };
    float *x = numbers_random("x", N), *dy = numbers_random("dy", N), *y = numbers_random("y", N);
    float bias[BIASES], dbias[BIASES];
    double *ref = calloc(2 * N, sizeof *ref), *dref = ref + N, dbias_ref[BIASES];
    canto_test_fill("bias", BIASES, bias);
    canto_test_fill("dbias", BIASES, dbias);
    for (int i = 0; i < BIASES; i++) dbias_ref[i] = dbias[i];
    for (int i = 0; i < N; i++) {
        x[i] *= 12;
        const double sum = (double)(x[i] + bias[i % BIASES]);
        ref[i] = canto_ref_log_sigmoid(sum) / 16;
        dref[i] = dy[i] * canto_ref_log_sigmoid_slope(sum) / 16;
        dbias_ref[i % BIASES] += dref[i];
    }
    device->kernels->log_sigmoid_forward(device, LINES, BIASES, 16, x, bias, y);
    for (int i = 0; i < N; i++) assert_true(fabs(y[i] - ref[i]) <= 4e-7 * fabs(ref[i]));
    device->kernels->log_sigmoid_forward(device, LINES, BIASES, 16, x, bias, x);
    assert_memory_equal(x, y, N * sizeof *x);
    free(x);
    x = numbers_random("x", N);
    for (int i = 0; i < N; i++) x[i] *= 12;
    device->kernels->log_sigmoid_backward(device, LINES, BIASES, 16, x, bias, dy, dy, dbias);
    canto_test_close("dx", N, dy, dref, 1e-6);
    canto_test_close("dbias", BIASES, dbias, dbias_ref, 1e-6);
    free(x), free(y), free(dy), free(ref);
}

// A slot that is in the table and not in the backend would be a jump to nowhere.
static void test_every_slot_is_filled(void **state)
{
    (void)state;
    assert_null(canto_kernels_missing(canto_device_cpu()->kernels));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exp),
        cmocka_unit_test(test_norm),
        cmocka_unit_test(test_norm_reference),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_glu),
        cmocka_unit_test(test_rope),
        cmocka_unit_test(test_embed),
        cmocka_unit_test(test_loss),
        cmocka_unit_test(test_loss_reference),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_adamw),
        cmocka_unit_test(test_log_sigmoid),
        cmocka_unit_test(test_every_slot_is_filled),
    };
    return CANTO_TEST_AT_LEVELS(tests, &device);
}
