// Lines of JSON through jansson; doubles are written with 17 digits, which read back to the same
// bits.
#define _GNU_SOURCE
#include "launch/metrics.h"

#include "launch/summary.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + floor((double)t.tv_nsec / 1e6) / 1e3;
}

static canto_status append(int file, const char *line, size_t length)
{
    ssize_t written = write(file, line, length);
    if (written != (ssize_t)length)
        CANTO_FAIL(CANTO_ERROR_IO, "metrics.jsonl: cannot append: %s",
                   written < 0 ? strerror(errno) : "disk full");
    return CANTO_OK;
}

static canto_status write_object(const canto_metrics *metrics, json_t *object)
{
    char *text = json_dumps(object, JSON_COMPACT);
    json_decref(object);
    if (!text) CANTO_FAIL(CANTO_ERROR_MEMORY, "metrics.jsonl: no memory for one line");
    size_t length = strlen(text);
    text[length] = '\n'; // over the terminator: written by length
    canto_status status = append(metrics->file, text, length + 1);
    free(text);
    return status;
}

static json_t *bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return json_sprintf("0x%016llx", (unsigned long long)bits);
}

static json_t *microseconds(double seconds)
{
    return json_integer(llround(1e6 * seconds));
}

// Of all ranks, `first` being rank 0's. Whole microseconds, which take few digits.
static json_t *times(int ranks, const double *first)
{
    const size_t stride = sizeof(canto_step_figures);
    if (ranks > CANTO_METRICS_RANKS_MAX) {
        const canto_spread spread = canto_spread_of(ranks, first, stride);
        return json_pack("{s:o, s:o, s:o, s:i}", "min", microseconds(spread.min), "mean",
                         microseconds(spread.mean), "max", microseconds(spread.max), "slowest",
                         spread.slowest);
    }
    json_t *list = json_array();
    for (int r = 0; r < ranks; r++)
        json_array_append_new(
            list, microseconds(*(const double *)((const char *)first + (size_t)r * stride)));
    return list;
}

canto_status canto_metrics_write_step(const canto_metrics *metrics, const canto_metrics_step *r)
{
    json_t *object =
        json_pack("{s:I, s:f, s:o, s:f, s:o, s:f, s:I, s:f, s:f, s:f, s:I, s:i, s:f}", "step",
                  (json_int_t)r->step, "loss", r->loss, "loss_bits", bits_of(r->loss), "grad_norm",
                  r->grad_norm, "grad_norm_bits", bits_of(r->grad_norm), "lr", r->lr, "tokens",
                  (json_int_t)r->tokens, "tokens_per_s", (double)r->tokens / r->step_s, "step_s",
                  r->step_s, "comm_wait_s", r->comm_wait_s, "bytes_sent", (json_int_t)r->bytes_sent,
                  "ranks", r->ranks, "time", now());
    if (!object)
        CANTO_FAIL(CANTO_ERROR_NUMBERS, "metrics.jsonl: step %lld has a number that is not finite",
                   (long long)r->step);
    if (r->figures) {
        json_object_set_new(object, "compute_us", times(r->ranks, &r->figures->compute_s));
        json_object_set_new(object, "wait_us", times(r->ranks, &r->figures->wait_s));
    }
    if (r->text) json_object_set_new(object, "bits_per_byte", json_real(r->loss / M_LN2));
    return write_object(metrics, object);
}

json_t *canto_metrics_evaluation(int64_t step, double loss, int64_t tokens, bool text)
{
    return json_pack("{s:I, s:f, s:f, s:I}", "step", (json_int_t)step, "loss", loss,
                     text ? "bits_per_byte" : "perplexity",
                     text ? loss / M_LN2 : exp(fmin(loss, 700)), text ? "bytes" : "tokens",
                     (json_int_t)tokens);
}

canto_status canto_metrics_write_event(const canto_metrics *metrics, const char *name,
                                       json_t *fields)
{
    if (!fields)
        CANTO_FAIL(CANTO_ERROR_NUMBERS, "metrics.jsonl: event %s has a number that is not finite",
                   name);
    json_t *object = fields;
    json_object_set_new(object, "event", json_string(name));
    json_object_set_new(object, "time", json_real(now()));
    return write_object(metrics, object);
}

