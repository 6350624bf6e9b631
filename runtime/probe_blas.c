// OpenBLAS in its own words.
#include "runtime/probe.h"

#include <cblas.h>
#include <stdio.h>

canto_probe_blas canto_probe_blas_look(void)
{
    static const char *const threadings[] = {"none", "pthreads", "OpenMP"};
    canto_probe_blas out;
    const int threading = openblas_get_parallel();
    snprintf(out.config, sizeof out.config, "%s", openblas_get_config());
    snprintf(out.core, sizeof out.core, "%s", openblas_get_corename());
    out.threading = threading >= 0 && threading < 3 ? threadings[threading] : "unknown";
    return out;
}
