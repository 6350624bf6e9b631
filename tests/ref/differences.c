// Central differences of fourth order: (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / 12h along a
// direction of length about 1.
#include "tests/ref/differences.h"

#include "runtime/rng.h"
#include "tests/canto_test.h"

#include <math.h>
#include <stdlib.h>

static const double step = 1e-3;

// f at x + distance * d
static double moved(canto_differences_function f, void *context, int64_t n, double *x,
                    const double *start, const double *d, double distance)
{
    for (int64_t i = 0; i < n; i++) x[i] = start[i] + distance * d[i];
    return f(context);
}

static double slope(canto_differences_function f, void *context, int64_t n, double *x,
                    const double *start, const double *d)
{
    double near =
        moved(f, context, n, x, start, d, step) - moved(f, context, n, x, start, d, -step);
    double far =
        moved(f, context, n, x, start, d, 2 * step) - moved(f, context, n, x, start, d, -2 * step);
    return (8 * near - far) / (12 * step);
}

static void draw_direction(int64_t n, int which, double *d)
{
    uint64_t seed = canto_rng_seed(1, "differences");
    for (int64_t i = 0; i < n; i++)
        d[i] = canto_rng_normal(seed, CANTO_RNG_TEST, (uint64_t)(which * n + i)) / sqrt((double)n);
}

double canto_differences_error(canto_differences_function f, void *context, int64_t n, double *x,
                               const double *gradient)
{
    double *start = malloc((size_t)(n + 1) * sizeof *start);
    double *d = malloc((size_t)(n + 1) * sizeof *d);
    if (!start || !d) fail_msg("no memory for %lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++) start[i] = x[i];
    double worst = 0, largest = 0;
    for (int which = 0; which < CANTO_DIFFERENCES_DIRECTIONS; which++) {
        draw_direction(n, which, d);
        double expected = 0;
        for (int64_t i = 0; i < n; i++) expected += gradient[i] * d[i];
        double error = fabs(slope(f, context, n, x, start, d) - expected);
        if (!isfinite(error)) error = INFINITY;
        worst = fmax(worst, error);
        largest = fmax(largest, fabs(expected));
    }
    for (int64_t i = 0; i < n; i++) x[i] = start[i];
    free(start);
    free(d);
    return largest > 0 ? worst / largest : worst;
}

void canto_differences_close(const char *what, canto_differences_function f, void *context,
                             int64_t n, double *x, const double *gradient)
{
    double error = canto_differences_error(f, context, n, x, gradient);
    if (!(error <= CANTO_DIFFERENCES_TOLERANCE))
        fail_msg("%s: gradient disagrees with central differences by %.3g", what, error);
}
