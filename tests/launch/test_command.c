// The tables of commands, options and words: what a row may say, so that everything that is made
// from them is right.
#include "launch/command.h"
#include "tests/canto_test.h"

#include <stdlib.h>
#include <string.h>

static bool known(const char *name, size_t length)
{
    for (const canto_option *o = canto_options; o->name; o++) {
        if (strlen(o->name) == length && strncmp(o->name, name, length) == 0) return true;
    }
    return false;
}

static void rows_are_complete_and_their_options_exist(void **state)
{
    (void)state;
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (!c->positional || !c->summary || !c->text || !c->run)
            fail_msg("%s: the row is not complete", c->name);
        if (c->summary[strlen(c->summary) - 1] == '.' || strchr(c->summary, '\n'))
            fail_msg("%s: the summary is a line without a full stop", c->name);
        if (c->examples && c->examples[strlen(c->examples) - 1] != '\n')
            fail_msg("%s: the last example does not end its line", c->name);
        for (const char *at = c->options; at && *at; at += strspn(at, " ")) {
            const size_t n = strcspn(at, " ");
            if (!known(at, n)) fail_msg("%s: no option %.*s", c->name, (int)n, at);
            at += n;
        }
    }
}

static void words_are_known_and_only_the_last_repeats(void **state)
{
    (void)state;
    for (const canto_command *c = canto_commands; c->name; c++) {
        const char *at = c->positional;
        bool optional = false, repeated = false;
        for (canto_positional p; canto_positional_next(&at, &p);) {
            if (!canto_word_find(p.word, p.length))
                fail_msg("%s: %.*s is no word", c->name, (int)p.length, p.word);
            if (repeated || (optional && !p.optional)) fail_msg("%s: %s", c->name, c->positional);
            optional = p.optional, repeated = p.repeated;
        }
    }
}

static void names_and_letters_are_unique(void **state)
{
    (void)state;
    for (const canto_command *c = canto_commands; c->name; c++) {
        for (const canto_command *other = canto_commands; other < c; other++) {
            if (strcmp(c->name, other->name) == 0) fail_msg("two commands %s", c->name);
            const int n = canto_command_group(c);
            const bool same =
                n == canto_command_group(other) && strncmp(c->name, other->name, (size_t)n) == 0;
            if (same && !(strchr(c->name, ' ') && strchr(other->name, ' ')))
                fail_msg("%s is a command and a group", other->name);
            if (same && canto_command_begins_group(c)) fail_msg("%s has left its group", c->name);
        }
    }
    for (const canto_option *o = canto_options; o->name; o++) {
        for (const canto_option *other = canto_options; other < o; other++) {
            if (strcmp(other->name, o->name) >= 0) fail_msg("--%s is out of order", o->name);
            if (o->letter && o->letter == other->letter) fail_msg("two options -%c", o->letter);
            if (o->offset == other->offset) fail_msg("--%s and --%s", o->name, other->name);
        }
    }
}

static void options_are_taken_by_a_command_and_fit_their_type(void **state)
{
    (void)state;
    for (const canto_option *o = canto_options; o->name; o++) {
        int n = 0;
        for (const canto_command *c = canto_commands; c->name; c++) n += canto_command_takes(c, o);
        if (n == 0) fail_msg("nobody takes --%s", o->name);
        if ((o->type == CANTO_OPTION_FLAG) != (o->value == NULL)) fail_msg("--%s: value", o->name);
        if ((o->type >= CANTO_OPTION_COUNT) != (o->max > 0)) fail_msg("--%s: maximum", o->name);
        if (o->type < CANTO_OPTION_COUNT || !o->initial) continue;
        char *end;
        const double initial = strtod(o->initial, &end);
        if (*end || !(initial >= 0 && initial <= (double)o->max))
            fail_msg("--%s: default %s", o->name, o->initial);
    }
}

static void a_command_is_found_by_its_words(void **state)
{
    (void)state;
    char *lines[][4] = {{(char *)"canto", (char *)"train", (char *)"x"},
                        {(char *)"canto", (char *)"ckpt", (char *)"verify"},
                        {(char *)"canto", (char *)"ckpt", (char *)"verif"},
                        {(char *)"canto", (char *)"ckpt", NULL},
                        {(char *)"canto", (char *)"verify", (char *)"RUN"}};
    const int argc[] = {3, 3, 3, 2, 3};
    const char *const names[] = {"train", "ckpt verify", NULL, NULL, NULL};
    const int words[] = {1, 2, 0, 0, 0};
    for (int i = 0; i < 5; i++) {
        int taken = 0;
        const canto_command *c = canto_command_find(argc[i], lines[i], &taken);
        assert_int_equal(c != NULL, names[i] != NULL);
        if (!c) continue;
        assert_string_equal(c->name, names[i]);
        assert_int_equal(taken, words[i]);
    }
    assert_true(canto_command_is_group("ckpt"));
    assert_false(canto_command_is_group("train"));
    assert_false(canto_command_is_group("ckp"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_complete_and_their_options_exist),
        cmocka_unit_test(words_are_known_and_only_the_last_repeats),
        cmocka_unit_test(names_and_letters_are_unique),
        cmocka_unit_test(options_are_taken_by_a_command_and_fit_their_type),
        cmocka_unit_test(a_command_is_found_by_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
