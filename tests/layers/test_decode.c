// Decoding: a text fed at once, in chunks or token by token gives the logits of the double
// reference at every position.
#include "tests/canto_test.h"
#include "tests/layers/models.h"
#include "tests/ref/model.h"
#include "tests/ref/widen.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENS = 41, CHUNK = 16, VOCAB = 13 };

typedef struct decoding {
    canto_model_config config;
    canto_arenas arenas;
    canto_decoder *decoder;
    int32_t tokens[TOKENS], targets[TOKENS];
} decoding;

static void make(decoding *d, int64_t capacity)
{
    CANTO_TEST_OK(canto_decoder_create(&d->arenas, &d->config, canto_test_device, capacity, CHUNK,
                                       &d->decoder));
}

static void open_decoding(decoding *d, int which, int64_t capacity)
{
    *d = (decoding){0};
    models_config(which, &d->config);
    models_text(&d->config, TOKENS, 0, NULL, d->tokens, d->targets);
    CANTO_TEST_OK(canto_arenas_measure(&d->arenas));
    make(d, capacity);
    canto_decoder_destroy(&d->decoder);
    const canto_arenas sizes = d->arenas;
    canto_arenas_destroy(&d->arenas);
    CANTO_TEST_OK(canto_arenas_allocate(&d->arenas, canto_test_device, &sizes));
    make(d, capacity);
    canto_params *params = canto_decoder_params(d->decoder);
    models_values(params, params->values);
}

static void close_decoding(decoding *d)
{
    canto_decoder_destroy(&d->decoder);
    canto_arenas_destroy(&d->arenas);
}

static void reference_logits(const decoding *d, double *logits)
{
    static const int64_t starts[] = {0};
    const canto_params *params = canto_decoder_params(d->decoder);
    const int64_t count = canto_params_count(params);
    double *values = malloc((size_t)count * sizeof *values);
    canto_ref_widen(count, params->values, values);
    const canto_ref_model ref = {&d->config, params, values, {1, starts}, TOKENS, d->tokens, NULL};
    canto_ref_model_logits(&ref, logits);
    free(values);
}

// Feeds the text in runs of `run` tokens and compares the logits after each.
static void check_runs(decoding *d, const char *what, int64_t run, const double *expected)
{
    float logits[VOCAB];
    canto_decoder_reset(d->decoder);
    for (int64_t t = 0; t < TOKENS; t += run) {
        const int64_t n = TOKENS - t < run ? TOKENS - t : run;
        CANTO_TEST_OK(canto_decoder_feed(d->decoder, n, d->tokens + t, logits));
        canto_test_close(what, VOCAB, logits, expected + (t + n - 1) * VOCAB, 1e-5);
    }
}

static void test_runs(void **state)
{
    (void)state;
    double expected[TOKENS * VOCAB];
    for (int which = 0; which < MODELS_N; which++) {
        decoding d;
        open_decoding(&d, which, TOKENS);
        reference_logits(&d, expected);
        check_runs(&d, models_name(which), 1, expected);
        check_runs(&d, models_name(which), 7, expected);
        check_runs(&d, models_name(which), TOKENS, expected); // more than a chunk
        close_decoding(&d);
    }
}

static void test_capacity(void **state)
{
    (void)state;
    decoding d;
    double expected[TOKENS * VOCAB];
    float logits[VOCAB];
    open_decoding(&d, 0, 20);
    reference_logits(&d, expected);
    CANTO_TEST_OK(canto_decoder_feed(d.decoder, 18, d.tokens, logits));
    CANTO_TEST_FAILS(CANTO_ERROR_CAPACITY, "3 tokens after 18 exceed the capacity of 20",
                     canto_decoder_feed(d.decoder, 3, d.tokens + 18, logits));
    CANTO_TEST_OK(canto_decoder_feed(d.decoder, 2, d.tokens + 18, logits));
    canto_test_close("after a refusal", VOCAB, logits, expected + 19 * VOCAB, 1e-5);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "nothing to feed",
                     canto_decoder_feed(d.decoder, 0, d.tokens, logits));
    close_decoding(&d);
}

static void feed_on(const canto_device *device, int which, float logits[VOCAB])
{
    const canto_device *before = canto_test_device;
    decoding d;
    canto_test_device = device;
    open_decoding(&d, which, TOKENS);
    for (int64_t t = 0; t < TOKENS; t += 7) {
        const int64_t n = TOKENS - t < 7 ? TOKENS - t : 7;
        CANTO_TEST_OK(canto_decoder_feed(d.decoder, n, d.tokens + t, logits));
    }
    close_decoding(&d);
    canto_test_device = before;
}

// The shadow has the cpu's kernels: whatever differs is a mistake in the use of a device.
static void test_shadow(void **state)
{
    (void)state;
    const canto_backend *backend = canto_backend_find("shadow");
    if (!backend) skip();
    for (int which = 0; which < MODELS_N; which++) {
        for (int seed = 0; seed < 3; seed++) {
            const canto_device *device;
            float logits[VOCAB], expected[VOCAB];
            feed_on(canto_device_cpu(), which, expected);
            CANTO_TEST_OK(canto_device_open(backend, seed, &device));
            feed_on(device, which, logits);
            CANTO_TEST_OK(canto_device_close(&device));
            assert_memory_equal(logits, expected, sizeof logits);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_runs), cmocka_unit_test(test_shadow),
                                       cmocka_unit_test(test_capacity)};
    return cmocka_run_group_tests_name("layers.decode", tests, NULL, NULL);
}
