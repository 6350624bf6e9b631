// Exit codes: 64-78 follow sysexits.h, 75 tells a scheduler to start the same command again.
#include "launch/exit_code.h"

typedef struct {
    canto_exit code;
    const char *meaning;
} row;

static const row rows[] = {
    {CANTO_EXIT_DONE, "done"},
    {CANTO_EXIT_FOUND, "what was looked for was found: checkpoints differ (ckpt diff), or a check "
                       "failed (doctor)"},
    {CANTO_EXIT_CONFIG, "the configuration or the command line is wrong"},
    {CANTO_EXIT_CHECKPOINT,
     "a checkpoint is damaged, missing or incompatible, or the run directory is in use"},
    {CANTO_EXIT_LACKING, "this build or this system lacks something that is needed"},
    {CANTO_EXIT_SOFTWARE, "a defect of the program"},
    {CANTO_EXIT_SYSTEM, "the system has not enough memory"},
    {CANTO_EXIT_FILE, "a file cannot be read or written"},
    {CANTO_EXIT_REQUEUE, "the run is saved but not finished: start the same command again"},
    {CANTO_EXIT_COMM, "ranks disagreed, or the message library or a device failed"},
    {CANTO_EXIT_NUMBERS, "loss or gradient was not finite; the last checkpoint is good"},
    {CANTO_EXIT_HANG, "a message did not come within parallel.timeout_s"},
};

canto_exit canto_exit_of(canto_status status)
{
    static const canto_exit codes[] = {
        [CANTO_OK] = CANTO_EXIT_DONE,
        [CANTO_ERROR_ARGUMENT] = CANTO_EXIT_SOFTWARE,
        [CANTO_ERROR_CONFIG] = CANTO_EXIT_CONFIG,
        [CANTO_ERROR_MEMORY] = CANTO_EXIT_SYSTEM,
        [CANTO_ERROR_CAPACITY] = CANTO_EXIT_SOFTWARE,
        [CANTO_ERROR_IO] = CANTO_EXIT_FILE,
        [CANTO_ERROR_CHECKPOINT] = CANTO_EXIT_CHECKPOINT,
        [CANTO_ERROR_LOCKED] = CANTO_EXIT_CHECKPOINT,
        [CANTO_ERROR_COMM] = CANTO_EXIT_COMM,
        [CANTO_ERROR_MISMATCH] = CANTO_EXIT_COMM,
        [CANTO_ERROR_TIMEOUT] = CANTO_EXIT_HANG,
        [CANTO_ERROR_NUMBERS] = CANTO_EXIT_NUMBERS,
        [CANTO_ERROR_DEVICE] = CANTO_EXIT_COMM,
        [CANTO_ERROR_UNSUPPORTED] = CANTO_EXIT_LACKING,
    };
    return codes[status];
}

void canto_exit_table(FILE *stream, bool roff)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fprintf(stream, roff ? ".TP\n.B %d\n%s\n" : "  %3d  %s\n", (int)rows[i].code,
                rows[i].meaning);
    }
}
