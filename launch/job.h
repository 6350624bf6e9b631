// A job: the processes that one command runs as, their communicators, threads and log.
#ifndef CANTO_LAUNCH_JOB_H
#define CANTO_LAUNCH_JOB_H

#include "launch/config.h"
#include "parallel/mesh.h"
#include "runtime/log.h"
#include "runtime/topology.h"

typedef struct canto_job {
    canto_comm *world;          // owned, checked
    const canto_device *device; // owned
    canto_mesh mesh;
    canto_threads threads;
    canto_log log;
    bool mpi;
} canto_job;

// Rank that the launcher (mpirun, mpiexec, srun) gave this process, known before MPI starts; 0
// without a launcher.
int canto_job_rank_hint(void);

// Whether a launcher started this process.
bool canto_job_launched(void);

// Collective. Opens the world, sets threads, makes the mesh. Without a launcher a job is a single
// process and MPI is not started.
canto_status canto_job_open(const canto_config *config, canto_job *out);
// The same; all communicators tell `trace` what they do. trace NULL: off. It outlives the job.
canto_status canto_job_open_traced(const canto_config *config, struct canto_trace *trace,
                                   canto_job *out);
// Local. The same as a single process, also under a launcher.
canto_status canto_job_open_alone(const canto_config *config, canto_job *out);
// Local. Rank `rank` of `ranks` that do not run, for plans, on this host's memory whatever
// run.device says; canto_job_close ends it, too.
canto_status canto_job_open_planned(const canto_config *config, int rank, int ranks,
                                    canto_job *out);
// Ends a job. With a failure it prints the sentence (once for sentences that all ranks share) and,
// where ranks may still wait for each other, ends the whole job. Returns the exit code.
int canto_job_close(canto_job *job, canto_status status, int code);

// Prints the stored sentence to stderr on the launcher's rank 0 and returns the exit code of
// `status`: for failures before a job is open.
int canto_job_refuse(canto_status status);

#endif
