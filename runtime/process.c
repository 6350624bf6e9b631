// Reads /proc/self/status. Without stdio's buffers, so that a step may ask without allocating.
#define _GNU_SOURCE
#include "runtime/process.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// "VmHWM:	   12345 kB"
static int64_t field(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at ? strtoll(at + strlen(name), NULL, 10) * 1024 : 0;
}

canto_process_memory canto_process_memory_read(void)
{
    char text[8192];
    size_t n = 0;
    int file = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    if (file < 0) return (canto_process_memory){0};
    for (ssize_t got; n < sizeof text - 1; n += (size_t)got) {
        got = read(file, text + n, sizeof text - 1 - n);
        if (got <= 0) break;
    }
    close(file);
    text[n] = '\0';
    return (canto_process_memory){field(text, "\nVmRSS:"), field(text, "\nVmHWM:")};
}
