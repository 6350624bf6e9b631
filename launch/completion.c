// canto completion bash: the tables of commands, options, words and keys as functions of bash, and
// after them launch/completion.bash, which uses them.
#include "launch/command.h"
#include "launch/config.h"
#include "launch/exit_code.h"

#include <string.h>

static void begin(const char *function, const char *word)
{
    printf("\n%s()\n{\n    case %s in\n", function, word);
}

static void end(void)
{
    printf("    esac\n}\n");
}

static void write_names(void)
{
    begin("_canto_names", "$1");
    printf("    '') echo '");
    for (const canto_command *c = canto_commands; c->name; c++) {
        if (canto_command_begins_group(c))
            printf("%s%.*s", c == canto_commands ? "" : " ", canto_command_group(c), c->name);
    }
    printf("' ;;\n");
    for (const canto_command *c = canto_commands; c->name; c++) {
        const char *second = strchr(c->name, ' ');
        if (!second) continue;
        if (canto_command_begins_group(c))
            printf("    %.*s) echo '", canto_command_group(c), c->name);
        printf("%s%s", canto_command_begins_group(c) ? "" : " ", second + 1);
        if (!c[1].name || canto_command_begins_group(c + 1)) printf("' ;;\n");
    }
    end();
}

static void write_commands(void)
{
    begin("_canto_command", "\"$1 $2\"");
    for (const canto_command *c = canto_commands; c->name; c++) {
        const bool grouped = strchr(c->name, ' ') != NULL;
        printf("    '%s%s) taken=%d positional='%s' options='", c->name, grouped ? "'" : " '*",
               grouped ? 2 : 1, c->positional);
        const char *separator = "";
        for (const canto_option *o = canto_options; o->name; o++) {
            if (!canto_command_takes(c, o)) continue;
            printf("%s--%s", separator, o->name);
            separator = " ";
        }
        printf("' ;;\n");
    }
    end();
}

static void write_options(void)
{
    begin("_canto_option", "$1");
    for (const canto_option *o = canto_options; o->name; o++) {
        if (!o->value) continue;
        printf("    --%s", o->name);
        if (o->letter) printf(" | -%c", o->letter);
        printf(") value=%s ;;\n", o->value);
    }
    end();
}

static void write_words(void)
{
    static const char *const kinds[] = {[CANTO_COMPLETES_FILE] = "file",
                                        [CANTO_COMPLETES_DIRECTORY] = "directory",
                                        [CANTO_COMPLETES_KEY] = "key",
                                        [CANTO_COMPLETES_COMMAND] = "command"};
    begin("_canto_completes", "$1");
    for (const canto_word *w = canto_words; w->word; w++) {
        if (w->completes != CANTO_COMPLETES_NOTHING)
            printf("    %s) kind=%s ;;\n", w->word, kinds[w->completes]);
    }
    end();
}

int canto_command_completion_bash(const canto_arguments *arguments)
{
    (void)arguments;
    printf("# Completion of canto's command lines, made by `canto completion bash`.\n");
    write_names();
    write_commands();
    write_options();
    write_words();
    canto_config_completion(stdout);
    fputs(canto_completion_bash, stdout);
    return CANTO_EXIT_DONE;
}
