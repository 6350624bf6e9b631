// What the program's exit status means; the one table of it. `canto --help` and the man page print
// it.
#ifndef CANTO_LAUNCH_EXIT_CODE_H
#define CANTO_LAUNCH_EXIT_CODE_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdio.h>

typedef enum canto_exit {
    CANTO_EXIT_DONE = 0,
    CANTO_EXIT_FOUND = 1,
    CANTO_EXIT_CONFIG = 2,
    CANTO_EXIT_CHECKPOINT = 3,
    CANTO_EXIT_LACKING = 69,
    CANTO_EXIT_SOFTWARE = 70,
    CANTO_EXIT_SYSTEM = 71,
    CANTO_EXIT_FILE = 74,
    CANTO_EXIT_REQUEUE = 75,
    CANTO_EXIT_COMM = 76,
    CANTO_EXIT_NUMBERS = 85,
    CANTO_EXIT_HANG = 86,
} canto_exit;

canto_exit canto_exit_of(canto_status status);
// One line a code; with roff as entries of a man page.
void canto_exit_table(FILE *stream, bool roff);

#endif
