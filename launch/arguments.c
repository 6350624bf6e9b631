// One argp parser for all commands; a row of canto_commands selects the options it takes.
#define _GNU_SOURCE
#include "launch/arguments.h"

#include "launch/checkpoint.h"
#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/job.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { OPTIONS_MAX = 64, WITHOUT_LETTER = 256, DOC_BYTES = 4096 };

typedef struct {
    const canto_command *command;
    int min, max; // positional arguments
    canto_arguments *out;
} parsing;

// argp_error prints and exits, but returns on ranks that are to be silent: they fail with EINVAL.
static error_t count(struct argp_state *state, const canto_option *option, const char *text,
                     int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < 0 || value > option->max) {
        argp_error(state, "--%s: '%s' is not an integer in 0..%lld", option->name, text,
                   (long long)option->max);
        return EINVAL;
    }
    *out = value;
    return 0;
}

static error_t number(struct argp_state *state, const canto_option *option, const char *text,
                      double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= (double)option->max)) {
        argp_error(state, "--%s: '%s' is not a number in 0..%lld", option->name, text,
                   (long long)option->max);
        return EINVAL;
    }
    *out = value;
    return 0;
}

static error_t set(struct argp_state *state, const canto_option *option, const char *text,
                   canto_arguments *out)
{
    void *field = (char *)out + option->offset;
    switch (option->type) {
    case CANTO_OPTION_FLAG:
        *(bool *)field = true;
        return 0;
    case CANTO_OPTION_TEXT:
        *(const char **)field = text;
        return 0;
    case CANTO_OPTION_STEP:
        if (canto_step_read(text, field)) return 0;
        argp_error(state, "--%s: '%s' is neither a number nor 'best'", option->name, text);
        return EINVAL;
    case CANTO_OPTION_COUNT:
        return count(state, option, text, field);
    case CANTO_OPTION_NUMBER:
        return number(state, option, text, field);
    }
    return ARGP_ERR_UNKNOWN;
}

// The table's own texts are tried by a test: they are never wrong.
static void set_initial(const canto_option *option, canto_arguments *out)
{
    void *field = (char *)out + option->offset;
    if (option->initial)
        set(NULL, option, option->initial, out);
    else if (option->type == CANTO_OPTION_COUNT || option->type == CANTO_OPTION_STEP)
        *(int64_t *)field = -1;
    else if (option->type == CANTO_OPTION_NUMBER)
        *(double *)field = -1;
}

static int key_of(const canto_option *option)
{
    return option->letter ? option->letter : WITHOUT_LETTER + (int)(option - canto_options);
}

static const canto_option *option_of(int key)
{
    for (const canto_option *o = canto_options; o->name; o++) {
        if (key_of(o) == key) return o;
    }
    return NULL;
}

static error_t positional(struct argp_state *state, const parsing *p, char *text)
{
    if (p->out->positional_n == p->max) {
        argp_error(state, "'%s': too many arguments", text);
        return EINVAL;
    }
    p->out->positional[p->out->positional_n++] = text;
    return 0;
}

static error_t check_positional(struct argp_state *state, const parsing *p)
{
    const char *at = p->command->positional;
    canto_positional word = {.length = 0};
    if (p->out->positional_n >= p->min) return 0;
    for (int i = 0; i <= p->out->positional_n; i++) canto_positional_next(&at, &word);
    argp_error(state, "%.*s is missing", (int)word.length, word.word);
    return EINVAL;
}

static error_t take(int key, char *text, struct argp_state *state)
{
    const parsing *p = state->input;
    if (key == ARGP_KEY_ARG) return positional(state, p, text);
    if (key == ARGP_KEY_END) return check_positional(state, p);
    const canto_option *option = option_of(key);
    return option ? set(state, option, text, p->out) : ARGP_ERR_UNKNOWN;
}

// argp frees what differs from the text it gave.
static char *with_default(int key, const char *text, void *input)
{
    (void)input;
    const canto_option *option = option_of(key);
    char *whole;
    if (!option || option->type < CANTO_OPTION_COUNT || !option->initial) return (char *)text;
    return asprintf(&whole, "%s (default %s)", text, option->initial) < 0 ? (char *)text : whole;
}

static void count_positional(parsing *p)
{
    const char *at = p->command->positional;
    for (canto_positional word; canto_positional_next(&at, &word);) {
        p->min += !word.optional;
        p->max = word.repeated ? CANTO_POSITIONAL_MAX : p->max + 1;
    }
}

// What stands before the options, and after them.
static void write_doc(const canto_command *command, char doc[DOC_BYTES])
{
    FILE *stream = fmemopen(doc, DOC_BYTES, "w");
    if (!stream) return;
    fprintf(stream, "%s\v", command->text);
    const char *at = command->positional;
    for (canto_positional p; canto_positional_next(&at, &p);) {
        const canto_word *word = canto_word_find(p.word, p.length);
        if (word && word->help) fprintf(stream, "%s: %s.\n", word->word, word->help);
    }
    if (command->examples) fprintf(stream, "\nExamples:\n\n%s", command->examples);
    fclose(stream);
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "--usage") == 0 ||
            strcmp(argv[i], "-?") == 0)
            return true;
    }
    return false;
}

int canto_arguments_parse(const canto_command *command, int argc, char **argv, canto_arguments *out)
{
    *out = (canto_arguments){0};
    struct argp_option options[OPTIONS_MAX] = {0};
    int n = 0;
    for (const canto_option *o = canto_options; o->name && n < OPTIONS_MAX - 1; o++) {
        set_initial(o, out);
        if (canto_command_takes(command, o))
            options[n++] = (struct argp_option){o->name, key_of(o), o->value, 0, o->help, 0};
    }
    char doc[DOC_BYTES] = "";
    write_doc(command, doc);
    struct argp argp = {.options = options,
                        .parser = take,
                        .args_doc = command->positional,
                        .doc = doc,
                        .help_filter = with_default};
    parsing p = {.command = command, .out = out};
    count_positional(&p);
    argp_err_exit_status = CANTO_EXIT_CONFIG;
    setenv("ARGP_HELP_FMT", "no-dup-args-note,rmargin=100", 0); // the note tells what is seen
    bool silent = canto_job_rank_hint() != 0;
    if (silent && asks_for_help(argc, argv)) return CANTO_EXIT_DONE;
    error_t error = argp_parse(&argp, argc, argv, silent ? ARGP_SILENT : 0, NULL, &p);
    if (error == 0) return -1;
    canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__, "wrong arguments");
    return canto_job_refuse(CANTO_ERROR_CONFIG);
}
