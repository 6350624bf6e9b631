// Command lines: what they set, and that every wrong one ends with exit code 2 and one sentence,
// on rank 0 only. A wrong argument ends the process, so each case runs in a child.
#define _DEFAULT_SOURCE
#include "launch/command.h"
#include "launch/exit_code.h"
#include "tests/canto_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ARGV_MAX = 8, GOES_ON = 99 };

typedef struct command_line {
    const char *command;        // "ckpt ls"
    const char *argv[ARGV_MAX]; // after the command's name, ended by NULL
    const char *words;          // of the sentence
} command_line;

static const canto_command *find(const char *name)
{
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (strcmp(c->name, name) == 0) return c;
    }
    fail_msg("no command %s", name);
    return NULL;
}

static int parse(const char *command, const char *const *list, canto_arguments *out)
{
    char *argv[ARGV_MAX + 2] = {(char *)"canto"};
    int argc = 1;
    while (list[argc - 1]) {
        argv[argc] = (char *)list[argc - 1];
        argc++;
    }
    return canto_arguments_parse(find(command), argc, argv, out);
}

typedef struct child {
    pid_t pid;
    FILE *told; // its standard output and error
} child;

// Starts a child that parses as the launcher's rank `rank` and leaves with the code it got.
static child start(const command_line *line, const char *rank)
{
    child c = {.told = tmpfile()};
    assert_non_null(c.told);
    fflush(NULL);
    c.pid = fork();
    assert_true(c.pid >= 0);
    if (c.pid > 0) return c;
    canto_arguments arguments;
    dup2(fileno(c.told), STDOUT_FILENO);
    dup2(fileno(c.told), STDERR_FILENO);
    setenv("OMPI_COMM_WORLD_RANK", rank, 1);
    int code = parse(line->command, line->argv, &arguments);
    fflush(NULL);
    _exit(code < 0 ? GOES_ON : code);
}

