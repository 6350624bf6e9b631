// canto plan: the create code runs on measuring arenas, as one rank after the other of a job of any
// size. Sends nothing, writes nothing.
#include "launch/plan.h"

#include "launch/command.h"
#include "launch/json_print.h"

// Collects what one measured rank tells.
static canto_status take_down(canto_trainer *trainer, bool first, canto_memory *memory,
                              canto_plan_report *report)
{
    if (memory) CANTO_TRY(canto_memory_of(trainer, memory));
    if (!first) return CANTO_OK;
    report->dp = trainer->job->mesh.dp;
    report->cp = trainer->job->mesh.cp;
    return canto_step_price_make(trainer, &report->price);
}

static canto_status plan_rank(int rank, bool first, canto_memory *memory, canto_plan_report *report)
{
    canto_job job;
    canto_trainer trainer = {0};
    CANTO_TRY(canto_job_open_planned(report->config, rank, report->ranks, &job));
    canto_status status = canto_trainer_measure(report->config, &job, true, &trainer);
    if (status == CANTO_OK) status = take_down(&trainer, first, memory, report);
    canto_trainer_destroy(&trainer);
    canto_job_close(&job, CANTO_OK, 0);
    return status;
}

// Ranks whose memory is told, ascending; returns how many.
static int choose(int ranks, int chosen[CANTO_PLAN_RANKS_MAX])
{
    const int some[] = {0, 1, ranks / 2 - 1, ranks / 2, ranks - 2, ranks - 1};
    if (ranks <= CANTO_PLAN_RANKS_MAX) {
        for (int r = 0; r < ranks; r++) chosen[r] = r;
        return ranks;
    }
    const int n = (int)(sizeof some / sizeof *some);
    for (int i = 0; i < n; i++) chosen[i] = some[i];
    return n;
}

canto_status canto_plan_make(const canto_config *config, int ranks, canto_memory *memory,
                             canto_plan_report *report)
{
    int chosen[CANTO_PLAN_RANKS_MAX];
    const int n = memory ? choose(ranks, chosen) : 1;
    *report = (canto_plan_report){.config = config, .ranks = ranks, .memory = memory};
    for (int i = 0; i < n; i++)
        CANTO_TRY(plan_rank(memory ? chosen[i] : 0, i == 0, memory ? &memory[i] : NULL, report));
    if (memory) report->memory_n = n;
    return CANTO_OK;
}

static canto_status plan(const canto_arguments *a)
{
    canto_config config;
    canto_memory memory[CANTO_PLAN_RANKS_MAX];
    canto_plan_report report;
    CANTO_TRY(
        canto_config_read(a->positional[0], a->positional_n - 1, a->positional + 1, &config, NULL));
    if (a->ranks < 1)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "plan: for how many ranks? Give --ranks W, 1 or more");
    CANTO_TRY(canto_plan_make(&config, (int)a->ranks, a->memory ? memory : NULL, &report));
    if (a->json)
        canto_json_print(canto_plan_report_json(&report), stdout);
    else
        canto_plan_report_print(&report, stdout);
    return CANTO_OK;
}

int canto_command_plan(const canto_arguments *arguments)
{
    canto_status status = plan(arguments);
    return status == CANTO_OK ? 0 : canto_job_refuse(status);
}
