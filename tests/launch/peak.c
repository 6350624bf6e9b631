// Runs a command and writes the most memory that it had resident, in bytes, to FILE.RANK (the
// rank that mpirun gave this process, or 0). Leaves with the command's exit code.
//
//     peak FILE COMMAND [ARGUMENT...]
#define _DEFAULT_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    const pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (child < 0 || wait4(child, &status, 0, &usage) != child) return 1;
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    char path[4096];
    snprintf(path, sizeof path, "%s.%s", argv[1], rank ? rank : "0");
    FILE *file = fopen(path, "w");
    if (!file || fprintf(file, "%lld\n", (long long)usage.ru_maxrss * 1024) < 0 ||
        fclose(file) != 0)
        return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
