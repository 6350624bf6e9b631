// Checks a gradient by central differences in double precision.
#ifndef CANTO_TESTS_REF_DIFFERENCES_H
#define CANTO_TESTS_REF_DIFFERENCES_H

#include <stdint.h>

enum { CANTO_DIFFERENCES_DIRECTIONS = 16 };
#define CANTO_DIFFERENCES_TOLERANCE 1e-7

// The scalar function whose gradient is checked; it reads its tensors through `context`.
typedef double (*canto_differences_function)(void *context);

// Compares gradient . d with the fourth-order central difference of f at x along 16 random
// directions d of x[0, n). Returns the largest disagreement divided by the largest |gradient . d|
// (by 1 if all are 0); infinite if anything is not finite. x is changed and restored. Local.
double canto_differences_error(canto_differences_function f, void *context, int64_t n, double *x,
                               const double *gradient);

// Fails the test unless that error is <= CANTO_DIFFERENCES_TOLERANCE; `what` stands in the message.
void canto_differences_close(const char *what, canto_differences_function f, void *context,
                             int64_t n, double *x, const double *gradient);

#endif
