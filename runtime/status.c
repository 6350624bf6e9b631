// The message of the first failure on this thread, and the names of the statuses.
#include "runtime/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    char text[CANTO_MESSAGE_MAX];
    int rank;
    int size;
} message;

static _Thread_local message current;

canto_status canto_error_raise(canto_status code, const char *file, int line, const char *format,
                               ...)
{
    if (current.text[0] != '\0') return code;
    char sentence[CANTO_MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(sentence, sizeof sentence, format, args);
    va_end(args);
    char who[48] = "";
    if (current.size > 1) {
        snprintf(who, sizeof who, "rank %d of %d: ", current.rank, current.size);
    }
    if (code == CANTO_ERROR_CONFIG) // the place to look at is the user's own
        snprintf(current.text, sizeof current.text, "%s%.440s", who, sentence);
    else
        snprintf(current.text, sizeof current.text, "%s%.380s (%.60s:%d)", who, sentence, file,
                 line);
    return code;
}

const char *canto_error_message(void)
{
    return current.text;
}

void canto_error_adopt(const char *text)
{
    snprintf(current.text, sizeof current.text, "%s", text);
}

void canto_error_clear(void)
{
    current.text[0] = '\0';
}

void canto_error_set_rank(int rank, int size)
{
    current.rank = rank;
    current.size = size;
}

const char *canto_status_name(canto_status status)
{
    static const char *const names[] = {
        [CANTO_OK] = "ok",
        [CANTO_ERROR_ARGUMENT] = "argument",
        [CANTO_ERROR_CONFIG] = "configuration",
        [CANTO_ERROR_MEMORY] = "memory",
        [CANTO_ERROR_CAPACITY] = "capacity",
        [CANTO_ERROR_IO] = "file",
        [CANTO_ERROR_CHECKPOINT] = "checkpoint",
        [CANTO_ERROR_LOCKED] = "locked",
        [CANTO_ERROR_COMM] = "communication",
        [CANTO_ERROR_MISMATCH] = "mismatch",
        [CANTO_ERROR_TIMEOUT] = "timeout",
        [CANTO_ERROR_NUMBERS] = "numbers",
        [CANTO_ERROR_DEVICE] = "device",
        [CANTO_ERROR_UNSUPPORTED] = "unsupported",
    };
    return status >= 0 && (size_t)status < sizeof names / sizeof *names ? names[status] : "unknown";
}