static int finish(child *c, char *text, size_t bytes)
{
    int status;
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    rewind(c->told);
    size_t n = fread(text, 1, bytes - 1, c->told);
    text[n] = '\0';
    fclose(c->told);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static const command_line wrong[] = {
    {"generate", {"run", "-n", "5x"}, "--tokens: '5x' is not an integer in 0.."},
    {"generate", {"run", "-n", ""}, "--tokens: '' is not an integer"},
    {"generate", {"run", "-n", "-1"}, "--tokens: '-1'"},
    {"generate", {"run", "-n", "100000001"}, "0..100000000"},
    {"generate", {"run", "-n", "99999999999999999999"}, "is not an integer"},
    {"generate", {"run", "-n"}, "requires an argument"},
    {"generate", {"run", "--temperature", "warm"}, "'warm' is not a number in 0..100"},
    {"generate", {"run", "--temperature=-0.1"}, "--temperature: '-0.1'"},
    {"generate", {"run", "--temperature=100.5"}, "--temperature: '100.5'"},
    {"generate", {"run", "--temperature=nan"}, "--temperature: 'nan'"},
    {"generate", {"run", "--temperature=1e"}, "--temperature: '1e'"},
    {"generate", {"run", "--top-k", "1.5"}, "--top-k: '1.5'"},
    {"generate", {"run", "--seed", "0x1"}, "--seed: '0x1'"},
    {"generate", {"run", "--step", "last"}, "--step: 'last'"},
    {"generate", {"run", "--json"}, "unrecognized option '--json'"},
    {"generate", {"run", "other"}, "'other': too many arguments"},
    {"generate", {NULL}, "RUN is missing"},
    {"eval", {"--step", "1"}, "RUN is missing"},
    {"train", {"config", "--steps", "5"}, "unrecognized option '--steps'"},
    {"train", {NULL}, "CONFIG is missing"},
    {"ckpt ls", {NULL}, "RUN is missing"},
    {"ckpt diff", {"run"}, "CHECKPOINT is missing"},
    {"ckpt verify", {"run", "more"}, "'more': too many arguments"},
    {"config keys", {"train"}, "'train': too many arguments"},
    {"plot", {"run", "-o"}, "invalid option -- 'o'"},
    {"man", {"ckpt", "ls", "page"}, "'page': too many arguments"},
};
enum { WRONG = sizeof wrong / sizeof *wrong };

static int count(const char *text, const char *words)
{
    int n = 0;
    for (const char *at = strstr(text, words); at; at = strstr(at + 1, words)) n++;
    return n;
}

static void wrong_arguments_are_told_once_with_code_2(void **state)
{
    (void)state;
    char text[8192];
    for (int i = 0; i < WRONG; i++) {
        child c = start(&wrong[i], "0");
        int code = finish(&c, text, sizeof text);
        if (code != CANTO_EXIT_CONFIG || count(text, wrong[i].words) != 1)
            fail_msg("case %d: code %d, expected \"%s\" in: %s", i, code, wrong[i].words, text);
    }
}

// Silent ranks wait a moment for rank 0 to speak, so they run side by side.
static void other_ranks_leave_with_code_2_and_say_nothing(void **state)
{
    (void)state;
    char text[8192];
    child children[WRONG];
    for (int i = 0; i < WRONG; i++) children[i] = start(&wrong[i], "3");
    for (int i = 0; i < WRONG; i++) {
        int code = finish(&children[i], text, sizeof text);
        if (code != CANTO_EXIT_CONFIG || text[0] != '\0')
            fail_msg("case %d (%s): code %d, told: %s", i, wrong[i].words, code, text);
    }
}

static void help_is_told_once_with_code_0_and_names_every_option(void **state)
{
    (void)state;
    char text[8192];
    char words[80];
    for (const canto_command *c = canto_commands; c->name; c++) {
        command_line line = {.command = c->name, .argv = {"--help"}};
        child first = start(&line, "0"), other = start(&line, "1");
        if (finish(&first, text, sizeof text) != 0) fail_msg("%s", text);
        assert_int_equal(count(text, "Usage:"), 1);
        for (const canto_option *o = canto_options; o->name; o++) {
            snprintf(words, sizeof words, "\n  %c%c%c --%s%s%s ", o->letter ? '-' : ' ',
                     o->letter ? o->letter : ' ', o->letter ? ',' : ' ', o->name,
                     o->value ? "=" : "", o->value ? o->value : "");
            if ((count(text, words) == 1) != canto_command_takes(c, o))
                fail_msg("%s --help:%s: %s", c->name, words, text);
        }
        assert_int_equal(finish(&other, text, sizeof text), CANTO_EXIT_DONE);
        assert_string_equal(text, "");
    }
}

static void every_option_sets_its_value(void **state)
{
    (void)state;
    canto_arguments a;
    const char *const all[] = {"run",       "-pHello",      "-n7", "--temperature=0.25",
                               "--top-k=9", "--seed=12345", "-S0", NULL};
    assert_int_equal(parse("generate", all, &a), -1);
    assert_string_equal(a.positional[0], "run");
    assert_string_equal(a.prompt, "Hello");
    assert_int_equal(a.tokens, 7);
    assert_true(a.temperature == 0.25);
    assert_int_equal(a.top_k, 9);
    assert_int_equal(a.seed, 12345);
    assert_int_equal(a.step, 0);
    const char *const flags[] = {"--orders", "run", "a.b=c", "--json", NULL};
    assert_int_equal(parse("eval", flags, &a), -1);
    assert_true(a.orders && a.json);
    assert_int_equal(a.positional_n, 2);
    assert_string_equal(a.positional[1], "a.b=c");
}

static void what_is_not_given_has_its_default(void **state)
{
    (void)state;
    canto_arguments a;
    const char *const list[] = {"run", NULL};
    assert_int_equal(parse("generate", list, &a), -1);
    assert_int_equal(a.positional_n, 1);
    assert_string_equal(a.prompt, "\n");
    assert_int_equal(a.tokens, 200);
    assert_true(a.temperature == 0.8 && a.top_k == 0 && a.seed == 1 && a.step == -1);
    assert_false(a.json || a.orders);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_arguments_are_told_once_with_code_2),
        cmocka_unit_test(other_ranks_leave_with_code_2_and_say_nothing),
        cmocka_unit_test(help_is_told_once_with_code_0_and_names_every_option),
        cmocka_unit_test(every_option_sets_its_value),
        cmocka_unit_test(what_is_not_given_has_its_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
