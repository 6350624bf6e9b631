// canto train: starts or continues a run. The same command on a run directory continues it from its
// newest good checkpoint.
#define _GNU_SOURCE
#include "launch/arguments.h"
#include "launch/checkpoint.h"
#include "launch/command.h"
#include "launch/dry_run.h"
#include "launch/exit_code.h"
#include "launch/metrics.h"
#include "launch/progress.h"
#include "launch/run_dir.h"
#include "launch/signals.h"
#include "launch/summary.h"
#include "launch/tracing.h"
#include "launch/amount.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

typedef struct {
    canto_config *config;
    canto_job *job;
    canto_trainer trainer;
    canto_lock lock;       // rank 0
    canto_metrics metrics; // rank 0
    canto_progress progress;
    canto_tracing tracing;
    int64_t step;  // finished steps
    int64_t saved; // step of the newest checkpoint
    bool leave;    // asked to save and leave
} run;

static canto_status note_event(run *r, const char *name, json_t *fields)
{
    if (r->job->world->rank != 0) {
        json_decref(fields);
        return CANTO_OK;
    }
    return canto_metrics_write_event(&r->metrics, name, fields);
}

static canto_status continue_from(run *r, canto_store_reader *reader)
{
    canto_config stored;
    CANTO_TRY(canto_checkpoint_config(reader, &stored));
    CANTO_TRY(canto_config_settle(&stored, r->config));
    r->step = r->saved = canto_store_step(reader);
    return CANTO_OK;
}

static canto_status build(run *r, canto_store_reader *reader)
{
    CANTO_TRY(canto_trainer_create(r->config, r->job, true, &r->trainer));
    if (reader) return canto_checkpoint_restore(&r->trainer, reader);
    CANTO_TRY(
        canto_params_init(canto_model_params(r->trainer.model), (uint64_t)r->config->run.seed));
    return CANTO_OK;
}

static canto_status open_files(run *r)
{
    if (r->job->world->rank != 0) return CANTO_OK;
    int64_t moved;
    if (r->step > 0) CANTO_TRY(canto_checkpoint_set_aside(r->job, r->config->run.dir, r->step));
    CANTO_TRY(canto_metrics_open(r->config->run.dir, r->step, &r->metrics, &moved));
    if (moved > 0) {
        canto_log_line(
            &r->job->log, "%lld record%s beyond step %lld moved to %s/metrics.discarded.jsonl",
            (long long)moved, canto_plural(moved), (long long)r->step, r->config->run.dir);
    }
    return canto_run_dir_write_config(r->config);
}

static canto_status start(run *r)
{
    CANTO_TRY(canto_run_dir_open(r->config, r->job, &r->lock));
    canto_store_reader *reader = NULL;
    CANTO_TRY(canto_checkpoint_open(r->job, r->config->run.dir, -1, &reader));
    canto_status status = reader ? continue_from(r, reader) : canto_config_settle(NULL, r->config);
    status = canto_comm_agree(r->job->mesh.control, status);
    if (status == CANTO_OK) status = build(r, reader);
    canto_store_close(&reader);
    CANTO_TRY(status);
    CANTO_TRY(canto_comm_agree(r->job->mesh.control, open_files(r)));
    CANTO_TRY(canto_tracing_open(&r->tracing, r->job));
    canto_progress_start(&r->progress, &r->trainer, r->step);
    return note_event(r, r->step > 0 ? "resume" : "start",
                      json_pack("{s:I, s:i, s:i, s:i, s:s, s:s}", "step", (json_int_t)r->step,
                                "ranks", r->job->world->size, "dp", r->job->mesh.dp, "cp",
                                r->job->mesh.cp, "softmax", r->config->parallel.softmax->name,
                                "linear", r->config->parallel.linear->name));
}

static canto_status save(run *r)
{
    if (r->saved == r->step) return CANTO_OK;
    canto_phases_enter(&r->trainer.phases, CANTO_PHASE_CHECKPOINT);
    CANTO_TRY(canto_checkpoint_save(&r->trainer, r->step));
    canto_phases_enter(&r->trainer.phases, CANTO_PHASE_OTHER);
    r->saved = r->step;
    canto_progress_saved(&r->progress, r->step);
    return note_event(r, "save", json_pack("{s:I}", "step", (json_int_t)r->step));
}

