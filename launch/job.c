// Opening and closing of a job. Under mpirun the first process that leaves with a failure makes it
// stop the others, so ranks that have nothing to say wait a moment before they leave: the sentence
// of rank 0 is then printed, and printed once.
#define _GNU_SOURCE
#include "launch/job.h"

#include "launch/exit_code.h"
#include "runtime/trace.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const rank_variables[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", NULL};

static const char *rank_variable(void)
{
    for (int i = 0; rank_variables[i]; i++) {
        const char *value = getenv(rank_variables[i]);
        if (value) return value;
    }
    return NULL;
}

bool canto_job_launched(void)
{
    return rank_variable() != NULL;
}

int canto_job_rank_hint(void)
{
    const char *value = rank_variable();
    return value ? atoi(value) : 0;
}

static void let_rank_0_speak(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 500000000}, NULL);
}

int canto_job_refuse(canto_status status)
{
    if (canto_job_rank_hint() == 0)
        fprintf(stderr, "canto: %s\n", canto_error_message());
    else
        let_rank_0_speak();
    return canto_exit_of(status);
}

static canto_status open_world(const canto_config *config, canto_trace *trace, canto_job *job)
{
    canto_comm *plain, *checked;
    CANTO_TRY(job->mpi ? canto_comm_mpi_open(&plain) : canto_comm_self_open(&plain));
    canto_error_set_rank(plain->rank, plain->size);
    canto_comm_checks checks = {.headers = config->parallel.check,
                                .timeout_s = config->parallel.timeout_s};
    if (!trace) return canto_comm_checked_open(plain, checks, &job->world);
    CANTO_TRY(canto_comm_checked_open(plain, checks, &checked));
    return canto_comm_traced_open(checked, trace, &job->world);
}

static canto_status open_device(const canto_config *config, canto_job *job)
{
    const canto_backend *backend = config->run.device;
    const char *missing = canto_kernels_missing(backend->kernels);
    if (missing)
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED,
                   "run.device %s: the kernel %s is not written yet; use run.device=cpu",
                   backend->name, missing);
    return canto_device_open(backend, job->threads.local_rank, &job->device);
}

static canto_status open_job(const canto_config *config, bool mpi, canto_trace *trace,
                             canto_job *out)
{
    *out = (canto_job){.mpi = mpi};
    CANTO_TRY(open_world(config, trace, out));
    canto_log_init(&out->log, stderr, out->world->rank, out->mpi);
    CANTO_TRY(canto_threads_set(out->world, &out->threads));
    canto_status status = open_device(config, out);
    CANTO_TRY(canto_comm_agree(out->world, status));
    status = canto_mesh_create(out->world, out->device, config->parallel.dp, config->parallel.cp,
                               &out->mesh);
    return canto_comm_agree(out->world, status); // so that the sentence is one rank's
}

canto_status canto_job_open(const canto_config *config, canto_job *out)
{
    return open_job(config, rank_variable() != NULL, NULL, out);
}

canto_status canto_job_open_traced(const canto_config *config, canto_trace *trace, canto_job *out)
{
    return open_job(config, rank_variable() != NULL, trace, out);
}

canto_status canto_job_open_alone(const canto_config *config, canto_job *out)
{
    return open_job(config, false, NULL, out);
}

canto_status canto_job_open_planned(const canto_config *config, int rank, int ranks, canto_job *out)
{
    *out = (canto_job){.device = canto_device_cpu()};
    CANTO_TRY(canto_comm_planned_open("world", rank, ranks, &out->world));
    canto_log_init(&out->log, stderr, 0, false);
    canto_status status =
        canto_mesh_planned(out->world, config->parallel.dp, config->parallel.cp, &out->mesh);
    if (status != CANTO_OK) canto_comm_destroy(&out->world);
    return status;
}

// A failure that every rank knows of is told once; one that only this rank knows of is told here.
static void tell(const canto_job *job)
{
    char prefix[48];
    snprintf(prefix, sizeof prefix, "rank %d of ", job->world ? job->world->rank : 0);
    bool mine = strncmp(canto_error_message(), prefix, strlen(prefix)) == 0;
    bool nobodys = strncmp(canto_error_message(), "rank ", 5) != 0;
    if (mine || (nobodys && canto_job_rank_hint() == 0))
        fprintf(stderr, "canto: %s\n", canto_error_message());
    else
        let_rank_0_speak();
}

int canto_job_close(canto_job *job, canto_status status, int code)
{
    if (job->log.stream) canto_log_close(&job->log);
    if (status != CANTO_OK) {
        tell(job);
        code = canto_exit_of(status);
        if (job->mpi && job->world) canto_comm_abort(job->world, code);
        return code;
    }
    canto_mesh_destroy(&job->mesh);
    status = canto_device_close(&job->device);
    if (status != CANTO_OK) {
        tell(job);
        code = canto_exit_of(status);
    }
    canto_comm_destroy(&job->world);
    if (job->mpi) canto_comm_mpi_finalize();
    return code;
}
