// The table of slots has a row for every kernel of runtime/backend.h, in its order: a row that is
// forgotten is a kernel that nobody reports as missing, and that the shadow leaves to the host.
#include "tests/canto_test.h"

#include "runtime/device.h"
#include "runtime/kernel_slots.h"

#include <string.h>

static size_t slots_count(void)
{
    size_t n = 0;
    while (canto_kernel_slots[n].name) n++;
    return n;
}

static void every_kernel_has_its_row(void **state)
{
    (void)state;
    const size_t first = offsetof(canto_kernels, gemm), bytes = sizeof(void (*)(void));
    assert_int_equal(first, sizeof(const char *)); // the name is all that is no slot
    assert_int_equal(slots_count(), (sizeof(canto_kernels) - first) / bytes);
    for (size_t i = 0; canto_kernel_slots[i].name; i++)
        assert_int_equal(canto_kernel_slots[i].offset, first + i * bytes);
}

static void a_missing_kernel_is_named(void **state)
{
    (void)state;
    assert_null(canto_kernels_missing(canto_device_cpu()->kernels));
    for (const canto_kernel_slot *slot = canto_kernel_slots; slot->name; slot++) {
        canto_kernels some = *canto_device_cpu()->kernels;
        memset((char *)&some + slot->offset, 0, sizeof(void (*)(void)));
        assert_string_equal(canto_kernels_missing(&some), slot->name);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_kernel_has_its_row),
    cmocka_unit_test(a_missing_kernel_is_named),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
