// What all benchmarks share: roofs, pairs, medians, the table.
#define _GNU_SOURCE
#include "launch/bench.h"

#include "launch/exit_code.h"
#include "launch/json_print.h"
#include "runtime/clock.h"
#include "runtime/comm.h"
#include "runtime/probe.h"
#include "runtime/topology.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { LARGE = CANTO_BENCH_LARGE, BEST_OF = 5, FMA_ROUNDS = 2000000, PAGE = 2 << 20 };

static volatile float sink; // what keeps a loop from being left out

// --- memory ---

float *canto_bench_floats(int64_t n)
{
    const size_t bytes = ((size_t)n * sizeof(float) + PAGE - 1) / PAGE * PAGE;
    float *x = aligned_alloc(PAGE, bytes);
    if (!x) return NULL;
    madvise(x, bytes, MADV_HUGEPAGE);
    for (int64_t i = 0; i < n; i++) x[i] = (float)(i * 7919 % 2001) / 1000 - 1;
    return x;
}

// --- the beginning ---

static canto_status set_threads(int threads, int *set)
{
    canto_comm *self;
    canto_threads found;
    char text[16];
    snprintf(text, sizeof text, "%d", threads);
    if (threads > 0) setenv("OMP_NUM_THREADS", text, 1);
    CANTO_TRY(canto_comm_self_open(&self));
    const canto_status status = canto_threads_set(self, &found);
    canto_comm_destroy(&self);
    *set = status == CANTO_OK ? found.threads : 1;
    return status;
}

static void run_sgemm(void *of)
{
    const canto_bench *bench = of;
    bench->level->roofs->sgemm(false, LARGE, LARGE, LARGE, bench->a, bench->b, bench->c);
}

static void look_at_fma(canto_bench *bench)
{
    const canto_cpu_roofs *roofs = bench->level->roofs;
    const double start_s = canto_clock_s();
    sink = roofs->fma(FMA_ROUNDS);
    const double spent_s = canto_clock_s() - start_s;
    bench->fma = fmax(bench->fma, 1e-9 * FMA_ROUNDS * roofs->fma_flops / spent_s);
}

// Best rates of the FMA loop and of the large sgemm, in turns.
static void find_roofs(canto_bench *bench)
{
    run_sgemm(bench);
    for (int i = 0; i < BEST_OF; i++) {
        look_at_fma(bench);
        const double start_s = canto_clock_s();
        run_sgemm(bench);
        const double spent_s = canto_clock_s() - start_s;
        bench->sgemm = fmax(bench->sgemm, 1e-9 * bench->gemm.amount / spent_s);
    }
    if (bench->sgemm < 0.8 * bench->fma)
        snprintf(
            bench->void_because, sizeof bench->void_because,
            "the large sgemm reaches %.2f of the FMA roof, below 0.80: the machine is busy, or "
            "%s does not know this processor",
            bench->sgemm / bench->fma, bench->library);
}

canto_status canto_bench_begin(const canto_arguments *arguments, const char *name, int threads,
                               canto_bench *bench)
{
    *bench = (canto_bench){.name = name, .pairs = (int)arguments->pairs};
    if (bench->pairs < 1) CANTO_FAIL(CANTO_ERROR_CONFIG, "bench: --pairs must be 1 or more");
    CANTO_TRY(canto_cpu_level_check());
    bench->level = canto_cpu_level_now();
    bench->device = &bench->level->device;
    bench->library = canto_probe_products_look().library;
    CANTO_TRY(set_threads(threads, &bench->threads));
    bench->a = canto_bench_floats((int64_t)LARGE * LARGE);
    bench->b = canto_bench_floats((int64_t)LARGE * LARGE);
    bench->c = canto_bench_floats((int64_t)LARGE * LARGE);
    if (!bench->a || !bench->b || !bench->c)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "bench: no memory for matrices of %d", LARGE);
    bench->gemm = (canto_bench_work){run_sgemm, bench, 2.0 * LARGE * LARGE * LARGE};
    find_roofs(bench);
    return CANTO_OK;
}

void canto_bench_destroy(canto_bench *bench)
{
    free(bench->a);
    free(bench->b);
    free(bench->c);
    bench->a = bench->b = bench->c = NULL;
}

// --- pairs ---

