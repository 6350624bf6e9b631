// `canto bench`: how fast the kernels are, each as a ratio to something measured in the same
// process, interleaved with it, because no two machines and no two minutes are alike. A row is one
// measure; files launch/bench_*.c hold the rows of one command each.
#ifndef CANTO_LAUNCH_BENCH_H
#define CANTO_LAUNCH_BENCH_H

#include "launch/arguments.h"
#include "runtime/cpu/roofs.h"
#include "runtime/cpu_levels.h"

enum { CANTO_BENCH_ROWS_MAX = 40, CANTO_BENCH_PAIRS_MAX = 1000, CANTO_BENCH_NAME = 64 };
enum { CANTO_BENCH_LARGE = 2048 }; // rows and columns of the large sgemm

// One of the two things that take turns.
typedef struct canto_bench_work {
    void (*run)(void *of);
    void *of;
    double amount; // of a run: operations or bytes
} canto_bench_work;

typedef struct canto_bench_row {
    char name[CANTO_BENCH_NAME];
    const char *against; // "large sgemm"
    const char *unit;    // of 1e9 of the amounts a second: "GFLOP/s"
    double floor, aim;   // that the ratio is measured by; 0: none
    const char *bound;   // what bounds it
    // found: ratio of rates, median with its 10-90 % range, and the medians of both rates
    double ratio, low, high, ours, theirs;
} canto_bench_row;

typedef struct canto_bench {
    const char *name; // "attention"
    int pairs, threads;
    const canto_cpu_level *level;
    const canto_device *device;
    const char *library;    // that does the products of this build, and so the large sgemm
    double fma, sgemm;      // best rates of one thread, GFLOP/s
    float *a, *b, *c;       // of the large sgemm
    canto_bench_work gemm;  // the large sgemm
    char void_because[200]; // why the figures are worth nothing; "": they are not
    canto_bench_row rows[CANTO_BENCH_ROWS_MAX];
    int rows_n;
} canto_bench;

// Sets the number of threads (0: as a run would), finds the roofs of a core and the large sgemm.
// `bench` is zeroed or destroyed.
canto_status canto_bench_begin(const canto_arguments *arguments, const char *name, int threads,
                               canto_bench *bench);
void canto_bench_destroy(canto_bench *bench);
// Memory for n floats between -1 and 1, on large pages where the system has them; the same ones
// every time; freed by free(). NULL: there is none.
float *canto_bench_floats(int64_t n);
// One warm-up, then pairs of runs of both; adds the row. Operations above the FMA roof of all
// threads make the run void.
void canto_bench_pair(canto_bench *bench, canto_bench_row row, canto_bench_work ours,
                      canto_bench_work theirs);
// Adds a row that was found otherwise.
void canto_bench_add(canto_bench *bench, canto_bench_row row);
// Prints the table or JSON; the exit code: with --check 1 when a floor is missed or the run is
// void.
int canto_bench_end(const canto_bench *bench, const canto_arguments *arguments);

#endif
