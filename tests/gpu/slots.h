// The device whose kernels slots.c compares with the cpu's: a GPU, or kernels.cu on the host.
#ifndef CANTO_TESTS_GPU_SLOTS_H
#define CANTO_TESTS_GPU_SLOTS_H

#include "runtime/device.h"

// CANTO_ERROR_UNSUPPORTED with a sentence if there is none.
canto_status canto_test_slots_open(const canto_device **out);

#endif
