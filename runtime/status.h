// Outcome of an operation, and the one sentence that explains a failure.
//
// Every function that can fail returns a canto_status. The first site that fails writes one message
// with rank, file and line (without these two if it is CANTO_ERROR_CONFIG: it tells of a key or an
// argument, whose place is not in the program); callers only pass the status on. The message is
// kept per thread, as errno is: this is the one piece of state in the library that is not passed by
// argument.
#ifndef CANTO_RUNTIME_STATUS_H
#define CANTO_RUNTIME_STATUS_H

typedef enum canto_status {
    CANTO_OK = 0,
    CANTO_ERROR_ARGUMENT,    // the caller broke a contract
    CANTO_ERROR_CONFIG,      // a configuration key or command line is wrong
    CANTO_ERROR_MEMORY,      // the system gave no memory
    CANTO_ERROR_CAPACITY,    // an arena or table sized at creation is too small
    CANTO_ERROR_IO,          // a file could not be read or written
    CANTO_ERROR_CHECKPOINT,  // a checkpoint is damaged, foreign or incompatible
    CANTO_ERROR_LOCKED,      // another process owns the run directory
    CANTO_ERROR_COMM,        // the message library failed
    CANTO_ERROR_MISMATCH,    // ranks were about to do different things
    CANTO_ERROR_TIMEOUT,     // a message did not come within the time limit
    CANTO_ERROR_NUMBERS,     // loss or gradient is not finite
    CANTO_ERROR_DEVICE,      // a device (GPU) failed
    CANTO_ERROR_UNSUPPORTED, // this backend or build cannot do it
} canto_status;

enum { CANTO_MESSAGE_MAX = 512 };

// Stores the message unless one is already stored, and returns `code`. Local.
canto_status canto_error_raise(canto_status code, const char *file, int line, const char *format,
                               ...) __attribute__((format(printf, 4, 5)));

// The stored message, "" if there is none. Valid until the next canto_error_clear on this thread.
const char *canto_error_message(void);

// Replaces the stored message by `message`, as it came from another rank.
void canto_error_adopt(const char *message);
void canto_error_clear(void);

// Messages raised on this thread begin with "rank R of S: " from now on; size 0 turns that off.
void canto_error_set_rank(int rank, int size);

// Short name of a status: "checkpoint", "timeout", ...
const char *canto_status_name(canto_status status);

#define CANTO_FAIL(code, ...) return canto_error_raise((code), __FILE__, __LINE__, __VA_ARGS__)

#define CANTO_TRY(call)                                                                            \
    do {                                                                                           \
        canto_status canto_try_status = (call);                                                    \
        if (canto_try_status != CANTO_OK) return canto_try_status;                                 \
    } while (0)

#define CANTO_CHECK(condition, ...)                                                                \
    do {                                                                                           \
        if (!(condition)) CANTO_FAIL(CANTO_ERROR_ARGUMENT, __VA_ARGS__);                           \
    } while (0)

#endif
