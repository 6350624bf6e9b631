// canto plot: RUN/loss.dat and RUN/loss.gp for gnuplot, and RUN/loss.svg made by it.
#define _GNU_SOURCE
#include "launch/arguments.h"
#include "launch/command.h"
#include "launch/config.h"
#include "launch/exit_code.h"
#include "launch/job.h"
#include "launch/metrics.h"

#include <errno.h>
#include <jansson.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

extern char **environ;

enum { PATH_BYTES = CANTO_TEXT_MAX + 32 };

typedef struct {
    FILE *steps, *evaluations;
    int64_t steps_n, evaluations_n;
    bool text; // a record has bits per byte
} curves;

static void add_record(void *context, const json_t *record)
{
    curves *c = context;
    double step = json_number_value(json_object_get(record, "step"));
    const json_t *bits_per_byte = json_object_get(record, "bits_per_byte");
    double bits =
        json_number_value(bits_per_byte ? bits_per_byte : json_object_get(record, "loss"));
    const char *event = json_string_value(json_object_get(record, "event"));
    c->text = c->text || bits_per_byte;
    if (!event) {
        fprintf(c->steps, "%.0f %.6f\n", step, bits);
        c->steps_n++;
    } else if (strcmp(event, "eval") == 0) {
        fprintf(c->evaluations, "%.0f %.6f\n", step, bits);
        c->evaluations_n++;
    }
}

static canto_status write_data(const char *run, curves *c)
{
    char steps[PATH_BYTES], evaluations[PATH_BYTES];
    int64_t skipped;
    snprintf(steps, sizeof steps, "%s/loss.dat", run);
    snprintf(evaluations, sizeof evaluations, "%s/eval.dat", run);
    c->steps = fopen(steps, "we");
    c->evaluations = fopen(evaluations, "we");
    canto_status status = CANTO_OK;
    if (!c->steps || !c->evaluations)
        status = canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "%s: cannot write: %s", run,
                                   strerror(errno));
    if (status == CANTO_OK) status = canto_metrics_read(run, add_record, c, &skipped);
    if (c->steps && fclose(c->steps) != 0 && status == CANTO_OK)
        status =
            canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "%s: %s", steps, strerror(errno));
    if (c->evaluations && fclose(c->evaluations) != 0 && status == CANTO_OK) {
        status = canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "%s: %s", evaluations,
                                   strerror(errno));
    }
    if (status == CANTO_OK && c->steps_n == 0)
        status = canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__,
                                   "%s/metrics.jsonl holds no step yet", run);
    return status;
}

// Paths stand in the script as gnuplot strings; it runs in the run directory, so they are plain
// names.
static canto_status write_script(const char *run, const curves *c)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/loss.gp", run);
    FILE *file = fopen(path, "we");
    if (!file) CANTO_FAIL(CANTO_ERROR_IO, "%s: %s", path, strerror(errno));
    fprintf(file,
            "set terminal svg size 800,480 font 'sans,14' background rgb 'white'\nset output "
            "'loss.svg'\n"
            "set xlabel 'step'\nset ylabel '%s'\nset grid lc rgb '#dddddd'\nset "
            "key top right\nset border 3\nset tics nomirror\n",
            c->text ? "bits per byte" : "nats per token");
    fprintf(file,
            "plot 'loss.dat' using 1:2 with lines lc rgb '#9ecae1' title 'training', \\\n     "
            "'loss.dat' using 1:2 smooth bezier lw 2 lc rgb '#08519c' title 'training, smoothed'");
    if (c->evaluations_n > 0)
        fprintf(file, ", \\\n     'eval.dat' using 1:2 with points pt 7 ps 0.8 lc rgb '#d94801' "
                      "title 'held out'");
    fprintf(file, "\n");
    if (fclose(file) != 0) CANTO_FAIL(CANTO_ERROR_IO, "%s: %s", path, strerror(errno));
    return CANTO_OK;
}

static canto_status run_gnuplot(const char *run)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, run);
    char *const argv[] = {"gnuplot", "loss.gp", NULL};
    pid_t child;
    int error = posix_spawnp(&child, "gnuplot", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED,
                   "plot: gnuplot cannot be started (%s); install gnuplot-nox, or run %s/loss.gp "
                   "elsewhere",
                   strerror(error), run);
    int state;
    waitpid(child, &state, 0);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        CANTO_FAIL(CANTO_ERROR_IO, "plot: gnuplot failed on %s/loss.gp", run);
    return CANTO_OK;
}

int canto_command_plot(const canto_arguments *a)
{
    const char *dir = a->positional[0];
    curves c = {0};
    canto_status status = write_data(dir, &c);
    if (status == CANTO_OK) status = write_script(dir, &c);
    if (status == CANTO_OK) status = run_gnuplot(dir);
    if (status != CANTO_OK) return canto_job_refuse(status);
    printf("%s/loss.svg: %lld steps, %lld evaluations\n", dir, (long long)c.steps_n,
           (long long)c.evaluations_n);
    return CANTO_EXIT_DONE;
}
