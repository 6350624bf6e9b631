// One pass over the records; groups and smooth curves afterwards. Memory of the order of the steps.
#define _GNU_SOURCE
#include "launch/plot_data.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

// A smooth curve is the mean over this part of all points around each.
enum { SMOOTH_PART = 40, SMOOTH_LEAST = 3 };

static canto_status grow(void **list, int64_t n, int64_t *capacity, size_t bytes)
{
    if (n < *capacity) return CANTO_OK;
    const int64_t more = *capacity ? 2 * *capacity : 256;
    void *larger = realloc(*list, (size_t)more * bytes);
    if (!larger)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "plot: no memory for %lld records", (long long)more);
    *list = larger;
    *capacity = more;
    return CANTO_OK;
}

// --- reading ---

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : NAN;
}

// Only text has bytes to count.
static double loss_in(canto_plot_data *data, const json_t *record)
{
    const double bits = number(record, "bits_per_byte");
    const double nats = number(record, "loss");
    data->tokens = data->tokens || (isnan(bits) && !isnan(nats));
    return isnan(bits) ? nats : bits;
}

// Times of all ranks, one by one or summed up.
static bool read_spread(const json_t *times, canto_spread *out)
{
    double list[CANTO_METRICS_RANKS_MAX];
    const size_t n = json_array_size(times);
    if (json_is_object(times)) {
        *out = (canto_spread){1e-6 * number(times, "min"), 1e-6 * number(times, "mean"),
                              1e-6 * number(times, "max"), (int)number(times, "slowest")};
        return isfinite(out->min + out->mean + out->max);
    }
    if (n == 0 || n > CANTO_METRICS_RANKS_MAX) return false;
    for (size_t i = 0; i < n; i++) list[i] = 1e-6 * json_number_value(json_array_get(times, i));
    *out = canto_spread_of((int)n, list, sizeof *list);
    return true;
}

// Another number of ranks starts new means.
static void add_ranks(canto_plot_data *data, double step, const json_t *compute, const json_t *wait)
{
    const int n = (int)json_array_size(compute);
    if (n > CANTO_METRICS_RANKS_MAX || n != (int)json_array_size(wait)) return;
    if (n != data->ranks_n) {
        memset(data->ranks, 0, sizeof data->ranks);
        data->ranks_n = n;
        data->ranks_steps = 0;
        data->ranks_first = step;
    }
    for (int r = 0; r < n; r++) {
        data->ranks[r].compute_s += 1e-6 * json_number_value(json_array_get(compute, (size_t)r));
        data->ranks[r].wait_s += 1e-6 * json_number_value(json_array_get(wait, (size_t)r));
    }
    data->ranks_steps++;
    data->ranks_last = step;
}

static canto_status add_step(canto_plot_data *data, const json_t *record)
{
    const json_t *compute = json_object_get(record, "compute_us");
    const json_t *wait = json_object_get(record, "wait_us");
    canto_plot_point point = {.step = number(record, "step"),
                              .loss = loss_in(data, record),
                              .tokens_per_s = number(record, "tokens_per_s")};
    if (isnan(point.step) || isnan(point.loss)) return CANTO_OK;
    point.timed = read_spread(compute, &point.compute_s) && read_spread(wait, &point.wait_s);
    CANTO_TRY(
        grow((void **)&data->points, data->points_n, &data->points_capacity, sizeof *data->points));
    data->points[data->points_n++] = point;
    data->timed = data->timed || point.timed;
    add_ranks(data, point.step, compute, wait);
    return CANTO_OK;
}

static canto_status add_evaluation(canto_plot_data *data, const json_t *record)
{
    const canto_plot_evaluation evaluation = {number(record, "step"), loss_in(data, record)};
    if (isnan(evaluation.step) || isnan(evaluation.loss)) return CANTO_OK;
    CANTO_TRY(grow((void **)&data->evaluations, data->evaluations_n, &data->evaluations_capacity,
                   sizeof *data->evaluations));
    data->evaluations[data->evaluations_n++] = evaluation;
    return CANTO_OK;
}

static void add_record(void *context, const json_t *record)
{
    canto_plot_data *data = context;
    const char *event = json_string_value(json_object_get(record, "event"));
    if (data->status != CANTO_OK) return;
    if (!event)
        data->status = add_step(data, record);
    else if (strcmp(event, "eval") == 0)
        data->status = add_evaluation(data, record);
}

// --- groups ---

static void join_spread(canto_spread *sum, canto_spread x, int64_t i, int64_t n)
{
    if (i == 0 || x.min < sum->min) sum->min = x.min;
    if (i == 0 || x.max > sum->max) sum->max = x.max, sum->slowest = x.slowest;
    sum->mean = (i == 0 ? 0 : sum->mean) + x.mean / (double)n;
}

// The mean of n points.
static canto_plot_point join_points(const canto_plot_point *points, int64_t n)
{
    canto_plot_point sum = {.step = points[n - 1].step, .timed = true};
    double seconds_per_token = 0; // all steps have as many tokens
    for (int64_t i = 0; i < n; i++) {
        sum.loss += points[i].loss / (double)n;
        seconds_per_token += 1 / points[i].tokens_per_s / (double)n;
        sum.timed = sum.timed && points[i].timed;
        join_spread(&sum.compute_s, points[i].compute_s, i, n);
        join_spread(&sum.wait_s, points[i].wait_s, i, n);
    }
    sum.tokens_per_s = 1 / seconds_per_token;
    return sum;
}

static void group(canto_plot_data *data)
{
    const int64_t n = data->points_n;
    const int64_t each = (n + CANTO_PLOT_POINTS_MAX - 1) / CANTO_PLOT_POINTS_MAX;
    data->steps = n;
    data->points_n = 0;
    for (int64_t first = 0; first < n; first += each) {
        const int64_t left = n - first;
        data->points[data->points_n++] =
            join_points(data->points + first, left < each ? left : each);
    }
}

// Means over a window around each point; at an end it is cut on the side of the end alone, so that
// the last values are as smooth as the others.
static void smooth(canto_plot_data *data)
{
    const int64_t part = data->points_n / SMOOTH_PART;
    const int64_t reach = part > SMOOTH_LEAST ? part : SMOOTH_LEAST;
    for (int64_t i = 0; i < data->points_n; i++) {
        const int64_t after = data->points_n - 1 - i;
        const int64_t first = i - (reach < i ? reach : i);
        const int64_t last = i + (reach < after ? reach : after);
        const canto_plot_point mean = join_points(data->points + first, last - first + 1);
        data->points[i].smooth_loss = mean.loss;
        data->points[i].smooth_tokens_per_s = mean.tokens_per_s;
    }
}

canto_status canto_plot_read(const char *run, canto_plot_data *out)
{
    *out = (canto_plot_data){0};
    CANTO_TRY(canto_metrics_read(run, add_record, out, &out->skipped));
    CANTO_TRY(out->status);
    if (out->points_n == 0) CANTO_FAIL(CANTO_ERROR_IO, "%s/metrics.jsonl holds no step yet", run);
    for (int r = 0; r < out->ranks_n; r++) {
        out->ranks[r].compute_s /= (double)out->ranks_steps;
        out->ranks[r].wait_s /= (double)out->ranks_steps;
    }
    group(out);
    smooth(out);
    return CANTO_OK;
}

void canto_plot_free(canto_plot_data *data)
{
    free(data->points);
    free(data->evaluations);
    *data = (canto_plot_data){0};
}
