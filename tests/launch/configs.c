#define _POSIX_C_SOURCE 200809L
#include "tests/launch/configs.h"

#include "tests/canto_test.h"

#include <stdio.h>
#include <string.h>

canto_status configs_parse(const char *text, size_t length, canto_config *out)
{
    return canto_config_parse("bad.yaml", text, length, out, NULL);
}

canto_status configs_override(const char *argument, canto_config *out)
{
    char *list[] = {(char *)argument};
    return canto_config_read(NULL, 1, list, out, NULL);
}

static void judge(canto_status status, const char *prefix, const char *words, size_t size,
                  char *out)
{
    const char *message = canto_error_message();
    out[0] = '\0';
    if (status != CANTO_ERROR_CONFIG) snprintf(out, size, "status %s", canto_status_name(status));
    if (strncmp(message, prefix, strlen(prefix)) != 0)
        snprintf(out, size, "does not begin %s", prefix);
    char list[512];
    snprintf(list, sizeof list, "%s", words);
    char *rest = list;
    for (char *word = strtok_r(rest, "|", &rest); word; word = strtok_r(NULL, "|", &rest)) {
        if (!strstr(message, word)) snprintf(out, size, "no \"%s\"", word);
    }
}

int configs_wrong(const char *what, canto_status status, const char *prefix, const char *words)
{
    char wrong[256];
    judge(status, prefix, words, sizeof wrong, wrong);
    if (wrong[0]) print_error("%s: %s: %s\n", what, wrong, canto_error_message());
    canto_error_clear();
    return wrong[0] != '\0';
}

void configs_check(const char *what, canto_status status, const char *prefix, const char *words)
{
    assert_int_equal(configs_wrong(what, status, prefix, words), 0);
}
