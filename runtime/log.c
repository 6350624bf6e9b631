// A live line is "\r", the text, and "clear to end of line"; a plain line ends it first.
#define _GNU_SOURCE
#include "runtime/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 };

static int columns(int terminal)
{
    struct winsize size;
    if (ioctl(terminal, TIOCGWINSZ, &size) == 0 && size.ws_col > 1) return size.ws_col;
    return 80;
}

static int launcher_terminal(int descriptor)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getppid(), descriptor);
    int file = open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (file >= 0 && isatty(file) == 1) return file;
    if (file >= 0) close(file);
    return -1;
}

void canto_log_init(canto_log *log, FILE *stream, int rank, bool forwarded)
{
    *log = (canto_log){.stream = stream, .quiet = rank != 0, .terminal = -1};
    if (log->quiet) return;
    if (isatty(fileno(stream)) == 1) {
        log->terminal = fileno(stream);
    } else if (forwarded) {
        log->terminal = launcher_terminal(fileno(stream));
        log->owned = log->terminal >= 0;
    }
}

void canto_log_close(canto_log *log)
{
    canto_log_end(log);
    if (log->owned) close(log->terminal);
    log->owned = false;
    log->terminal = -1;
}

void canto_log_end(canto_log *log)
{
    if (log->open) fputc('\n', log->stream);
    log->open = false;
}

void canto_log_line(canto_log *log, const char *format, ...)
{
    if (log->quiet) return;
    canto_log_end(log);
    va_list args;
    va_start(args, format);
    vfprintf(log->stream, format, args);
    va_end(args);
    fputc('\n', log->stream);
    fflush(log->stream);
}

void canto_log_live(canto_log *log, const char *format, ...)
{
    if (log->quiet || log->terminal < 0) return;
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    const int width = columns(log->terminal);
    if ((size_t)width <= strlen(line)) line[width - 1] = '\0';
    fprintf(log->stream, "\r%s\033[K", line);
    fflush(log->stream);
    log->open = true;
}
