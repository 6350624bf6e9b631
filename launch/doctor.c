// canto doctor: looks at everything a run will need, and says what to do about each problem. Alone
// it looks at this process; under a launcher every rank looks, the worst finding of each check is
// told with its rank, and the ranks look at each other. Sends one small record a check and rank,
// and what the ping-pong says.
#define _GNU_SOURCE
#include "launch/doctor.h"

#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/job.h"
#include "launch/json_print.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const canto_check canto_checks[] = {
    {"build", false, canto_look_at_build},
    {"instructions", false, canto_look_at_instructions},
    {"kernels", false, canto_look_at_level},
    {"topology", false, canto_look_at_topology},
    {"threads", false, canto_look_at_threads},
    {"memory", false, canto_look_at_memory},
    {"stack", false, canto_look_at_stack},
    {"MPI", false, canto_look_at_mpi},
    {"launcher", false, canto_look_at_launcher},
    {"shared copies", false, canto_look_at_copies},
    {"shared memory", false, canto_look_at_shared_memory},
    {"HDF5", false, canto_look_at_hdf5},
    {"run directory", false, canto_look_at_directory},
    {"temporary files", false, canto_look_at_temporary},
    {"OpenBLAS", false, canto_look_at_blas},
    {"oneDNN", false, canto_look_at_dnnl},
    {"CUDA, NCCL", false, canto_look_at_cuda},
    {"gnuplot", false, canto_look_at_gnuplot},
    {"ranks", true, canto_look_at_ranks},
    {"same program", true, canto_look_at_program},
    {"cores shared", true, canto_look_at_sharing},
    {"messages", true, canto_look_at_messages},
    {.name = NULL},
};

// --- what checks use ---

void canto_find(canto_finding *out, canto_verdict verdict, const char *advice, const char *format,
                ...)
{
    va_list arguments;
    out->verdict = verdict;
    va_start(arguments, format);
    vsnprintf(out->text, sizeof out->text, format, arguments);
    va_end(arguments);
    snprintf(out->advice, sizeof out->advice, "%s", advice ? advice : "");
}

bool canto_patient_read(const canto_patient *patient, const char *path, size_t size, char *text)
{
    char whole[4096];
    snprintf(whole, sizeof whole, "%s%s", patient->root, path);
    FILE *file = fopen(whole, "re");
    if (!file) return false;
    const size_t n = fread(text, 1, size - 1, file);
    text[n] = '\0';
    if (n > 0 && text[n - 1] == '\n') text[n - 1] = '\0';
    fclose(file);
    return n > 0;
}

bool canto_program_found(const char *name, size_t size, char *path)
{
    const char *list = getenv("PATH");
    for (const char *at = list ? list : ""; *at;) {
        const size_t length = strcspn(at, ":");
        snprintf(path, size, "%.*s/%s", (int)length, at, name);
        if (length > 0 && access(path, X_OK) == 0) return true;
        at += length + (at[length] == ':');
    }
    return false;
}

// --- one check on all ranks ---

// Of a check that every rank makes by itself: the first of the worst, told with its rank.
static void choose_worst(int ranks, const canto_finding *all, canto_finding *out)
{
    int worst = 0;
    for (int r = 1; r < ranks; r++) {
        if (all[r].verdict > all[worst].verdict) worst = r;
    }
    *out = all[worst];
    if (ranks == 1 || worst == 0) return;
    snprintf(out->text, sizeof out->text, "rank %d: %.280s", worst, all[worst].text);
}

static canto_status make_check(const canto_patient *patient, const canto_check *check,
                               canto_finding *all, canto_finding *out)
{
    canto_finding mine = {.verdict = CANTO_VERDICT_OK};
    check->look(patient, &mine);
    CANTO_TRY(canto_comm_gather_small(patient->world, sizeof mine, &mine, all));
    choose_worst(patient->world->size, all, out);
    return CANTO_OK;
}

// --- what is told ---

static const char *const words[] = {"ok", "warn", "FAIL"};

static void print_finding(const canto_check *check, const canto_finding *finding)
{
    printf("%-4s  %-16s %s\n", words[finding->verdict], check->name, finding->text);
    if (finding->advice[0]) printf("      %-16s -> %s\n", "", finding->advice);
}

static json_t *finding_json(const canto_check *check, const canto_finding *finding)
{
    return json_pack("{s:s, s:s, s:s, s:s}", "check", check->name, "verdict",
                     words[finding->verdict], "finding", finding->text, "advice", finding->advice);
}

static void print_end(const int counts[3], json_t *array, bool json)
{
    if (json) {
        canto_json_print(json_incref(array), stdout);
        return;
    }
    printf("%d ok, %d to look at, %d that do not work\n", counts[CANTO_VERDICT_OK],
           counts[CANTO_VERDICT_WARN], counts[CANTO_VERDICT_FAIL]);
}

static canto_status examine(const canto_patient *patient, canto_finding *all, bool json,
                            int counts[3])
{
    const bool tells = patient->world->rank == 0;
    json_t *array = json_array();
    canto_status status = CANTO_OK;
    for (const canto_check *c = canto_checks; c->name && status == CANTO_OK; c++) {
        canto_finding finding;
        if (c->together && !patient->launched) continue;
        status = make_check(patient, c, all, &finding);
        if (status != CANTO_OK) break;
        counts[finding.verdict]++;
        if (tells && json) json_array_append_new(array, finding_json(c, &finding));
        if (tells && !json) print_finding(c, &finding);
    }
    if (status == CANTO_OK && tells) print_end(counts, array, json);
    json_decref(array);
    return status;
}

// Not a job of canto_job_open, which fails where a doctor is to say why.
static canto_status open_world(bool launched, canto_comm **world)
{
    canto_comm *plain;
    CANTO_TRY(launched ? canto_comm_mpi_open(&plain) : canto_comm_self_open(&plain));
    canto_error_set_rank(plain->rank, plain->size);
    return canto_comm_checked_open(plain, (canto_comm_checks){.timeout_s = 60}, world);
}

static canto_status run(const canto_arguments *a, canto_job *job, int counts[3])
{
    canto_patient patient = {.dir = a->positional_n > 0 ? a->positional[0] : ".",
                             .root = "",
                             .free_bytes = (int64_t)1 << 30,
                             .launched = job->mpi};
    CANTO_TRY(open_world(job->mpi, &job->world));
    patient.world = job->world;
    canto_finding *all = calloc((size_t)job->world->size, sizeof *all);
    canto_status status = CANTO_OK;
    if (!all)
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__, "doctor: no memory");
    status = canto_comm_agree(job->world, status);
    if (status == CANTO_OK) status = examine(&patient, all, a->json, counts);
    free(all);
    return status;
}

int canto_command_doctor(const canto_arguments *arguments)
{
    canto_job job = {.mpi = canto_job_launched()};
    int counts[3] = {0};
    canto_status status = run(arguments, &job, counts);
    const bool found = counts[CANTO_VERDICT_FAIL] > 0;
    return canto_job_close(&job, status, found ? CANTO_EXIT_FOUND : CANTO_EXIT_DONE);
}