// Whether a line is a whole record at or before `step`.
static bool keeps(const char *line, size_t length, int64_t step)
{
    if (length == 0 || line[length - 1] != '\n') return false;
    json_t *object = json_loadb(line, length, 0, NULL);
    json_t *at = json_object_get(object, "step");
    bool keep = json_is_object(object) && (!at || json_integer_value(at) <= step);
    json_decref(object);
    return keep;
}

typedef struct {
    FILE *from, *kept, *discarded;
} split;

static canto_status split_lines(const split *files, int64_t step, int64_t *moved)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    bool good = true;
    while ((length = getline(&line, &capacity, files->from)) > 0) {
        bool keep = keeps(line, (size_t)length, step);
        good = good && fwrite(line, 1, (size_t)length, keep ? files->kept : files->discarded) ==
                           (size_t)length;
        if (!keep && line[length - 1] != '\n') good = good && fputc('\n', files->discarded) != EOF;
        *moved += !keep;
    }
    free(line);
    good = good && !ferror(files->from) && fflush(files->kept) == 0 &&
           fsync(fileno(files->kept)) == 0 && fflush(files->discarded) == 0;
    if (!good)
        CANTO_FAIL(CANTO_ERROR_IO, "metrics.jsonl: cannot set aside records beyond step %lld: %s",
                   (long long)step, strerror(errno));
    return CANTO_OK;
}

// The kept records go to a new file that replaces the old one only when it is complete.
static canto_status set_aside(const char *run, const char *path, int64_t step, int64_t *moved)
{
    char discarded[PATH_BYTES], kept[PATH_BYTES];
    snprintf(discarded, sizeof discarded, "%s/metrics.discarded.jsonl", run);
    snprintf(kept, sizeof kept, "%s/.metrics.kept", run);
    split files = {
        .from = fopen(path, "re"), .kept = fopen(kept, "we"), .discarded = fopen(discarded, "ae")};
    canto_status status = CANTO_OK;
    if (!files.from)
        status = errno == ENOENT ? CANTO_OK
                                 : canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "%s: %s",
                                                     path, strerror(errno));
    else if (!files.kept || !files.discarded)
        status = canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "%s: cannot write: %s", run,
                                   strerror(errno));
    else
        status = split_lines(&files, step, moved);
    if (files.from) fclose(files.from);
    if (files.kept) fclose(files.kept);
    if (files.discarded) fclose(files.discarded);
    if (status == CANTO_OK && *moved > 0 && rename(kept, path) != 0) {
        status =
            canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "%s: %s", path, strerror(errno));
    }
    unlink(kept);
    if (*moved == 0 && access(discarded, F_OK) == 0) {
        FILE *empty = fopen(discarded, "re");
        if (empty && fgetc(empty) == EOF) unlink(discarded);
        if (empty) fclose(empty);
    }
    return status;
}

canto_status canto_metrics_open(const char *run, int64_t step, canto_metrics *out, int64_t *moved)
{
    *out = (canto_metrics){.file = -1};
    *moved = 0;
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    CANTO_TRY(set_aside(run, path, step, moved));
    out->file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (out->file < 0) CANTO_FAIL(CANTO_ERROR_IO, "%s: %s", path, strerror(errno));
    return CANTO_OK;
}

void canto_metrics_close(canto_metrics *metrics)
{
    if (metrics->file >= 0) close(metrics->file);
    metrics->file = -1;
}

canto_status canto_metrics_read(const char *run, canto_metrics_visit visit, void *context,
                                int64_t *skipped)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/metrics.jsonl", run);
    FILE *file = fopen(path, "re");
    if (!file) CANTO_FAIL(CANTO_ERROR_IO, "%s holds no run: %s: %s", run, path, strerror(errno));
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    *skipped = 0;
    while ((length = getline(&line, &capacity, file)) > 0) {
        json_t *object = json_loadb(line, (size_t)length, 0, NULL);
        if (json_is_object(object))
            visit(context, object);
        else
            ++*skipped;
        json_decref(object);
    }
    free(line);
    fclose(file);
    return CANTO_OK;
}