// Of failures that all ranks share and that leave the lanes in order.
static bool may_go_on(canto_status status)
{
    return status == CANTO_ERROR_CONFIG || status == CANTO_ERROR_NUMBERS ||
           status == CANTO_ERROR_CAPACITY || status == CANTO_ERROR_IO ||
           status == CANTO_ERROR_CHECKPOINT;
}

// A failed evaluation or trace never costs the run: it is told, and the run goes on.
static canto_status tell_and_go_on(run *r, const char *what)
{
    char sentence[CANTO_MESSAGE_MAX];
    snprintf(sentence, sizeof sentence, "%s", canto_error_message());
    canto_error_clear();
    canto_log_line(&r->job->log, "%s after step %lld failed, the run goes on: %s", what,
                   (long long)r->step, sentence);
    return note_event(r, "failed",
                      json_pack("{s:I, s:s, s:s}", "step", (json_int_t)r->step, "what", what,
                                "sentence", sentence));
}

static canto_status measure(run *r, double *loss, int64_t *bytes)
{
    CANTO_TRY(canto_trainer_evaluate(&r->trainer, r->config->train.eval_tokens, loss, bytes));
    if (!isfinite(*loss))
        CANTO_FAIL(CANTO_ERROR_NUMBERS, "the loss on held-out text is not finite");
    return CANTO_OK;
}

// Of an evaluated step that is committed.
static canto_status mark(run *r, double loss, int64_t bytes)
{
    bool best;
    if (r->saved != r->step) return CANTO_OK;
    canto_status status = canto_checkpoint_mark(&r->trainer, r->step, loss, bytes, &best);
    if (may_go_on(status)) return tell_and_go_on(r, "marking the best checkpoint");
    CANTO_TRY(status);
    if (best) canto_log_line(&r->job->log, "best so far: step %lld", (long long)r->step);
    return CANTO_OK;
}

static canto_status evaluate(run *r)
{
    double loss;
    int64_t tokens;
    canto_phases_hold(&r->trainer.phases, CANTO_PHASE_EVALUATION);
    canto_status status = measure(r, &loss, &tokens);
    canto_phases_release(&r->trainer.phases);
    if (may_go_on(status)) return tell_and_go_on(r, "evaluation");
    CANTO_TRY(status);
    const bool text = r->trainer.data.corpus.text;
    canto_progress_evaluated(&r->progress, r->step, loss, tokens);
    CANTO_TRY(note_event(r, "eval", canto_metrics_evaluation(r->step, loss, tokens, text)));
    return mark(r, loss, tokens);
}

