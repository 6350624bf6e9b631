// canto plot: a run's loss, speed and times as SVG, or what would be drawn as JSON.
#define _GNU_SOURCE
#include "launch/command.h"
#include "launch/config.h"
#include "launch/exit_code.h"
#include "launch/job.h"
#include "launch/plot_files.h"
#include "launch/amount.h"

#include <jansson.h>
#include <stdio.h>

static json_t *spread_json(canto_spread spread)
{
    return json_pack("{s:f, s:f, s:f}", "min", spread.min, "mean", spread.mean, "max", spread.max);
}

static json_t *point_json(const canto_plot_point *point)
{
    json_t *object =
        json_pack("{s:f, s:f, s:f, s:f, s:f}", "step", point->step, "loss", point->loss,
                  "smooth_loss", point->smooth_loss, "tokens_per_s", point->tokens_per_s,
                  "smooth_tokens_per_s", point->smooth_tokens_per_s);
    if (!point->timed) return object;
    json_object_set_new(object, "compute_s", spread_json(point->compute_s));
    json_object_set_new(object, "wait_s", spread_json(point->wait_s));
    return object;
}

static void print_json(const canto_plot_data *data)
{
    json_t *steps = json_array(), *evaluations = json_array(), *ranks = json_array();
    for (int64_t i = 0; i < data->points_n; i++)
        json_array_append_new(steps, point_json(&data->points[i]));
    for (int64_t i = 0; i < data->evaluations_n; i++)
        json_array_append_new(evaluations,
                              json_pack("{s:f, s:f}", "step", data->evaluations[i].step, "loss",
                                        data->evaluations[i].loss));
    for (int r = 0; r < data->ranks_n; r++)
        json_array_append_new(ranks,
                              json_pack("{s:i, s:f, s:f}", "rank", r, "compute_s",
                                        data->ranks[r].compute_s, "wait_s", data->ranks[r].wait_s));
    json_t *object = json_pack("{s:s, s:o, s:o, s:o}", "loss_in",
                               data->tokens ? "nats per token" : "bits per byte", "steps", steps,
                               "evaluations", evaluations, "ranks", ranks);
    json_dumpf(object, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(object);
}

static canto_status draw(const canto_plot_data *data, const canto_arguments *arguments)
{
    const char *run = arguments->positional[0];
    char dir[CANTO_TEXT_MAX + 16];
    snprintf(dir, sizeof dir, "%s/plots", run);
    if (arguments->output) snprintf(dir, sizeof dir, "%s", arguments->output);
    CANTO_TRY(canto_plot_write(data, run, dir));
    CANTO_TRY(canto_plot_draw(dir));
    printf("%s/loss.svg\n%s/speed.svg\n", dir, dir);
    if (data->timed)
        printf("%s/times.svg\n", dir);
    else
        printf("no times.svg: the steps were written without times of ranks\n");
    printf("%lld step%s, %lld evaluation%s; the figures are in the CSV files there\n",
           (long long)data->steps, canto_plural(data->steps), (long long)data->evaluations_n,
           canto_plural(data->evaluations_n));
    return CANTO_OK;
}

int canto_command_plot(const canto_arguments *arguments)
{
    canto_plot_data data;
    canto_status status = canto_plot_read(arguments->positional[0], &data);
    if (status == CANTO_OK && arguments->json)
        print_json(&data);
    else if (status == CANTO_OK)
        status = draw(&data, arguments);
    canto_plot_free(&data);
    return status == CANTO_OK ? CANTO_EXIT_DONE : canto_job_refuse(status);
}
