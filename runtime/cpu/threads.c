// See the header.
#include "runtime/cpu/cpu.h"

#ifdef _OPENMP
#include <omp.h>
#else
static int omp_get_max_threads(void)
{
    return 1;
}
#endif

int canto_cpu_threads(void)
{
    return omp_get_max_threads();
}
