#define _POSIX_C_SOURCE 200809L
#include "tests/launch/trained.h"

#include "runtime/rng.h"
#include "tests/canto_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_BYTES = 60000, LINE_MAX_BYTES = 300, OVERRIDES_MAX = 32 };

// Every rank writes a file of its own: the same bytes everywhere.
static void write_text(char path[64])
{
    strcpy(path, "/tmp/canto_trained_XXXXXX");
    int file = mkstemp(path);
    assert_true(file >= 0);
    FILE *stream = fdopen(file, "w");
    int64_t left = 0;
    for (uint64_t i = 0; i < TEXT_BYTES; i++, left--) {
        if (left == 0) left = 1 + canto_rng_below(5, CANTO_RNG_TEST, i, LINE_MAX_BYTES);
        char letter = (char)('a' + canto_rng_below(6, CANTO_RNG_TEST, i, 20));
        assert_true(fputc(left == 1 ? '\n' : letter, stream) != EOF);
    }
    assert_int_equal(fclose(stream), 0);
}

static void read_config(const char *text, const char *const *overrides, canto_config *out)
{
    char path[128];
    char *list[OVERRIDES_MAX] = {path, "train.steps=1000", "data.max_documents=200",
                                 "data.separator=\n"};
    int n = 4;
    snprintf(path, sizeof path, "data.path=%s", text);
    for (int i = 0; overrides[i]; i++) list[n++] = (char *)overrides[i];
    CANTO_TEST_OK(canto_config_read(NULL, n, list, out, NULL));
    CANTO_TEST_OK(canto_config_settle(NULL, out));
}

void trained_create(canto_comm *world, int dp, const char *const *overrides, trained *out)
{
    *out = (trained){.job = {.world = world, .device = canto_test_device}};
    write_text(out->text);
    read_config(out->text, overrides, &out->config);
    CANTO_TEST_OK(canto_mesh_create(world, canto_test_device, dp, 0, &out->job.mesh));
    CANTO_TEST_OK(canto_trainer_create(&out->config, &out->job, true, &out->trainer));
    CANTO_TEST_OK(canto_params_init(canto_model_params(out->trainer.model), 1));
}

void trained_destroy(trained *t)
{
    const canto_comm *lane = t->trainer.grad.comm;
    if (lane && lane->failed == CANTO_OK) CANTO_TEST_OK(canto_trainer_finish(&t->trainer));
    canto_trainer_destroy(&t->trainer);
    canto_mesh_destroy(&t->job.mesh);
    unlink(t->text);
}
