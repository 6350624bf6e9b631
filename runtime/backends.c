// The registry of backends: a backend that was not built is a line that is not there.
#include "runtime/device.h"

extern const canto_backend canto_backend_cpu;
extern const canto_backend canto_backend_cuda;
extern const canto_backend canto_backend_shadow;

const canto_backend *const canto_backends[] = {
    &canto_backend_cpu,
#ifdef CANTO_CUDA
    &canto_backend_cuda,
#endif
#ifdef CANTO_SHADOW
    &canto_backend_shadow,
#endif
    NULL,
};
