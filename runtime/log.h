// What a person sees while a run goes on: lines on stderr from rank 0 only, and one live line on a
// terminal. runtime/ and the layers above it never print; launch/ owns the one log of a process.
#ifndef CANTO_RUNTIME_LOG_H
#define CANTO_RUNTIME_LOG_H

#include <stdbool.h>
#include <stdio.h>

typedef struct canto_log {
    FILE *stream;  // borrowed
    bool quiet;    // true on every rank but 0
    bool terminal; // the stream is one: the live line is rewritten in place
    bool open;     // a live line stands unfinished
    int width;     // of the terminal, in columns
} canto_log;

void canto_log_init(canto_log *log, FILE *stream, int rank);
// A plain line (a newline is added). Ends a live line first.
void canto_log_line(canto_log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Replaces the live line, cut to the terminal's width; nothing when the stream is not a terminal.
void canto_log_live(canto_log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
void canto_log_end(canto_log *log); // ends a live line

#endif
