// Row-wise and element-wise kernels and the loss in double precision, one loop each; contracts as
// in runtime/backend.h, but every backward function adds to its outputs. All functions are local.
#ifndef CANTO_TESTS_REF_ROWWISE_H
#define CANTO_TESTS_REF_ROWWISE_H

#include "runtime/backend.h"

// c += alpha op(a) op(b), all dense.
void canto_ref_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                    const double *a, const double *b, double *c);

// y = x w / sqrt(mean(x^2) + eps); w NULL: 1.
void canto_ref_norm(int64_t rows, int64_t n, double eps, const double *x, const double *w,
                    double *y);
void canto_ref_norm_backward(int64_t rows, int64_t n, double eps, const double *x, const double *w,
                             const double *dy, double *dx, double *dw);

double canto_ref_feature(canto_feature feature, double x);
double canto_ref_feature_slope(canto_feature feature, double x);

double canto_ref_log_sigmoid(double x);
double canto_ref_log_sigmoid_slope(double x);

// Heads of `dim` at distance stride, turned by position * base^(-2j/dim); direction -1: back.
void canto_ref_rope(int64_t rows, int heads, int dim, int64_t stride, const int64_t *positions,
                    double base, int direction, double *x);

// Sum over rows of -log softmax(logits)[target], targets of -1 left out; dlogits += scale times
// its gradient, unless NULL.
double canto_ref_loss(int64_t rows, int64_t vocab, const double *logits, const int32_t *target,
                      double scale, double *dlogits);

#endif
