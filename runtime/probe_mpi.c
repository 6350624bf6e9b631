// MPI's own words, which may be asked before it starts; and a start in a child.
#define _GNU_SOURCE
#include "runtime/probe.h"

#include <mpi.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *level_name(int level)
{
    const struct {
        int level;
        const char *name;
    } names[] = {{MPI_THREAD_SINGLE, "single"},
                 {MPI_THREAD_FUNNELED, "funneled"},
                 {MPI_THREAD_SERIALIZED, "serialized"},
                 {MPI_THREAD_MULTIPLE, "multiple"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].level == level) return names[i].name;
    }
    return "unknown";
}

canto_probe_mpi canto_probe_mpi_look(void)
{
    canto_probe_mpi out = {.level = NULL};
    char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int length, started, ended, level;
    MPI_Get_library_version(text, &length);
    text[strcspn(text, ",\n")] = '\0';
    snprintf(out.library, sizeof out.library, "%.*s", CANTO_PROBE_TEXT - 1, text);
    MPI_Get_version(&out.version, &out.subversion);
    MPI_Initialized(&started);
    MPI_Finalized(&ended);
    if (started && !ended && MPI_Query_thread(&level) == MPI_SUCCESS) out.level = level_name(level);
    return out;
}

// Leaves with the level plus one, which no failure does.
static void start_and_leave(int limit_s)
{
    int level;
    alarm((unsigned)limit_s);
    if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout)) _exit(200);
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &level) != MPI_SUCCESS) _exit(200);
    MPI_Finalize();
    _exit(100 + level);
}

const char *canto_probe_mpi_try(int limit_s)
{
    int status;
    fflush(NULL);
    const pid_t child = fork();
    if (child == 0) start_and_leave(limit_s);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status)) return NULL;
    const int code = WEXITSTATUS(status);
    return code >= 100 && code < 200 ? level_name(code - 100) : NULL;
}
