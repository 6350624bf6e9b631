// Numbers in sentences.
#include "launch/amount.h"

#include "tests/canto_test.h"

static void test_bytes(void **state)
{
    (void)state;
    static const struct {
        int64_t bytes;
        const char *text;
    } cases[] = {{0, "0 B"},
                 {9999, "9999 B"},
                 {10000, "10.0 kB"},
                 {163840, "163.8 kB"},
                 {9999949, "9999.9 kB"},
                 {9999951, "10.0 MB"},
                 {297300000, "297.3 MB"},
                 {INT64_C(1) << 40, "1099.5 GB"},
                 {INT64_MAX, "9223.4 PB"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(canto_amount_bytes(cases[i].bytes).text, cases[i].text);
}

static void test_plural(void **state)
{
    (void)state;
    assert_string_equal(canto_plural(0), "s");
    assert_string_equal(canto_plural(1), "");
    assert_string_equal(canto_plural(2), "s");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_plural)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
