// Plain loops in double precision; see the header for formulas.
#include "tests/ref/rowwise.h"

#include <math.h>

void canto_ref_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, double alpha,
                    const double *a, const double *b, double *c)
{
    for (int64_t i = 0; i < m; i++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t l = 0; l < k; l++) {
                double x = trans_a ? a[l * m + i] : a[i * k + l];
                double y = trans_b ? b[j * k + l] : b[l * n + j];
                sum += x * y;
            }
            c[i * n + j] += alpha * sum;
        }
    }
}

static double row_rstd(int64_t n, double eps, const double *x)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i] * x[i];
    return 1 / sqrt(sum / (double)n + eps);
}

void canto_ref_norm(int64_t rows, int64_t n, double eps, const double *x, const double *w,
                    double *y)
{
    for (int64_t t = 0; t < rows; t++) {
        double r = row_rstd(n, eps, x + t * n);
        for (int64_t i = 0; i < n; i++) y[t * n + i] = x[t * n + i] * r * (w ? w[i] : 1);
    }
}

void canto_ref_norm_backward(int64_t rows, int64_t n, double eps, const double *x, const double *w,
                             const double *dy, double *dx, double *dw)
{
    for (int64_t t = 0; t < rows; t++) {
        const double *xt = x + t * n;
        const double *dyt = dy + t * n;
        double r = row_rstd(n, eps, xt);
        double dot = 0;
        for (int64_t i = 0; i < n; i++) dot += dyt[i] * (w ? w[i] : 1) * xt[i];
        for (int64_t i = 0; i < n; i++) {
            dx[t * n + i] += r * (w ? w[i] : 1) * dyt[i] - r * r * r * xt[i] * dot / (double)n;
            if (dw) dw[i] += xt[i] * r * dyt[i];
        }
    }
}

double canto_ref_feature(canto_feature feature, double x)
{
    switch (feature) {
    case CANTO_FEATURE_ELU1:
        return x > 0 ? 1 + x : exp(x);
    case CANTO_FEATURE_SILU:
        return x / (1 + exp(-x));
    case CANTO_FEATURE_IDENTITY:
        break;
    }
    return x;
}

double canto_ref_feature_slope(canto_feature feature, double x)
{
    double s = 1 / (1 + exp(-x));
    switch (feature) {
    case CANTO_FEATURE_ELU1:
        return x > 0 ? 1 : exp(x);
    case CANTO_FEATURE_SILU:
        return s + x * s * (1 - s);
    case CANTO_FEATURE_IDENTITY:
        break;
    }
    return 1;
}

double canto_ref_log_sigmoid(double x)
{
    return x < 0 ? x - log1p(exp(x)) : -log1p(exp(-x));
}

double canto_ref_log_sigmoid_slope(double x)
{
    return 1 / (1 + exp(x));
}

void canto_ref_rope(int64_t rows, int heads, int dim, int64_t stride, const int64_t *positions,
                    double base, int direction, double *x)
{
    for (int64_t t = 0; t < rows; t++) {
        for (int h = 0; h < heads; h++) {
            for (int j = 0; j < dim / 2; j++) {
                double *a = x + t * stride + (int64_t)h * dim + j;
                double *b = a + dim / 2;
                double angle = direction * (double)positions[t] * pow(base, -2.0 * j / dim);
                double u = *a * cos(angle) - *b * sin(angle);
                *b = *a * sin(angle) + *b * cos(angle);
                *a = u;
            }
        }
    }
}

double canto_ref_loss(int64_t rows, int64_t vocab, const double *logits, const int32_t *target,
                      double scale, double *dlogits)
{
    double loss = 0;
    for (int64_t t = 0; t < rows; t++) {
        if (target[t] < 0) continue;
        const double *row = logits + t * vocab;
        double largest = row[0];
        double sum = 0;
        for (int64_t i = 0; i < vocab; i++) largest = fmax(largest, row[i]);
        for (int64_t i = 0; i < vocab; i++) sum += exp(row[i] - largest);
        double lse = largest + log(sum);
        loss += lse - row[target[t]];
        for (int64_t i = 0; dlogits && i < vocab; i++)
            dlogits[t * vocab + i] += scale * (exp(row[i] - lse) - (i == target[t]));
    }
    return loss;
}
