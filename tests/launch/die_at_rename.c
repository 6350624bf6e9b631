// Preloaded into a program (LD_PRELOAD): kills it with SIGKILL before the DIE_AT-th rename to a
// name that begins with DIE_NAME.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int rename(const char *from, const char *to)
{
    static int met;
    const char *name = strrchr(to, '/') ? strrchr(to, '/') + 1 : to;
    const char *die_name = getenv("DIE_NAME"), *die_at = getenv("DIE_AT");
    if (die_name && die_at && strncmp(name, die_name, strlen(die_name)) == 0 &&
        ++met == atoi(die_at))
        kill(getpid(), SIGKILL);
    return (int)syscall(SYS_rename, from, to);
}
