// The start of a run up to the first thing it would write: text, run directory, checkpoint,
// configuration, and the memory of every rank from the code that takes it. Sends what the start
// sends (agreements, the manifest) and one small record a rank.
#include "launch/dry_run.h"

#include "launch/checkpoint.h"
#include "launch/json_print.h"
#include "launch/plan.h"
#include "launch/run_dir.h"
#include "launch/amount.h"
#include "runtime/process.h"

#include <jansson.h>
#include <stdlib.h>

typedef struct {
    canto_config *config;
    const canto_arguments *arguments;
    canto_job job;
    int64_t step;         // that the run would continue after; 0: it would start
    int64_t process;      // bytes of this process before it takes arenas
    canto_memory *memory; // owned
    canto_plan_report report;
} dry;

// --- the run directory ---

static canto_status read_checkpoint(dry *d)
{
    canto_store_reader *reader = NULL;
    canto_config stored;
    CANTO_TRY(canto_checkpoint_open(&d->job, d->config->run.dir, -1, &reader));
    canto_status status = CANTO_OK;
    if (reader) {
        d->step = canto_store_step(reader);
        status = canto_checkpoint_config(reader, &stored);
    }
    if (status == CANTO_OK) status = canto_config_settle(reader ? &stored : NULL, d->config);
    canto_store_close(&reader);
    return canto_comm_agree(d->job.mesh.control, status);
}

static canto_status look(dry *d)
{
    const bool first = d->job.world->rank == 0;
    canto_status status = first ? canto_run_dir_look(d->config) : CANTO_OK;
    CANTO_TRY(canto_comm_agree(d->job.mesh.control, status));
    return read_checkpoint(d);
}

// --- memory and messages ---

static canto_status gather(dry *d, canto_trainer *trainer)
{
    canto_comm *control = d->job.mesh.control;
    canto_memory mine = {0};
    CANTO_TRY(canto_comm_agree(control, canto_memory_of(trainer, &mine)));
    CANTO_TRY(canto_comm_gather_small(control, sizeof mine, &mine, d->memory));
    double process = (double)d->process;
    CANTO_TRY(canto_comm_sum_small(control, 1, &process));
    d->process = (int64_t)(process / control->size);
    return CANTO_OK;
}

static canto_status measure_running(dry *d)
{
    const canto_mesh *mesh = &d->job.mesh;
    const int ranks = d->job.world->size;
    canto_trainer trainer = {0};
    d->process = canto_process_memory_read().now;
    d->report = (canto_plan_report){
        .config = d->config, .ranks = ranks, .dp = mesh->dp, .cp = mesh->cp, .memory_n = ranks};
    canto_status status = CANTO_OK;
    d->memory = calloc((size_t)ranks, sizeof *d->memory);
    if (!d->memory)
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "dry run: no memory for the figures of %d ranks", ranks);
    CANTO_TRY(canto_comm_agree(mesh->control, status));
    status = canto_trainer_measure(d->config, &d->job, true, &trainer);
    if (status == CANTO_OK) status = gather(d, &trainer);
    if (status == CANTO_OK) {
        const bool first = d->job.world->rank == 0;
        status = canto_comm_agree(
            mesh->control, first ? canto_step_price_make(&trainer, &d->report.price) : CANTO_OK);
    }
    canto_trainer_destroy(&trainer);
    d->report.memory = d->memory;
    d->report.process = d->process;
    return status;
}

static canto_status measure_planned(dry *d)
{
    d->memory = calloc(CANTO_PLAN_RANKS_MAX, sizeof *d->memory);
    if (!d->memory) CANTO_FAIL(CANTO_ERROR_MEMORY, "dry run: no memory for its figures");
    return canto_plan_make(d->config, (int)d->arguments->ranks, d->memory, &d->report);
}

// --- what is told ---

static void print_json(const dry *d)
{
    json_t *object = canto_plan_report_json(&d->report);
    json_object_set_new(object, "run", json_string(d->config->run.dir));
    json_object_set_new(object, "continues_after", json_integer((json_int_t)d->step));
    json_object_set_new(object, "steps", json_integer((json_int_t)d->config->train.steps));
    canto_json_print(object, stdout);
}

static void print_text(const dry *d)
{
    const long long step = d->step, steps = d->config->train.steps;
    if (d->step == 0)
        printf("run %s: would start, for %lld step%s\n", d->config->run.dir, steps,
               canto_plural(steps));
    else if (d->step >= d->config->train.steps)
        printf("run %s: is done after step %lld of %lld\n", d->config->run.dir, step, steps);
    else
        printf("run %s: would continue after step %lld of %lld\n", d->config->run.dir, step, steps);
    canto_plan_report_print(&d->report, stdout);
    printf("dry run: nothing was written\n");
}

static canto_status run(dry *d)
{
    CANTO_TRY(look(d));
    CANTO_TRY(d->arguments->ranks > 0 ? measure_planned(d) : measure_running(d));
    if (d->job.world->rank == 0) (d->arguments->json ? print_json : print_text)(d);
    return CANTO_OK;
}

static canto_status open_job(dry *d)
{
    if (d->arguments->ranks < 0) return canto_job_open(d->config, &d->job);
    // One process looks at the run; the division is that of the ranks to come.
    canto_config alone = *d->config;
    alone.parallel.dp = alone.parallel.cp = 0;
    return canto_job_open_alone(&alone, &d->job);
}

int canto_dry_run(canto_config *config, const canto_arguments *arguments)
{
    dry d = {.config = config, .arguments = arguments};
    if (arguments->ranks >= 0 && canto_job_rank_hint() != 0) return 0;
    if (arguments->ranks == 0) {
        canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__, "--ranks: at least 1");
        return canto_job_refuse(CANTO_ERROR_CONFIG);
    }
    canto_status status = open_job(&d);
    if (status == CANTO_OK) status = run(&d);
    free(d.memory);
    return canto_job_close(&d.job, status, 0);
}
