// What the doubles share: their state, injected failures, sentences, and MPI's polls, in which the
// device goes on.
#include "tests/doubles/doubles.h"

#include "runtime/device.h"

#include "runtime/cuda/kernels.h"
#include "runtime/shadow/calls.h"

#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAILURES_MAX = 8, CALL_MAX = 48 };
static const double stall_s = 60;

typedef struct failure {
    char call[CALL_MAX];
    int n, code;
} failure;

canto_doubles canto_doubles_state = {.patience_s = 10, .devices = 8, .major = 9};
static failure failures[FAILURES_MAX];
static canto_shadow_calls *calls;

// The table that the backend knows as a constant one: made before main, because tables are asked
// for what they lack before a device is opened.
canto_kernels canto_kernels_cuda;

static int rank_hint(void)
{
    const char *value = getenv("OMPI_COMM_WORLD_RANK");
    if (!value) value = getenv("PMI_RANK");
    return value ? atoi(value) : 0;
}

static canto_status make(canto_doubles *state)
{
    CANTO_TRY(
        canto_shadow_streams_open(canto_shadow_seed(), rank_hint(), stall_s, &state->streams));
    CANTO_TRY(canto_shadow_stream_open(state->streams, "compute", &state->compute.number));
    CANTO_TRY(canto_shadow_calls_open(canto_device_cpu()->kernels, &state->memory, state->streams,
                                      state->compute.number, &canto_kernels_cuda, &calls));
    canto_kernels_cuda.name = "cuda";
    canto_kernels_cuda.gemm = canto_cuda_gemm;
    return CANTO_OK;
}

__attribute__((constructor)) static void make_before_main(void)
{
    if (make(&canto_doubles_state) == CANTO_OK) return;
    fprintf(stderr, "doubles: %s\n", canto_error_message());
    abort();
}

// --- failures ---

void canto_doubles_fail(const char *call, int n, int code)
{
    int i = 0;
    while (i < FAILURES_MAX - 1 && failures[i].n > 0 && strcmp(failures[i].call, call) != 0) i++;
    failures[i] = (failure){.n = n, .code = code};
    snprintf(failures[i].call, CALL_MAX, "%s", call);
}

bool canto_doubles_injected(const char *call, int *code)
{
    for (int i = 0; i < FAILURES_MAX; i++) {
        failure *at = &failures[i];
        if (at->n == 0 || strcmp(at->call, call) != 0) continue;
        if (--at->n > 0) return false;
        *code = canto_doubles_refuse(at->code, "%s was made to fail", call);
        return true;
    }
    return false;
}

void canto_doubles_forget(void)
{
    memset(failures, 0, sizeof failures);
    canto_doubles_state.last_error = 0;
    canto_doubles_state.sentence[0] = '\0';
}

void canto_doubles_devices(int n, int major)
{
    canto_doubles_state.devices = n;
    canto_doubles_state.major = major;
}

void canto_doubles_patience(double seconds)
{
    canto_doubles_state.patience_s = seconds;
}

int canto_doubles_open_objects(void)
{
    return canto_doubles_state.objects;
}

// --- sentences ---

int canto_doubles_refuse(int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(canto_doubles_state.sentence, sizeof canto_doubles_state.sentence, format, args);
    va_end(args);
    return code;
}

int canto_doubles_take_error(int code)
{
    canto_doubles_refuse(code, "%s", canto_error_message());
    canto_error_clear();
    return code;
}

// --- going on ---

bool canto_doubles_is_stream(const struct CUstream_st *stream)
{
    return stream && stream->open;
}

// An error of the device's work is told by the next call that asks for it.
void canto_doubles_let_run(void)
{
    char before[CANTO_MESSAGE_MAX];
    snprintf(before, sizeof before, "%s", canto_error_message());
    if (canto_shadow_let_run(canto_doubles_state.streams) != CANTO_OK) canto_error_adopt(before);
}

// A GPU goes on while its host waits for other ranks; ours does while the host polls MPI.
int MPI_Test(MPI_Request *request, int *flag, MPI_Status *status)
{
    canto_doubles_let_run();
    return PMPI_Test(request, flag, status);
}

int MPI_Testsome(int n, MPI_Request requests[], int *done_n, int indices[], MPI_Status statuses[])
{
    canto_doubles_let_run();
    return PMPI_Testsome(n, requests, done_n, indices, statuses);
}
