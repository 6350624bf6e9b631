// canto man: the manual pages, made from the tables of commands, options, keys and exit codes. A
// group of commands has one page.
#include "launch/command.h"
#include "launch/config.h"
#include "launch/exit_code.h"
#include "launch/job.h"
#include "launch/roff.h"
#include "launch/version.h"

#include <ctype.h>
#include <string.h>

static void write_title(const char *group)
{
    printf(".TH CANTO");
    if (group) putchar('-');
    for (const char *at = group; at && *at; at++) putchar(toupper((unsigned char)*at));
    printf(" 1 \"\" \"canto %s\" \"User Commands\"\n.SH NAME\n", canto_version());
}

// "canto ckpt ls RUN [--step=N]": literal words bold, others in italics. \& keeps "..." from
// ending a sentence.
static void write_synopsis(const canto_command *command)
{
    printf(".HP\n.B canto %s\n", command->name);
    const char *at = command->positional;
    for (canto_positional p; canto_positional_next(&at, &p);)
        printf(p.optional ? "[\\fI%.*s\\fR%s]\\&\n" : "\\fI%.*s\\fR%s\\&\n", (int)p.length, p.word,
               p.repeated ? "..." : "");
    for (const canto_option *o = canto_options; o->name; o++) {
        if (!canto_command_takes(command, o)) continue;
        putchar('[');
        if (o->letter) printf("\\fB\\-%c\\fR|", o->letter);
        printf("\\fB\\-\\-");
        canto_roff_write(o->name, stdout);
        printf(o->value ? "\\fR=\\fI%s\\fR]\n" : "\\fR]\n", o->value);
    }
}

static void write_sentence(const char *text)
{
    canto_roff_write(text, stdout);
    putchar('\n');
}

static void write_option(const canto_option *option)
{
    printf(".TP\n");
    if (option->letter) printf("\\fB\\-%c\\fR, ", option->letter);
    printf("\\fB\\-\\-");
    canto_roff_write(option->name, stdout);
    printf(option->value ? "\\fR=\\fI%s\\fR\n" : "\\fR\n", option->value);
    canto_roff_write(option->help, stdout);
    if (option->initial && option->type >= CANTO_OPTION_COUNT)
        printf(" (default %s)", option->initial);
    putchar('\n');
}

static void write_options(const canto_command *command)
{
    const char *at = command->positional;
    for (canto_positional p; canto_positional_next(&at, &p);) {
        const canto_word *word = canto_word_find(p.word, p.length);
        if (!word || !word->help) continue;
        printf(".TP\n.I %s\n", word->word);
        write_sentence(word->help);
    }
    for (const canto_option *o = canto_options; o->name; o++) {
        if (canto_command_takes(command, o)) write_option(o);
    }
}

// Of all commands of a group.
static void write_examples(const char *group)
{
    const char *heading = ".SH EXAMPLES\n.nf\n";
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (!c->examples || !canto_command_in_group(c, group)) continue;
        printf("%s", heading);
        canto_roff_write(c->examples, stdout);
        heading = "";
    }
    if (!*heading) printf(".fi\n");
}

// The page of a command, or of a group of them with a section for each.
static void write_page(const char *group)
{
    const char *separator = " \\- ";
    write_title(group);
    printf("canto\\-%s", group);
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (!canto_command_in_group(c, group)) continue;
        printf("%s", separator);
        canto_roff_write(c->summary, stdout);
        separator = "; ";
    }
    printf("\n.SH SYNOPSIS\n");
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (canto_command_in_group(c, group)) write_synopsis(c);
    }
    printf(".SH DESCRIPTION\n");
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (!canto_command_in_group(c, group)) continue;
        if (strchr(c->name, ' ')) printf(".SS canto %s\n", c->name);
        write_sentence(c->text);
        write_options(c);
    }
    write_examples(group);
    printf(".SH SEE ALSO\n.BR canto (1)\ntells of exit codes, signals and the keys of a "
           "configuration.\n");
}

static void write_commands(void)
{
    printf(".SH COMMANDS\n");
    for (const canto_command *c = canto_commands; c->name; c++) {
        printf(".TP\n.B canto %s %s\n", c->name, c->positional);
        write_sentence(c->summary);
    }
}

static void write_see_also(void)
{
    printf(".SH SEE ALSO\n");
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (!canto_command_begins_group(c)) continue;
        printf("%s\\fBcanto\\-%.*s\\fR(1)", c == canto_commands ? "" : ",\n",
               canto_command_group(c), c->name);
    }
    putchar('\n');
}

static void write_overview(void)
{
    write_title(NULL);
    printf(
        "canto \\- train and run language models on long sequences, over MPI\n.SH SYNOPSIS\n.HP\n"
        ".B canto\n.I COMMAND\n[\\fIARGUMENT\\fR...]\n.HP\n.B mpirun \\-n\n.I RANKS\n.B canto "
        "train\n.I CONFIG\n[\\fIKEY=VALUE\\fR...]\n");
    printf(
        ".SH DESCRIPTION\nA configuration is a YAML file with the keys below; any of them can be "
        "given on the command line as KEY=VALUE.\n");
    write_commands();
    canto_config_help(stdout, true);
    printf(".SH EXIT STATUS\n");
    canto_exit_table(stdout, true);
    printf(".SH SIGNALS\n.TP\n.B USR1\nsave after the current step\n.TP\n.B USR2\nsave after the "
           "current step and leave with status 75\n");
    write_see_also();
}

// Of a command, or of a group alone, has a page.
static bool has_page(const canto_arguments *a)
{
    char *words[] = {(char *)"canto", a->positional[0],
                     a->positional_n > 1 ? a->positional[1] : NULL};
    int taken;
    if (a->positional_n == 1 && canto_command_is_group(words[1])) return true;
    return canto_command_find(a->positional_n + 1, words, &taken) && taken == a->positional_n;
}

int canto_command_man(const canto_arguments *a)
{
    if (a->positional_n == 0) {
        write_overview();
        return CANTO_EXIT_DONE;
    }
    if (has_page(a)) {
        write_page(a->positional[0]);
        return CANTO_EXIT_DONE;
    }
    const bool two = a->positional_n > 1;
    canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                      "man: '%s%s%s' is not a command; `canto --help` lists them", a->positional[0],
                      two ? " " : "", two ? a->positional[1] : "");
    return canto_job_refuse(CANTO_ERROR_CONFIG);
}
