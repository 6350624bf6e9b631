// canto config: every key with its value and origin, or with its meaning.
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/config.h"
#include "launch/exit_code.h"
#include "launch/job.h"

#include <string.h>

// A first argument without '=' is a file.
int canto_command_config_show(const canto_arguments *a)
{
    int at = 0;
    const char *path =
        a->positional_n > 0 && !strchr(a->positional[0], '=') ? a->positional[at++] : NULL;
    canto_config config;
    canto_config_source *source = NULL;
    canto_status status = canto_config_read(path, a->positional_n - at,
                                            (char *const *)a->positional + at, &config, &source);
    if (status == CANTO_OK) canto_config_show(&config, source, a->json, stdout);
    canto_config_source_destroy(&source);
    return status == CANTO_OK ? CANTO_EXIT_DONE : canto_job_refuse(status);
}

int canto_command_config_keys(const canto_arguments *a)
{
    if (a->json)
        canto_config_keys_json(stdout);
    else
        canto_config_help(stdout, false);
    return CANTO_EXIT_DONE;
}
