// Texts of the files, and gnuplot as a child process that works in their directory.
#define _GNU_SOURCE
#include "launch/plot_files.h"

#include <errno.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

extern char **environ;

enum { PATH_BYTES = 4096, TITLE_BYTES = 512 };
// Columns left of a figure, with room for numbers of DIGITS digits beside the label.
enum { MARGIN = 11, DIGITS = 5, DIGITS_MAX = 15 };

typedef canto_status (*writer)(const canto_plot_data *data, const char *title, FILE *file);

// --- figures ---

static canto_status write_steps(const canto_plot_data *data, const char *title, FILE *file)
{
    (void)title;
    fprintf(file, "step,loss,smooth_loss,tokens_per_s,smooth_tokens_per_s,"
                  "compute_min_s,compute_mean_s,compute_max_s,wait_min_s,wait_mean_s,wait_max_s\n");
    for (int64_t i = 0; i < data->points_n; i++) {
        const canto_plot_point *p = &data->points[i];
        fprintf(file, "%.0f,%.6f,%.6f,%.6g,%.6g", p->step, p->loss, p->smooth_loss, p->tokens_per_s,
                p->smooth_tokens_per_s);
        if (p->timed)
            fprintf(file, ",%.6f,%.6f,%.6f,%.6f,%.6f,%.6f\n", p->compute_s.min, p->compute_s.mean,
                    p->compute_s.max, p->wait_s.min, p->wait_s.mean, p->wait_s.max);
        else
            fprintf(file, ",,,,,,\n");
    }
    return CANTO_OK;
}

static canto_status write_evaluations(const canto_plot_data *data, const char *title, FILE *file)
{
    (void)title;
    fprintf(file, "step,loss\n");
    for (int64_t i = 0; i < data->evaluations_n; i++)
        fprintf(file, "%.0f,%.6f\n", data->evaluations[i].step, data->evaluations[i].loss);
    return CANTO_OK;
}

static canto_status write_ranks(const canto_plot_data *data, const char *title, FILE *file)
{
    (void)title;
    fprintf(file, "rank,compute_s,wait_s\n");
    for (int r = 0; r < data->ranks_n; r++)
        fprintf(file, "%d,%.6f,%.6f\n", r, data->ranks[r].compute_s, data->ranks[r].wait_s);
    return CANTO_OK;
}

// --- script ---

static const char *const preamble =
    "# Made by canto plot; run gnuplot on it in this directory.\n"
    "set datafile separator ','\n"
    "set border 3 lc rgb '#444444'\nset tics nomirror out tc rgb '#444444'\n"
    "set grid lc rgb '#e4e4e4' lt 1\nset key outside top center horizontal maxrows 1 samplen 2 "
    "font ',12'\n"
    "set lmargin 11\nset rmargin 4\nset bmargin 3.6\n";

static void begin_svg(FILE *file, const char *name, int height)
{
    fprintf(file,
            "\nset terminal svg noenhanced size 900,%d font 'sans,14' background rgb 'white'\n"
            "set output '%s.svg'\n",
            height, name);
}

// One point makes neither a range nor a line.
static void set_ranges(const canto_plot_data *data, FILE *file)
{
    const double step = data->points[0].step;
    if (data->points_n == 1)
        fprintf(file, "set xrange [%.0f:%.0f]\nset yrange [0:*]\n", step - 1, step + 1);
    else
        fprintf(file, "set autoscale y\n");
}

static const char *curve(const canto_plot_data *data)
{
    return data->points_n == 1 ? "points pt 7" : "lines";
}

static void plot_loss(const canto_plot_data *data, const char *title, FILE *file)
{
    begin_svg(file, "loss", 500);
    set_ranges(data, file);
    fprintf(file,
            "set title '%s: loss'\nset xlabel 'step'\nset ylabel '%s'\n"
            "plot 'steps.csv' skip 1 using 1:2 with %s lw 1 lc rgb '#9ecae1' title 'training', "
            "\\\n     '' skip 1 using 1:3 with %s lw 2 lc rgb '#08519c' title 'training, "
            "smoothed'",
            title, data->tokens ? "nats per token" : "bits per byte", curve(data), curve(data));
    if (data->evaluations_n > 0)
        fprintf(file, ", \\\n     'evaluations.csv' skip 1 using 1:2 with linespoints lw 1 dt 2 "
                      "pt 7 ps 0.8 lc rgb '#d94801' title 'held out'");
    fprintf(file, "\n");
}

static double fastest(const canto_plot_data *data)
{
    double most = 0;
    for (int64_t i = 0; i < data->points_n; i++) {
        if (data->points[i].tokens_per_s > most) most = data->points[i].tokens_per_s;
    }
    return most;
}

// Of the whole part of the largest number at a scale that ends at or above x; at least DIGITS.
static int digits_of(double x)
{
    int digits = DIGITS;
    for (double next = 0.5 * pow(10, DIGITS); x > next && digits < DIGITS_MAX; next *= 10) digits++;
    return digits;
}

static void plot_speed(const canto_plot_data *data, const char *title, FILE *file)
{
    begin_svg(file, "speed", 400);
    fprintf(file,
            "set title '%s: speed, all ranks together'\nset xlabel 'step'\n"
            "set ylabel 'tokens per second'\nset yrange [0:*]\nset lmargin %d\n"
            "plot 'steps.csv' skip 1 using 1:4 with %s lw 1 lc rgb '#a1d99b' title 'a step', "
            "\\\n     '' skip 1 using 1:5 with %s lw 2 lc rgb '#006d2c' title 'smoothed'\nset "
            "lmargin %d\n",
            title, MARGIN + digits_of(fastest(data)) - DIGITS, curve(data), curve(data), MARGIN);
}

