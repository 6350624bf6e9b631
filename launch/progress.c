// Fixed-width columns; units in every line.
#define _GNU_SOURCE
#include "launch/progress.h"

#include "runtime/probe.h"

#include <math.h>

static void describe_data(const canto_progress *p, const canto_data *data)
{
    const char *unit = data->corpus.text ? "bytes" : "tokens";
    canto_log_line(p->log, "data %lld %s in %d file%s, %lld to train on, order %s",
                   (long long)data->corpus.tokens, unit, data->corpus.files_n,
                   data->corpus.files_n == 1 ? "" : "s", (long long)data->train_size,
                   canto_data_order_name((int)p->config->data.order));
    if (data->order.kind == CANTO_ORDER_CUT)
        canto_log_line(
            p->log, "documents: %lld, of which %lld are too short and left out, %.1f %% of the %s",
            (long long)data->order.documents, (long long)data->order.left_out,
            100.0 * (double)data->order.left_out_tokens / (double)data->train_size, unit);
    else if (data->order.documents > 0)
        canto_log_line(p->log, "documents: %lld", (long long)data->order.documents);
}

// The last step of this start, which began after `step`.
static int64_t target_of(const canto_config *config, int64_t step)
{
    const int64_t stop = config->train.stop_after;
    return stop > step && stop < config->train.steps ? stop : config->train.steps;
}

// train.stop_after, which may lie in the past.
static void tell_target(const canto_progress *p, int64_t step)
{
    const int64_t stop = p->config->train.stop_after, steps = p->config->train.steps;
    if (stop <= 0 || stop >= steps || step >= steps) return;
    if (stop > step)
        canto_log_line(p->log,
                       "train.stop_after: leaves after step %lld; the time left is until then",
                       (long long)stop);
    else
        canto_log_line(p->log, "train.stop_after %lld is over: goes on to step %lld",
                       (long long)stop, (long long)steps);
}

// Widened products are slower than those of fp32.
static void tell_precision(const canto_progress *p)
{
    if (p->config->model.dtype != CANTO_BF16) return;
    const canto_probe_products products = canto_probe_products_look();
    if (products.bf16)
        canto_log_line(p->log, "products of bf16 numbers, sums and all else in fp32");
    else
        canto_log_line(p->log,
                       "products of bf16 numbers, widened to fp32 because %s: slower than "
                       "train.dtype=fp32, with the rounding of bf16",
                       products.fastest ? "this processor has no instructions for them"
                                        : "this build has no oneDNN");
}

static void heading(const canto_progress *p, const canto_trainer *trainer, int64_t step)
{
    const canto_job *job = trainer->job;
    const canto_model_config *model = &p->config->model;
    canto_log_line(p->log, "run %s: %s step %lld of %lld", p->config->run.dir,
                   step > 0 ? "continues after" : "starts at", (long long)step,
                   (long long)p->config->train.steps);
    tell_target(p, step);
    canto_log_line(
        p->log,
        "ranks: %d (replicas %d, context ranks %d), threads %d each (cores %d, shared by %d)",
        job->world->size, job->mesh.dp, job->mesh.cp, job->threads.threads, job->threads.cores,
        job->threads.sharing);
    canto_log_line(p->log,
                   "model %d layers of %s, width %d, %.2f M parameters; softmax by %s, linear by "
                   "%s, layout %s",
                   model->layers, model->pattern, model->d_model,
                   (double)canto_params_count(canto_model_params(trainer->model)) / 1e6,
                   p->config->parallel.softmax->name, p->config->parallel.linear->name,
                   canto_layout_name((int)p->config->parallel.layout));
    tell_precision(p);
    describe_data(p, &trainer->data);
    canto_log_line(
        p->log,
        "a step reads %lld x %lld x %lld tokens; memory of this rank: parameters %.1f, activations "
        "%.1f, "
        "work %.1f MB",
        (long long)p->config->train.accumulate, (long long)p->config->train.batch,
        (long long)p->config->train.seq_len, (double)trainer->arenas.params.capacity / 1e6,
        (double)trainer->arenas.step.capacity / 1e6, (double)trainer->arenas.work.capacity / 1e6);
}

void canto_progress_start(canto_progress *p, const canto_trainer *trainer, int64_t step)
{
    const canto_config *config = trainer->config;
    *p = (canto_progress){
        .log = &trainer->job->log, .config = config, .text = trainer->data.corpus.text};
    heading(p, trainer, step);
}

// "3:07", "1:02:03"
static void clock_text(double seconds, char out[32])
{
    long s = lround(seconds);
    if (s >= 3600)
        snprintf(out, 32, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, 32, "%ld:%02ld", s / 60, s % 60);
}

// What the loss means: bits per byte of text, perplexity of other tokens.
static void score_text(const canto_progress *p, double loss, char out[32])
{
    if (p->text)
        snprintf(out, 32, "%6.4f bits/byte", loss / M_LN2);
    else
        snprintf(out, 32, "perplexity %7.4g", exp(loss));
}

void canto_progress_step(canto_progress *p, int64_t step, const canto_step_result *result)
{
    char line[160], left[32], score[32];
    int64_t steps = p->config->train.steps;
    const int64_t target = target_of(p->config, step - 1);
    p->step_s = p->step_s > 0 ? 0.95 * p->step_s + 0.05 * result->step_s : result->step_s;
    clock_text((double)(target - step) * p->step_s, left);
    score_text(p, result->loss, score);
    // Fits a terminal of 80 columns.
    snprintf(line, sizeof line, "step %*lld/%lld  loss %6.4f  %s  %7.0f tokens/s  left %s",
             (int)log10((double)steps) + 1, (long long)step, (long long)steps, result->loss, score,
             (double)result->tokens / p->step_s, left);
    bool plain = step == 1 || step == target ||
                 (p->config->log.every > 0 && step % p->config->log.every == 0);
    canto_log_live(p->log, "%s", line);
    if (plain && p->log->terminal < 0) canto_log_line(p->log, "%s", line);
}

void canto_progress_saved(canto_progress *p, int64_t step)
{
    canto_log_line(p->log, "saved %s/checkpoints/step-%08lld", p->config->run.dir, (long long)step);
}

void canto_progress_evaluated(canto_progress *p, int64_t step, double loss, int64_t tokens)
{
    char score[32];
    score_text(p, loss, score);
    canto_log_line(p->log, "after step %lld: %s on %lld held-out %s", (long long)step, score,
                   (long long)tokens, p->text ? "bytes" : "tokens");
}

void canto_progress_end(canto_progress *p, int64_t step, bool left)
{
    if (left)
        canto_log_line(p->log, "left after step %lld of %lld; the same command continues",
                       (long long)step, (long long)p->config->train.steps);
    else
        canto_log_line(p->log, "done: step %lld; numbers in %s/metrics.jsonl", (long long)step,
                       p->config->run.dir);
}
