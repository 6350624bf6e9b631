// A live line is "\r", the text, and "clear to end of line"; a plain line ends it first.
#define _GNU_SOURCE
#include "runtime/log.h"

#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE_MAX_BYTES = 1024 };

static int columns(FILE *stream)
{
    struct winsize size;
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

void canto_log_init(canto_log *log, FILE *stream, int rank)
{
    *log = (canto_log){.stream = stream, .quiet = rank != 0};
    log->terminal = isatty(fileno(stream)) == 1;
    log->width = columns(stream);
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
    if (log->quiet || !log->terminal) return;
    char line[LINE_MAX_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    log->width = columns(log->stream);
    if (log->width > 1 && (size_t)log->width <= strlen(line)) line[log->width - 1] = '\0';
    fprintf(log->stream, "\r%s\033[K", line);
    fflush(log->stream);
    log->open = true;
}
