// A problem of matrix-state attention of any kind, run by the kernels and by the double reference.
// All owned; free with linear_case_destroy and linear_case_dismiss.
#ifndef CANTO_TESTS_RUNTIME_LINEAR_CASE_H
#define CANTO_TESTS_RUNTIME_LINEAR_CASE_H

#include "tests/ref/linear.h"
#include "tests/runtime/numbers.h"

typedef enum linear_gates {
    GATES_ZERO,
    GATES_COMMON, // as a trained layer has them
    GATES_STRONG, // -50 everywhere
    GATES_MIXED,  // runs of none, common ones, -3, -50
    GATES_ENDING, // -1e4 now and then
    GATES_KINDS
} linear_gates;

typedef struct linear_case {
    const canto_device *device; // borrowed
    canto_linear_shape shape;
    int64_t tokens;
    int64_t q_n, kv_n, erase_n, gates_n, y_n, state_n, summary_n;
    float *q, *kv, *erase, *gates, *dy, *state_in, *dstate_out; // given
    float *y, *state_out, *dq, *dkv, *derase, *dgates, *work;   // computed
} linear_case;

// `kind` counts with gates of the data only. What is computed begins as arbitrary numbers.
linear_case linear_case_make(const canto_device *device, canto_linear_shape shape, int64_t tokens,
                             linear_gates kind);
void linear_case_destroy(linear_case *c);
// The tokens [first, first + tokens) of c, borrowing its arrays.
linear_case linear_case_part(const linear_case *c, int64_t first, int64_t tokens);

// The slots. States NULL: zero, or not wanted.
void linear_case_forward(const linear_case *c, const float *state_in, float *state_out);
void linear_case_read(const linear_case *c, const float *state_in);
void linear_case_backward(const linear_case *c, const float *state_in, const float *dstate_out);
void linear_case_summarise(const linear_case *c, float *summary);
void linear_case_backward_summarise(const linear_case *c, float *summary);

typedef struct linear_reference {
    double *q, *kv, *erase, *gates, *dy, *in, *out;
    double *y, *state_out, *dq, *dkv, *derase, *dgates, *dstate_in;
} linear_reference;

linear_reference linear_case_refer(const linear_case *c, bool with_in, bool with_out);
void linear_case_dismiss(linear_reference *r);

void linear_case_check_outputs(const linear_case *c, const linear_reference *r);
void linear_case_check_gradients(const linear_case *c, const linear_reference *r);
// The two summaries against a reference that starts from, or is asked for, nothing, and their
// transitions against the gates, or against what the reference makes of the identity.
void linear_case_check_summaries(const linear_case *c);
// All of it, with and without states.
void linear_case_check(const canto_device *device, canto_linear_shape shape, int64_t tokens,
                       linear_gates kind);

#endif