typedef struct {
    const char *name;
    double factor;
} unit;

static unit time_unit(const canto_plot_data *data)
{
    double most = 0;
    for (int64_t i = 0; i < data->points_n; i++) {
        const canto_plot_point *p = &data->points[i];
        if (p->timed && p->compute_s.mean + p->wait_s.mean > most)
            most = p->compute_s.mean + p->wait_s.mean;
    }
    return most < 0.5 ? (unit){"milliseconds", 1e3} : (unit){"seconds", 1};
}

static void plot_bars(const canto_plot_data *data, unit time, FILE *file)
{
    fprintf(file,
            "set title 'each rank, mean of steps %.0f to %.0f'\nset xlabel 'rank'\n"
            "set ylabel '%s a step'\nset style data histograms\nset style histogram rowstacked\n"
            "set style fill solid 0.9 noborder\nset boxwidth 0.7\nset yrange [0:*]\nunset grid\n"
            "set grid y lc rgb '#e4e4e4' lt 1\nset xrange [-0.6:%d-0.4]\n",
            data->ranks_first, data->ranks_last, time.name, data->ranks_n);
    // Few labels when there are many ranks.
    fprintf(file,
            "plot 'ranks.csv' skip 1 using (%g*$2):xtic(int($1)%%%d==0 ? strcol(1) : '') lc rgb "
            "'#6baed6' title 'computing', '' skip 1 using (%g*$3) lc rgb '#fdae6b' title "
            "'waiting'\n",
            time.factor, data->ranks_n > 32 ? 4 : 1, time.factor);
}

static void plot_times(const canto_plot_data *data, const char *title, FILE *file)
{
    const unit time = time_unit(data);
    begin_svg(file, "times", data->ranks_n > 0 ? 760 : 440);
    if (data->ranks_n > 0) fprintf(file, "set multiplot layout 2,1\n");
    fprintf(file,
            "set title '%s: time of a step'\nset xlabel 'step'\nset ylabel '%s'\n"
            "set yrange [0:*]\nset style fill solid 0.9 noborder\n"
            "plot 'steps.csv' skip 1 using 1:(%g*($7+$10)) with filledcurves y1=0 lc rgb '#fdae6b' "
            "title 'waiting, mean', \\\n"
            "     '' skip 1 using 1:(%g*$7) with filledcurves y1=0 lc rgb '#6baed6' title "
            "'computing, mean', \\\n"
            "     '' skip 1 using 1:(%g*$8) with lines lw 1.5 lc rgb '#08306b' title 'computing, "
            "slowest', \\\n"
            "     '' skip 1 using 1:(%g*$6) with lines lw 1.5 dt 3 lc rgb '#08306b' title "
            "'computing, fastest'\n",
            title, time.name, time.factor, time.factor, time.factor, time.factor);
    if (data->ranks_n == 0) return;
    plot_bars(data, time, file);
    fprintf(file, "unset multiplot\n");
}

// A quote within a gnuplot string is written twice.
static void quote(const char *text, char out[TITLE_BYTES])
{
    int n = 0;
    for (; *text && n < TITLE_BYTES - 3; text++) {
        if (*text == '\'') out[n++] = '\'';
        out[n++] = *text == '\n' ? ' ' : *text;
    }
    out[n] = '\0';
}

static canto_status write_script(const canto_plot_data *data, const char *title, FILE *file)
{
    char quoted[TITLE_BYTES];
    quote(title, quoted);
    fputs(preamble, file);
    plot_loss(data, quoted, file);
    plot_speed(data, quoted, file);
    if (data->timed) plot_times(data, quoted, file);
    return CANTO_OK;
}

// --- files ---

static canto_status write_one(const canto_plot_data *data, const char *title, const char *dir,
                              const char *name, writer write)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "we");
    if (!file) CANTO_FAIL(CANTO_ERROR_IO, "plot: %s: %s", path, strerror(errno));
    canto_status status = write(data, title, file);
    const bool failed = ferror(file) != 0;
    if ((fclose(file) != 0 || failed) && status == CANTO_OK)
        status = canto_error_raise(CANTO_ERROR_IO, __FILE__, __LINE__, "plot: %s: %s", path,
                                   strerror(errno));
    return status;
}

canto_status canto_plot_write(const canto_plot_data *data, const char *title, const char *dir)
{
    static const struct {
        const char *name;
        writer write;
    } files[] = {{"steps.csv", write_steps},
                 {"evaluations.csv", write_evaluations},
                 {"ranks.csv", write_ranks},
                 {"plots.gp", write_script}};
    if (mkdir(dir, 0777) != 0 && errno != EEXIST)
        CANTO_FAIL(CANTO_ERROR_IO, "plot: %s: %s", dir, strerror(errno));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        CANTO_TRY(write_one(data, title, dir, files[i].name, files[i].write));
    return CANTO_OK;
}

canto_status canto_plot_draw(const char *dir)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addchdir_np(&actions, dir);
    char *const argv[] = {"gnuplot", "plots.gp", NULL};
    pid_t child;
    const int error = posix_spawnp(&child, "gnuplot", &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        CANTO_FAIL(CANTO_ERROR_UNSUPPORTED,
                   "plot: gnuplot cannot be started (%s); install gnuplot-nox, or run it on "
                   "%s/plots.gp elsewhere",
                   strerror(error), dir);
    int state;
    waitpid(child, &state, 0);
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        CANTO_FAIL(CANTO_ERROR_IO, "plot: gnuplot failed on %s/plots.gp", dir);
    return CANTO_OK;
}
