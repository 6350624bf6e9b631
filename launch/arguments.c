// One argp parser for all commands; a spec selects the options it takes.
#define _GNU_SOURCE
#include "launch/arguments.h"

#include "launch/exit_code.h"
#include "launch/job.h"

#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const canto_arguments_spec canto_arguments_train = {
    "CONFIG [KEY=VALUE...]",
    "Starts a run, or continues it when its directory holds a checkpoint. Run it under mpirun for "
    "several ranks.",
    "", 1, CANTO_POSITIONAL_MAX};
const canto_arguments_spec canto_arguments_eval = {
    "RUN [KEY=VALUE...]",
    "Bits per byte of a run's newest checkpoint on its held-out text, read in order.", "jSo", 1,
    CANTO_POSITIONAL_MAX};
const canto_arguments_spec canto_arguments_generate = {
    "RUN", "Writes text that follows a prompt, from a run's newest checkpoint. One process.",
    "pntksS", 1, 1};
const canto_arguments_spec canto_arguments_ckpt = {
    "ls RUN\nverify RUN", "Lists the checkpoints of a run, or checks every byte of them.", "jS", 2,
    2};
const canto_arguments_spec canto_arguments_config = {
    "show [CONFIG] [KEY=VALUE...]\nkeys",
    "Shows every key with its value and where the value comes from, or every key with its meaning.",
    "j", 1, CANTO_POSITIONAL_MAX};
const canto_arguments_spec canto_arguments_plot = {
    "RUN", "Draws the loss curve of a run as RUN/loss.svg (needs gnuplot).", "", 1, 1};
const canto_arguments_spec canto_arguments_man = {"", "Prints the manual page.", "", 0, 0};

static const struct argp_option all_options[] = {
    {"json", 'j', NULL, 0, "print JSON", 0},
    {"prompt", 'p', "TEXT", 0, "text to continue (default: a line break)", 0},
    {"tokens", 'n', "N", 0, "tokens to write (default 200)", 0},
    {"temperature", 't', "X", 0, "0 takes the likeliest token always (default 0.8)", 0},
    {"top-k", 'k', "K", 0, "draw from the K likeliest tokens only; 0: all (default 0)", 0},
    {"seed", 's', "N", 0, "seed of the random choices (default 1)", 0},
    {"step", 'S', "N", 0, "checkpoint of this step (default: the newest good one)", 0},
    {"orders", 'o', NULL, 0, "print Witten-Bell n-gram models of the same text beside it", 0},
};

enum { OPTIONS_N = sizeof all_options / sizeof *all_options };

typedef struct {
    const canto_arguments_spec *spec;
    canto_arguments *out;
} parsing;

// argp_error prints and exits, but returns on ranks that are to be silent: they fail with EINVAL.
static error_t integer(struct argp_state *state, const char *name, const char *text, int64_t high,
                       int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < 0 || value > high) {
        argp_error(state, "--%s: '%s' is not an integer in 0..%lld", name, text, (long long)high);
        return EINVAL;
    }
    *out = value;
    return 0;
}

static error_t number(struct argp_state *state, const char *name, const char *text, double high,
                      double *out)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= high)) {
        argp_error(state, "--%s: '%s' is not a number in 0..%g", name, text, high);
        return EINVAL;
    }
    *out = value;
    return 0;
}

static error_t positional(struct argp_state *state, const parsing *p, char *text)
{
    if (p->out->positional_n == p->spec->positional_max) {
        argp_error(state, "'%s': too many arguments", text);
        return EINVAL;
    }
    p->out->positional[p->out->positional_n++] = text;
    return 0;
}

static error_t check_positional(struct argp_state *state, const parsing *p)
{
    if (p->out->positional_n >= p->spec->positional_min) return 0;
    argp_error(state, "an argument is missing");
    return EINVAL;
}

static error_t take(int key, char *text, struct argp_state *state)
{
    const parsing *p = state->input;
    canto_arguments *out = p->out;
    switch (key) {
    case 'j':
        out->json = true;
        return 0;
    case 'p':
        out->prompt = text;
        return 0;
    case 'n':
        return integer(state, "tokens", text, 100000000, &out->tokens);
    case 't':
        return number(state, "temperature", text, 100, &out->temperature);
    case 'k':
        return integer(state, "top-k", text, 1 << 30, &out->top_k);
    case 's':
        return integer(state, "seed", text, INT64_MAX, &out->seed);
    case 'S':
        return integer(state, "step", text, INT64_MAX, &out->step);
    case 'o':
        out->orders = true;
        return 0;
    case ARGP_KEY_ARG:
        return positional(state, p, text);
    case ARGP_KEY_END:
        return check_positional(state, p);
    default:
        return ARGP_ERR_UNKNOWN;
    }
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

int canto_arguments_parse(const canto_arguments_spec *spec, int argc, char **argv,
                          canto_arguments *out)
{
    *out =
        (canto_arguments){.prompt = "\n", .tokens = 200, .temperature = 0.8, .seed = 1, .step = -1};
    struct argp_option options[OPTIONS_N + 1] = {0};
    for (int i = 0, n = 0; i < OPTIONS_N; i++) {
        if (strchr(spec->options, all_options[i].key)) options[n++] = all_options[i];
    }
    struct argp argp = {
        .options = options, .parser = take, .args_doc = spec->usage, .doc = spec->help};
    parsing p = {spec, out};
    argp_err_exit_status = CANTO_EXIT_CONFIG;
    bool silent = canto_job_rank_hint() != 0;
    if (silent && asks_for_help(argc, argv)) return CANTO_EXIT_DONE;
    error_t error = argp_parse(&argp, argc, argv, silent ? ARGP_SILENT : 0, NULL, &p);
    if (error == 0) return -1;
    canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__, "wrong arguments");
    return canto_job_refuse(CANTO_ERROR_CONFIG);
}
