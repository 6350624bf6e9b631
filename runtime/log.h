// What a person sees while a run goes on: lines on stderr from rank 0 only, and one live line on a
// terminal. runtime/ and the layers above it never print; launch/ owns the one log of a process.
#ifndef CANTO_RUNTIME_LOG_H
#define CANTO_RUNTIME_LOG_H

#include <stdbool.h>
#include <stdio.h>

typedef struct canto_log {
    FILE *stream; // borrowed
    bool quiet;   // true on every rank but 0
    bool open;    // a live line stands unfinished
    int terminal; // descriptor of the terminal that shows the stream; -1: none, so no live line
    bool owned;   // the descriptor is ours to close
} canto_log;

// forwarded: the stream is a pipe to a launcher (mpirun), our parent process; the launcher's own
// stream of the same number then decides whether a person is looking.
void canto_log_init(canto_log *log, FILE *stream, int rank, bool forwarded);
void canto_log_close(canto_log *log); // ends a live line; the stream stays open
// A plain line (a newline is added). Ends a live line first.
void canto_log_line(canto_log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Replaces the live line, cut to the terminal's width; nothing when the stream is not a terminal.
void canto_log_live(canto_log *log, const char *format, ...) __attribute__((format(printf, 2, 3)));
void canto_log_end(canto_log *log); // ends a live line

#endif
