// canto config: every key with its value and origin, or with its meaning.
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/config.h"
#include "launch/job.h"

#include <string.h>

// A first argument without '=' is a file.
static canto_status show(const canto_arguments *a)
{
    int at = 1;
    const char *path =
        a->positional_n > 1 && !strchr(a->positional[1], '=') ? a->positional[at++] : NULL;
    canto_config config;
    canto_config_source *source = NULL;
    canto_status status = canto_config_read(path, a->positional_n - at,
                                            (char *const *)a->positional + at, &config, &source);
    if (status == CANTO_OK) canto_config_show(&config, source, a->json, stdout);
    canto_config_source_destroy(&source);
    return status;
}

static void list_keys(bool json)
{
    if (json)
        canto_config_keys_json(stdout);
    else
        canto_config_help(stdout, false);
}

int canto_command_config(int argc, char **argv)
{
    canto_arguments a;
    int code = canto_arguments_parse(&canto_arguments_config, argc, argv, &a);
    if (code >= 0) return code;
    canto_status status = CANTO_OK;
    if (strcmp(a.positional[0], "show") == 0)
        status = show(&a);
    else if (strcmp(a.positional[0], "keys") == 0)
        list_keys(a.json);
    else
        status = canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                                   "config: '%s' is neither show nor keys", a.positional[0]);
    return status == CANTO_OK ? 0 : canto_job_refuse(status);
}