static bool is_multiple(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

static canto_status write_step(run *r, const canto_step_result *result)
{
    if (r->job->world->rank != 0) return CANTO_OK;
    canto_metrics_step record = {.step = r->step,
                                 .loss = result->loss,
                                 .text = r->trainer.data.corpus.text,
                                 .grad_norm = result->grad_norm,
                                 .lr = result->lr,
                                 .tokens = result->tokens,
                                 .step_s = result->step_s,
                                 .comm_wait_s = result->comm_wait_s,
                                 .bytes_sent = result->bytes_sent,
                                 .ranks = r->job->world->size,
                                 .figures = result->ranks};
    return canto_metrics_write_step(&r->metrics, &record);
}

// Saves before it evaluates: a failing evaluation never costs steps.
static canto_status after_step(run *r, const canto_step_result *result)
{
    bool last = r->step == r->config->train.steps;
    bool stop = r->step == r->config->train.stop_after || result->leave;
    CANTO_TRY(write_step(r, result));
    canto_progress_step(&r->progress, r->step, result);
    bool evaluates = is_multiple(r->step, r->config->train.eval_every) && !last && !stop;
    if (last || stop || result->save || is_multiple(r->step, r->config->store.every) ||
        (evaluates && r->config->store.keep_best > 0))
        CANTO_TRY(save(r));
    if (evaluates) CANTO_TRY(evaluate(r));
    r->leave = stop && !last;
    return CANTO_OK;
}

// What an earlier start saved for its evaluation, and then did not live to evaluate.
static canto_status catch_up(run *r)
{
    int64_t evaluated;
    const bool due = is_multiple(r->step, r->config->train.eval_every) && r->step > 0 &&
                     r->step < r->config->train.steps && r->config->store.keep_best > 0;
    if (!due) return CANTO_OK;
    canto_status status = canto_checkpoint_evaluated(r->job, r->config, &evaluated);
    if (may_go_on(status)) return tell_and_go_on(r, "reading the marks of the best checkpoints");
    CANTO_TRY(status);
    return evaluated < r->step ? evaluate(r) : CANTO_OK;
}

static canto_status summarise(run *r)
{
    if (r->trainer.tally.steps == 0) return CANTO_OK;
    canto_summary summary;
    canto_status status = canto_summary_make(&r->trainer, &summary);
    if (status == CANTO_OK && r->job->world->rank == 0) {
        canto_summary_print(&summary, &r->job->log);
        status = note_event(r, "summary", canto_summary_json(&summary, r->step));
    }
    canto_summary_destroy(&summary);
    return status;
}

static canto_status trace(run *r, canto_status (*part)(canto_tracing *, canto_trainer *))
{
    canto_status status = part(&r->tracing, &r->trainer);
    return may_go_on(status) ? tell_and_go_on(r, "the trace") : status;
}

static canto_status train(run *r)
{
    CANTO_TRY(start(r));
    canto_phases_enter(&r->trainer.phases, CANTO_PHASE_OTHER);
    CANTO_TRY(catch_up(r));
    while (r->step < r->config->train.steps && !r->leave) {
        canto_step_result result;
        CANTO_TRY(trace(r, canto_tracing_step));
        CANTO_TRY(canto_trainer_step(&r->trainer, r->step + 1, canto_signals_take(), &result));
        r->step++;
        CANTO_TRY(after_step(r, &result));
    }
    CANTO_TRY(canto_trainer_finish(&r->trainer));
    if (!r->leave && canto_data_held_out_tokens(&r->trainer.data, 0) > 0) CANTO_TRY(evaluate(r));
    CANTO_TRY(trace(r, canto_tracing_end));
    canto_phases_enter(&r->trainer.phases, CANTO_PHASE_OTHER);
    CANTO_TRY(summarise(r));
    canto_progress_end(&r->progress, r->step, r->leave);
    return note_event(r, r->leave ? "leave" : "done",
                      json_pack("{s:I}", "step", (json_int_t)r->step));
}

int canto_command_train(const canto_arguments *arguments)
{
    canto_config config;
    canto_config_source *source = NULL;
    canto_status status = canto_config_read(arguments->positional[0], arguments->positional_n - 1,
                                            arguments->positional + 1, &config, &source);
    if (status == CANTO_OK) status = canto_config_require(&config, source, "data.path");
    if (status == CANTO_OK) status = canto_data_anchor(&config);
    canto_config_source_destroy(&source);
    if (status != CANTO_OK) return canto_job_refuse(status);
    if (arguments->ranks >= 0 && !arguments->dry_run) {
        canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                          "--ranks is for --dry-run; mpirun -n gives a run its ranks");
        return canto_job_refuse(CANTO_ERROR_CONFIG);
    }
    if (arguments->dry_run) return canto_dry_run(&config, arguments);
    canto_job job;
    run r = {.config = &config, .job = &job, .metrics = {.file = -1}};
    status = canto_tracing_read(arguments, &r.tracing);
    if (status != CANTO_OK) return canto_job_refuse(status);
    canto_signals_catch(); // before the start, which may take long: a request is kept until a step
    status = canto_job_open_traced(&config, canto_tracing_trace(&r.tracing), &job);
    if (status == CANTO_OK) status = train(&r);
    canto_metrics_close(&r.metrics);
    canto_lock_release(&r.lock);
    canto_tracing_close(&r.tracing);
    canto_trainer_destroy(&r.trainer);
    return canto_job_close(&job, status, r.leave ? CANTO_EXIT_REQUEUE : CANTO_EXIT_DONE);
}
