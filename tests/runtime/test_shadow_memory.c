// Memory that stands for a device's: who touches its addresses faults, work reaches the bytes by
// translation, and every wrong address ends in a sentence.
#define _GNU_SOURCE
#include "tests/canto_test.h"

#include "runtime/shadow/memory.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *alloc(canto_shadow_memory *memory, size_t bytes)
{
    void *address;
    CANTO_TEST_OK(canto_shadow_alloc(memory, bytes, &address));
    return address;
}

static char *place_of(canto_shadow_memory *memory, const char *address, size_t bytes)
{
    void *place;
    CANTO_TEST_OK(canto_shadow_translate(memory, "test", address, bytes, &place));
    return place;
}

// The signal that ends a child which reads one byte; 0: it lives.
static int signal_of_reading(const char *address)
{
    const pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL); // sanitizers have a handler of their own
        signal(SIGBUS, SIG_DFL);
        _exit(*(const volatile char *)address == 1);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void the_host_cannot_touch_it(void **state)
{
    (void)state;
    canto_shadow_memory memory = {0};
    char *address = alloc(&memory, 1000);
    assert_int_equal(signal_of_reading(address), SIGSEGV);
    assert_int_equal(signal_of_reading(address + 999), SIGSEGV);
    char *place = place_of(&memory, address, 1000);
    assert_int_equal(signal_of_reading(place), 0);
    // Behind the padding to 64 bytes, and before the first page.
    assert_int_equal(signal_of_reading(place + 1023), 0);
    assert_int_equal(signal_of_reading(place + 1024), SIGSEGV);
    assert_int_equal(signal_of_reading(place - 4096), SIGSEGV);
    CANTO_TEST_OK(canto_shadow_release(&memory, address));
    CANTO_TEST_OK(canto_shadow_memory_close(&memory));
}

static void bytes_are_where_translation_says(void **state)
{
    (void)state;
    canto_shadow_memory memory = {0};
    char *small = alloc(&memory, 1), *large = alloc(&memory, 3 << 20);
    assert_int_equal((uintptr_t)small % CANTO_SHADOW_ALIGN, 0);
    assert_int_equal((uintptr_t)large % CANTO_SHADOW_ALIGN, 0);
    char *place = place_of(&memory, large, 3 << 20);
    for (int i = 0; i < 3 << 20; i++) assert_int_equal(place[i], 0);
    memset(place, 7, 3 << 20);
    *place_of(&memory, small, 1) = 1;
    assert_int_equal(*place_of(&memory, large + 12345, 1), 7);
    assert_ptr_equal(place_of(&memory, large + 12345, 10), place + 12345);
    assert_int_equal(*place_of(&memory, small, 1), 1);
    CANTO_TEST_OK(canto_shadow_release(&memory, small));
    CANTO_TEST_OK(canto_shadow_release(&memory, large));
    CANTO_TEST_OK(canto_shadow_memory_close(&memory));
}

static void wrong_addresses_end_in_a_sentence(void **state)
{
    (void)state;
    canto_shadow_memory memory = {0};
    void *place;
    int foreign;
    char *address = alloc(&memory, 100);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "add, argument 2:",
                     canto_shadow_translate(&memory, "add, argument 2", &foreign, 1, &place));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "is not memory of this device",
                     canto_shadow_translate(&memory, "x", address + 100, 1, &place));
    CANTO_TEST_OK(
        canto_shadow_translate(&memory, "x", address + 128 + CANTO_SHADOW_GUARD - 1, 0, &place));
    assert_int_equal(signal_of_reading(place), SIGSEGV);
    CANTO_TEST_FAILS(
        CANTO_ERROR_ARGUMENT, "is not memory of this device",
        canto_shadow_translate(&memory, "x", address + 128 + CANTO_SHADOW_GUARD, 0, &place));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "is not memory of this device",
                     canto_shadow_translate(&memory, "x", address - 1, 0, &place));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT,
                     "x: 41 bytes at 60 of an allocation of 100 reach 1 bytes beyond its end",
                     canto_shadow_translate(&memory, "x", address + 60, 41, &place));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "reach",
                     canto_shadow_translate(&memory, "x", address + 60, SIZE_MAX, &place));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no allocation starts",
                     canto_shadow_release(&memory, address + 64));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no allocation starts",
                     canto_shadow_release(&memory, &foreign));
    CANTO_TEST_OK(canto_shadow_release(&memory, address));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "released before",
                     canto_shadow_release(&memory, address));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "is not memory of this device",
                     canto_shadow_translate(&memory, "x", address, 1, &place));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "an allocation of 0 bytes",
                     canto_shadow_alloc(&memory, 0, &place));
    CANTO_TEST_FAILS(CANTO_ERROR_MEMORY, "the system has no",
                     canto_shadow_alloc(&memory, (size_t)1 << 62, &place));
    CANTO_TEST_OK(canto_shadow_memory_close(&memory));
}

static void leaks_are_told(void **state)
{
    (void)state;
    canto_shadow_memory memory = {0};
    for (size_t i = 1; i <= 20; i++) alloc(&memory, i);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "20 allocations of 210 bytes",
                     canto_shadow_memory_close(&memory));
    CANTO_TEST_OK(canto_shadow_memory_close(&memory));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(the_host_cannot_touch_it),
    cmocka_unit_test(bytes_are_where_translation_says),
    cmocka_unit_test(wrong_addresses_end_in_a_sentence),
    cmocka_unit_test(leaks_are_told),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
