// Matrix-state attention of a few tokens, forward; internal to runtime/cpu/.
#ifndef CANTO_RUNTIME_CPU_LINEAR_FEW_H
#define CANTO_RUNTIME_CPU_LINEAR_FEW_H

#include "runtime/backend.h"
#include "runtime/cpu/level.h"

#define canto_linear_is_few CANTO_CPU(linear_is_few)
#define canto_linear_few    CANTO_CPU(linear_few)

// With more tokens, products of chunks are worth packing the state.
enum { CANTO_FEW_TOKENS = 4 };

bool canto_linear_is_few(const canto_linear_run *run);
// As the slot linear_forward.
void canto_linear_few(const canto_linear_shape *shape, const canto_linear_run *run,
                      const float *state_in, float *y, float *state_out);

#endif
