// Softmax attention, forward and backward, as written in the header: loops over heads, queries and
// keys in double. Slow on purpose. Keeps one row of scores.
#include "tests/ref/softmax.h"

#include "tests/canto_test.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct problem {
    const canto_attention_shape *shape;
    int64_t queries, keys;
    int bands_n;
    const canto_band *bands;
    const double *q, *kv;
} problem;

static bool allowed(const problem *it, int64_t i, int64_t j)
{
    for (int b = 0; b < it->bands_n; b++) {
        const canto_band *band = &it->bands[b];
        if (i >= band->q0 && i < band->q1 && j >= band->k0 && j < band->k1 && j - i >= band->lo &&
            j - i <= band->hi)
            return true;
    }
    return false;
}

// Where the row of query i and head h begins in an array of `width` numbers per head.
static int64_t row_at(const problem *it, int64_t i, int h, int width)
{
    return (i * it->shape->heads + h) * width;
}

// Where the key, and the value, that head h reads of position j begins in kv.
static int64_t key_at(const problem *it, int64_t j, int h)
{
    int head = h / (it->shape->heads / it->shape->key_heads);
    return j * canto_attention_kv_width(it->shape) + (int64_t)head * it->shape->key_dim;
}

static int64_t value_at(const problem *it, int64_t j, int h)
{
    int head = h / (it->shape->heads / it->shape->value_heads);
    return j * canto_attention_kv_width(it->shape) +
           (int64_t)it->shape->key_heads * it->shape->key_dim +
           (int64_t)head * it->shape->value_dim;
}

static double dot(int n, const double *x, const double *y)
{
    double sum = 0;
    for (int c = 0; c < n; c++) sum += x[c] * y[c];
    return sum;
}

// y += factor x
static void add_scaled(int n, double factor, const double *x, double *y)
{
    for (int c = 0; c < n; c++) y[c] += factor * x[c];
}

// p[j] of row (i, h), 0 where the pair may not attend; returns lse.
static double probabilities(const problem *it, int64_t i, int h, double *p)
{
    const canto_attention_shape *s = it->shape;
    double largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < it->keys; j++) {
        p[j] = -INFINITY;
        if (!allowed(it, i, j)) continue;
        p[j] = (double)s->scale *
               dot(s->key_dim, it->q + row_at(it, i, h, s->key_dim), it->kv + key_at(it, j, h));
        largest = fmax(largest, p[j]);
    }
    for (int64_t j = 0; j < it->keys; j++) {
        p[j] = p[j] == -INFINITY ? 0 : exp(p[j] - largest);
        sum += p[j];
    }
    if (sum == 0) return -INFINITY;
    for (int64_t j = 0; j < it->keys; j++) p[j] /= sum;
    return largest + log(sum);
}

static double *row_of_scores(int64_t keys)
{
    double *p = malloc((size_t)(keys + 1) * sizeof *p);
    if (!p) fail_msg("no memory for %lld scores", (long long)keys);
    return p;
}

void canto_ref_softmax_forward(const canto_attention_shape *shape, int64_t queries, int64_t keys,
                               int bands_n, const canto_band *bands, const double *q,
                               const double *kv, double *o, double *lse)
{
    const problem it = {shape, queries, keys, bands_n, bands, q, kv};
    double *p = row_of_scores(keys);
    memset(o, 0, (size_t)(queries * shape->heads * shape->value_dim) * sizeof *o);
    for (int64_t i = 0; i < queries; i++) {
        for (int h = 0; h < shape->heads; h++) {
            lse[i * shape->heads + h] = probabilities(&it, i, h, p);
            for (int64_t j = 0; j < keys; j++)
                add_scaled(shape->value_dim, p[j], kv + value_at(&it, j, h),
                           o + row_at(&it, i, h, shape->value_dim));
        }
    }
    free(p);
}

static void row_backward(const problem *it, int64_t i, int h, const double *p, const double *dout,
                         double *dq, double *dkv)
{
    const canto_attention_shape *s = it->shape;
    const double *drow = dout + row_at(it, i, h, s->value_dim);
    double delta = 0;
    for (int64_t j = 0; j < it->keys; j++)
        delta += p[j] * dot(s->value_dim, drow, it->kv + value_at(it, j, h));
    for (int64_t j = 0; j < it->keys; j++) {
        double dp = dot(s->value_dim, drow, it->kv + value_at(it, j, h));
        double ds = (double)s->scale * p[j] * (dp - delta);
        int64_t row = row_at(it, i, h, s->key_dim);
        add_scaled(s->key_dim, ds, it->kv + key_at(it, j, h), dq + row);
        add_scaled(s->key_dim, ds, it->q + row, dkv + key_at(it, j, h));
        add_scaled(s->value_dim, p[j], drow, dkv + value_at(it, j, h));
    }
}

void canto_ref_softmax_backward(const canto_attention_shape *shape, int64_t queries, int64_t keys,
                                int bands_n, const canto_band *bands, const double *q,
                                const double *kv, const double *dout, double *dq, double *dkv)
{
    const problem it = {shape, queries, keys, bands_n, bands, q, kv};
    double *p = row_of_scores(keys);
    memset(dq, 0, (size_t)(queries * shape->heads * shape->key_dim) * sizeof *dq);
    memset(dkv, 0, (size_t)(keys * canto_attention_kv_width(shape)) * sizeof *dkv);
    for (int64_t i = 0; i < queries; i++) {
        for (int h = 0; h < shape->heads; h++) {
            probabilities(&it, i, h, p);
            row_backward(&it, i, h, p, dout, dq, dkv);
        }
    }
    free(p);
}
