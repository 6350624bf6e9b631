// Prompts: bytes, or numbers of tokens and nothing else.
#include "launch/prompt.h"
#include "tests/canto_test.h"

#include <string.h>

static void a_text_is_its_bytes(void **state)
{
    (void)state;
    canto_prompt prompt;
    CANTO_TEST_OK(canto_prompt_read("1,\xC3\xA4", true, 256, &prompt));
    assert_int_equal(prompt.n, 4);
    assert_int_equal(prompt.tokens[0], '1');
    assert_int_equal(prompt.tokens[2], 0xC3);
    canto_prompt_free(&prompt);
    canto_prompt_free(&prompt); // also of a freed one
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "at least one byte",
                     canto_prompt_read("", true, 256, &prompt));
}

static void tokens_are_numbers(void **state)
{
    (void)state;
    canto_prompt prompt;
    CANTO_TEST_OK(canto_prompt_read("0,7,50256,12", false, 50257, &prompt));
    assert_int_equal(prompt.n, 4);
    static const int32_t tokens[] = {0, 7, 50256, 12};
    assert_memory_equal(prompt.tokens, tokens, sizeof tokens);
    canto_prompt_free(&prompt);
    CANTO_TEST_OK(canto_prompt_read("3", false, 4, &prompt));
    assert_int_equal(prompt.n, 1);
    canto_prompt_free(&prompt);
}

static void what_is_no_number_of_a_token_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *words, *told;
    } wrong[] = {{"\n", "byte 0"},
                 {"a", "byte 0"},
                 {"1,", "byte 2"},
                 {",1", "byte 0"},
                 {"1,,2", "byte 2"},
                 {"1, 2", "byte 2"},
                 {"1 2", "byte 0"},
                 {"1,-2", "byte 2"},
                 {"1,+2", "byte 2"},
                 {"1,0x2", "byte 2"},
                 {"1,2.0", "byte 2"},
                 {"9,10", "0..9 at its byte 2"},
                 {"18446744073709551617", "byte 0"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        canto_prompt prompt;
        CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, wrong[i].told,
                         canto_prompt_read(wrong[i].words, false, 10, &prompt));
        assert_null(prompt.tokens);
    }
    canto_prompt prompt;
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "at least one token",
                     canto_prompt_read("", false, 10, &prompt));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_its_bytes),
        cmocka_unit_test(tokens_are_numbers),
        cmocka_unit_test(what_is_no_number_of_a_token_is_told),
    };
    return cmocka_run_group_tests_name("launch.prompt", tests, NULL, NULL);
}
