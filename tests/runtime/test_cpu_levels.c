#define _GNU_SOURCE
// Which level of the cpu is chosen, and what is said of a name that is none.
#include "tests/canto_test.h"

#include "runtime/cpu_levels.h"
#include "runtime/kernel_slots.h"

#include <stdlib.h>
#include <string.h>

static void the_first_level_works_everywhere(void **state)
{
    (void)state;
    assert_string_equal(canto_cpu_levels[0].name, "portable");
    assert_true(canto_cpu_levels[0].works());
}

static void every_level_is_complete(void **state)
{
    (void)state;
    for (const canto_cpu_level *level = canto_cpu_levels; level->name; level++) {
        assert_null(canto_kernels_missing(level->device.kernels));
        assert_true(level->device.kernels != canto_cpu_levels[0].device.kernels ||
                    level == canto_cpu_levels);
    }
}

static void without_a_wish_the_highest_is_taken(void **state)
{
    (void)state;
    unsetenv("CANTO_ISA");
    const canto_cpu_level *now = canto_cpu_level_now();
    for (const canto_cpu_level *level = now + 1; level->name; level++) assert_false(level->works());
    CANTO_TEST_OK(canto_cpu_level_check());
}

static void a_wish_is_granted(void **state)
{
    (void)state;
    for (const canto_cpu_level *level = canto_cpu_levels; level->name; level++) {
        setenv("CANTO_ISA", level->name, 1);
        if (level->works()) {
            const canto_device *device;
            assert_ptr_equal(canto_cpu_level_now(), level);
            CANTO_TEST_OK(canto_device_open(canto_backends[0], 0, &device));
            assert_ptr_equal(device, &level->device);
            CANTO_TEST_OK(canto_device_close(&device));
        } else {
            CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "this machine lacks", canto_cpu_level_check());
            assert_true(canto_cpu_level_now()->works());
        }
    }
    unsetenv("CANTO_ISA");
}

static void a_name_that_is_none_is_told(void **state)
{
    (void)state;
    const canto_device *device;
    setenv("CANTO_ISA", "avx3", 1);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG,
                     "CANTO_ISA=avx3: there is no such level; this machine has portable",
                     canto_device_open(canto_backends[0], 0, &device));
    assert_true(canto_cpu_level_now()->works());
    unsetenv("CANTO_ISA");
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_first_level_works_everywhere),
    cmocka_unit_test(every_level_is_complete),
    cmocka_unit_test(without_a_wish_the_highest_is_taken),
    cmocka_unit_test(a_wish_is_granted),
    cmocka_unit_test(a_name_that_is_none_is_told),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
