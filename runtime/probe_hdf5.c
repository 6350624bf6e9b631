// HDF5 as compiled and as linked.
#include "runtime/probe.h"

#include <hdf5.h>

#ifdef H5_HAVE_PARALLEL
#define PARALLEL true
#else
#define PARALLEL false
#endif

canto_probe_hdf5 canto_probe_hdf5_look(void)
{
    canto_probe_hdf5 out = {.built = {H5_VERS_MAJOR, H5_VERS_MINOR, H5_VERS_RELEASE},
                            .parallel = PARALLEL};
    hbool_t safe = 0;
    if (H5get_libversion(&out.runs[0], &out.runs[1], &out.runs[2]) < 0) out.runs[0] = 0;
    if (H5is_library_threadsafe(&safe) >= 0) out.thread_safe = safe;
    return out;
}