static double seconds_of(canto_bench_work work)
{
    const double start_s = canto_clock_s();
    work.run(work.of);
    return canto_clock_s() - start_s;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Nothing is faster than the roof; but a clock may be than it was when the roof was measured.
static void check_roof(canto_bench *bench, const canto_bench_row *row)
{
    for (int i = 0; i < BEST_OF && row->ours > 1.05 * bench->fma * bench->threads; i++)
        look_at_fma(bench);
    const double roof = bench->fma * bench->threads;
    if (row->ours > 1.05 * roof && !*bench->void_because)
        snprintf(bench->void_because, sizeof bench->void_because,
                 "%s: %.1f GFLOP/s lie above the FMA roof of %.1f", row->name, row->ours, roof);
}

void canto_bench_pair(canto_bench *bench, canto_bench_row row, canto_bench_work ours,
                      canto_bench_work theirs)
{
    double ratios[CANTO_BENCH_PAIRS_MAX], our[CANTO_BENCH_PAIRS_MAX], their[CANTO_BENCH_PAIRS_MAX];
    const int n = bench->pairs;
    seconds_of(theirs);
    seconds_of(ours);
    for (int i = 0; i < n; i++) {
        our[i] = 1e-9 * ours.amount / seconds_of(ours);
        their[i] = 1e-9 * theirs.amount / seconds_of(theirs);
        ratios[i] = our[i] / their[i];
    }
    qsort(ratios, (size_t)n, sizeof *ratios, ascending);
    qsort(our, (size_t)n, sizeof *our, ascending);
    qsort(their, (size_t)n, sizeof *their, ascending);
    row.ratio = ratios[n / 2];
    row.low = ratios[n / 10];
    row.high = ratios[n - 1 - n / 10];
    row.ours = our[n / 2];
    row.theirs = their[n / 2];
    if (strcmp(row.unit, "GFLOP/s") == 0) check_roof(bench, &row);
    canto_bench_add(bench, row);
}

void canto_bench_add(canto_bench *bench, canto_bench_row row)
{
    if (bench->rows_n < CANTO_BENCH_ROWS_MAX) bench->rows[bench->rows_n++] = row;
}

// --- the end ---

static bool misses(const canto_bench_row *row)
{
    return row->floor > 0 && row->ratio < row->floor;
}

static json_t *row_json(const canto_bench_row *row)
{
    json_t *out = json_pack("{s:s, s:s, s:f, s:f, s:f, s:f, s:f, s:s}", "name", row->name,
                            "against", row->against, "ratio", row->ratio, "low", row->low, "high",
                            row->high, "ours", row->ours, "theirs", row->theirs, "unit", row->unit);
    if (row->floor > 0) json_object_set_new(out, "floor", json_real(row->floor));
    if (row->aim > 0) json_object_set_new(out, "aim", json_real(row->aim));
    if (row->bound) json_object_set_new(out, "bound", json_string(row->bound));
    if (row->floor > 0) json_object_set_new(out, "reached", json_boolean(!misses(row)));
    return out;
}

static void print_json(const canto_bench *bench)
{
    json_t *rows = json_array();
    for (int i = 0; i < bench->rows_n; i++) json_array_append_new(rows, row_json(&bench->rows[i]));
    json_t *out = json_pack("{s:s, s:s, s:s, s:i, s:i, s:f, s:f, s:o}", "bench", bench->name,
                            "level", bench->level->name, "sgemm_library", bench->library, "threads",
                            bench->threads, "pairs", bench->pairs, "fma_gflops", bench->fma,
                            "sgemm_gflops", bench->sgemm, "rows", rows);
    if (*bench->void_because) json_object_set_new(out, "void", json_string(bench->void_because));
    canto_json_print(out, stdout);
}

static void print_floor(const canto_bench_row *row)
{
    if (row->floor > 0)
        printf("  %5.2f %5.2f%s", row->floor, row->aim, misses(row) ? "  below" : "");
    putchar('\n');
}

static void print_table(const canto_bench *bench)
{
    printf("level %s, %d thread%s; medians of %d interleaved pairs, 10-90 %% in brackets\n",
           bench->level->name, bench->threads, bench->threads == 1 ? "" : "s", bench->pairs);
    printf("a core: FMA roof %.1f GFLOP/s, sgemm of %d by %s %.1f GFLOP/s, best of %d\n\n",
           bench->fma, LARGE, bench->library, bench->sgemm, BEST_OF);
    printf("%-44s %-14s %7s  %-14s %9s %9s           floor   aim\n", "", "against", "ratio", "",
           "ours", "theirs");
    for (int i = 0; i < bench->rows_n; i++) {
        const canto_bench_row *row = &bench->rows[i];
        printf("%-44s %-14s %7.3f  (%.3f..%.3f) %9.1f %9.1f %-8s", row->name, row->against,
               row->ratio, row->low, row->high, row->ours, row->theirs, row->unit);
        print_floor(row);
    }
    if (*bench->void_because) printf("\nvoid: %s\n", bench->void_because);
}

int canto_bench_end(const canto_bench *bench, const canto_arguments *arguments)
{
    bool good = !*bench->void_because;
    if (arguments->json)
        print_json(bench);
    else
        print_table(bench);
    if (!arguments->check) return CANTO_EXIT_DONE;
    for (int i = 0; i < bench->rows_n; i++) {
        const canto_bench_row *row = &bench->rows[i];
        if (!misses(row)) continue;
        good = false;
        fprintf(stderr, "below its floor: %s, %.3f of %s, floor %.2f%s%s\n", row->name, row->ratio,
                row->against, row->floor, row->bound ? "; " : "", row->bound ? row->bound : "");
    }
    return good ? CANTO_EXIT_DONE : CANTO_EXIT_FOUND;
}
