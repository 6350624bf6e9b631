// The run directory: made with its parents, locked, and its configurations never overwritten; and
// the exit codes of everything that can go wrong.
#define _DEFAULT_SOURCE
#include "launch/exit_code.h"
#include "launch/run_dir.h"
#include "tests/canto_test.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fixture {
    char root[64];
    canto_config config; // run.dir is ROOT/a/b
    canto_job job;
} fixture;

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    *state = f;
    strcpy(f->root, "/tmp/canto_run_dir_XXXXXX");
    if (!mkdtemp(f->root)) return -1;
    CANTO_TEST_OK(canto_config_read(NULL, 0, NULL, &f->config, NULL));
    snprintf(f->config.run.dir, sizeof f->config.run.dir, "%s/a/b", f->root);
    CANTO_TEST_OK(canto_comm_self_open(&f->job.world));
    CANTO_TEST_OK(canto_mesh_create(f->job.world, canto_device_cpu(), 1, 1, &f->job.mesh));
    f->job.device = canto_device_cpu();
    f->job.log = (canto_log){.stream = stderr, .quiet = true};
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", f->root);
    canto_mesh_destroy(&f->job.mesh);
    canto_comm_destroy(&f->job.world);
    int failed = system(command);
    free(f);
    return failed;
}

static void write_config(fixture *f, double lr)
{
    f->config.train.optimizer.lr = lr;
    CANTO_TEST_OK(canto_run_dir_write_config(&f->config));
}

static bool exists(const fixture *f, const char *name)
{
    char path[CANTO_TEXT_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", f->config.run.dir, name);
    return access(path, F_OK) == 0;
}

// The learning rate in a stored configuration.
static double stored(const fixture *f, const char *name)
{
    char path[CANTO_TEXT_MAX + 64];
    canto_config config;
    snprintf(path, sizeof path, "%s/%s", f->config.run.dir, name);
    CANTO_TEST_OK(canto_config_read(path, 0, NULL, &config, NULL));
    return config.train.optimizer.lr;
}

static void it_is_made_and_locked(void **state)
{
    fixture *f = *state;
    canto_lock lock, second;
    CANTO_TEST_OK(canto_run_dir_open(&f->config, &f->job, &lock));
    assert_true(exists(f, "lock"));
    CANTO_TEST_FAILS(CANTO_ERROR_LOCKED, f->config.run.dir,
                     canto_run_dir_open(&f->config, &f->job, &second));
    canto_lock_release(&second);
    assert_true(exists(f, "lock"));
    canto_lock_release(&lock);
    CANTO_TEST_OK(canto_run_dir_open(&f->config, &f->job, &lock)); // of a directory that is there
    canto_lock_release(&lock);
}

static void a_file_in_its_place_is_refused(void **state)
{
    fixture *f = *state;
    char path[128];
    canto_lock lock;
    snprintf(path, sizeof path, "%s/a", f->root);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "run.dir: cannot make", // a parent
                     canto_run_dir_open(&f->config, &f->job, &lock));
    snprintf(f->config.run.dir, sizeof f->config.run.dir, "%s", path);
    CANTO_TEST_FAILS(CANTO_ERROR_IO, "is not a directory",
                     canto_run_dir_open(&f->config, &f->job, &lock));
    assert_false(lock.held);
}

static void earlier_configurations_are_kept(void **state)
{
    fixture *f = *state;
    canto_lock lock;
    CANTO_TEST_OK(canto_run_dir_open(&f->config, &f->job, &lock));
    write_config(f, 0.25);
    write_config(f, 0.25);
    assert_false(exists(f, "config.1.yaml"));
    write_config(f, 0.5);
    write_config(f, 0.125);
    assert_true(stored(f, "config.1.yaml") == 0.25);
    assert_true(stored(f, "config.2.yaml") == 0.5);
    assert_true(stored(f, "config.yaml") == 0.125);
    assert_false(exists(f, "config.3.yaml"));
    assert_false(exists(f, "config.yaml.new"));
    canto_lock_release(&lock);
}

// Also one that holds nothing that could be read.
static void an_empty_configuration_is_kept_too(void **state)
{
    fixture *f = *state;
    char path[CANTO_TEXT_MAX + 64];
    canto_lock lock;
    CANTO_TEST_OK(canto_run_dir_open(&f->config, &f->job, &lock));
    snprintf(path, sizeof path, "%s/config.yaml", f->config.run.dir);
    fclose(fopen(path, "w"));
    write_config(f, 0.25);
    assert_true(exists(f, "config.1.yaml"));
    assert_true(stored(f, "config.yaml") == 0.25);
    canto_lock_release(&lock);
}

// --- exit codes ---

static void every_status_has_an_exit_code_of_the_table(void **state)
{
    (void)state;
    static const struct {
        canto_status status;
        int code;
    } promised[] = {
        {CANTO_OK, 0},           {CANTO_ERROR_CONFIG, 2},   {CANTO_ERROR_CHECKPOINT, 3},
        {CANTO_ERROR_LOCKED, 3}, {CANTO_ERROR_NUMBERS, 85}, {CANTO_ERROR_TIMEOUT, 86},
    };
    for (size_t i = 0; i < sizeof promised / sizeof *promised; i++)
        assert_int_equal(canto_exit_of(promised[i].status), promised[i].code);
    char table[4096] = "";
    FILE *stream = fmemopen(table, sizeof table, "w");
    canto_exit_table(stream, false);
    fclose(stream);
    for (canto_status s = CANTO_OK; s <= CANTO_ERROR_UNSUPPORTED; s++) {
        char entry[16];
        snprintf(entry, sizeof entry, "  %3d  ", (int)canto_exit_of(s));
        assert_non_null(strstr(table, entry));
        assert_true((s == CANTO_OK) == (canto_exit_of(s) == 0));
    }
    assert_non_null(strstr(table, "   75  "));
}

#define WITH_DIR(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_DIR(it_is_made_and_locked),
        WITH_DIR(a_file_in_its_place_is_refused),
        WITH_DIR(earlier_configurations_are_kept),
        WITH_DIR(an_empty_configuration_is_kept_too),
        cmocka_unit_test(every_status_has_an_exit_code_of_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
