// Plain loops over the whole stream. A block keeps its input only; its backward pass computes the
// rest again.
#include "tests/ref/model.h"

#include "tests/ref/mixers.h"
#include "tests/ref/rowwise.h"
#include "tests/ref/softmax.h"
#include "tests/ref/widen.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POOL_MAX = 4096 };

// One run: the model, where gradients go, and all memory taken so far.
typedef struct run {
    const canto_ref_model *model;
    double *dvalues; // NULL: forward only
    int64_t tokens, d;
    int layer;
    int pool_n;
    void *pool[POOL_MAX];
} run;

static double *take(run *r, int64_t n)
{
    if (r->pool_n == POOL_MAX) abort();
    return r->pool[r->pool_n++] = calloc((size_t)n + 1, sizeof(double));
}

static void give_back_all(run *r)
{
    while (r->pool_n > 0) free(r->pool[--r->pool_n]);
}

// --- parameters ---

static const canto_param *find(const run *r, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "blocks.%d.%s", r->layer, name);
    const canto_param *param = canto_params_find(r->model->params, full);
    if (!param) param = canto_params_find(r->model->params, name);
    if (!param) abort();
    return param;
}

static const double *value(const run *r, const char *name)
{
    return r->model->values + find(r, name)->begin;
}

static double *gradient(const run *r, const char *name)
{
    return r->dvalues + find(r, name)->begin;
}

// --- pieces of a block ---

// What a product reads: x, rounded where its operands are bf16 numbers.
static const double *operand(run *r, int64_t n, const double *x)
{
    if (r->model->config->dtype != CANTO_BF16) return x;
    double *rounded = take(r, n);
    for (int64_t i = 0; i < n; i++) rounded[i] = canto_ref_bf16(x[i]);
    return rounded;
}

static const double *weights(run *r, const char *name)
{
    return operand(r, find(r, name)->count, value(r, name));
}

static double *product(run *r, const char *name, const double *x)
{
    const canto_param *w = find(r, name);
    double *y = take(r, r->tokens * w->dims[1]);
    canto_ref_gemm(false, false, r->tokens, w->dims[1], w->dims[0], 1,
                   operand(r, r->tokens * w->dims[0], x), weights(r, name), y);
    return y;
}

// dx +=
static void product_backward(run *r, const char *name, const double *x, const double *dy,
                             double *dx)
{
    const canto_param *w = find(r, name);
    const double *left = operand(r, r->tokens * w->dims[0], x);
    const double *right = operand(r, r->tokens * w->dims[1], dy);
    canto_ref_gemm(true, false, w->dims[0], w->dims[1], r->tokens, 1, left, right,
                   gradient(r, name));
    canto_ref_gemm(false, true, r->tokens, w->dims[0], w->dims[1], 1, right, weights(r, name), dx);
}

static double *norm(run *r, const char *name, const double *x)
{
    double *y = take(r, r->tokens * r->d);
    canto_ref_norm(r->tokens, r->d, r->model->config->norm_eps, x, value(r, name), y);
    return y;
}

static void norm_backward(run *r, const char *name, const double *x, const double *dy, double *dx)
{
    canto_ref_norm_backward(r->tokens, r->d, r->model->config->norm_eps, x, value(r, name), dy, dx,
                            gradient(r, name));
}

static double *sum(run *r, const double *x, const double *y)
{
    double *z = take(r, r->tokens * r->d);
    for (int64_t i = 0; i < r->tokens * r->d; i++) z[i] = x[i] + y[i];
    return z;
}

static void rotate(run *r, int heads, int dim, int direction, double *x)
{
    int64_t *positions = malloc((size_t)(r->tokens + 1) * sizeof *positions);
    for (int64_t t = 0; t < r->tokens; t++) positions[t] = t;
    canto_ref_rope(r->tokens, heads, dim, (int64_t)heads * dim, positions,
                   r->model->config->rope_base, direction, x);
    free(positions);
}

// Rows [a | b] from rows a and rows b, or back.
static void join(int64_t rows, int64_t n_a, int64_t n_b, double *a, double *b, double *ab,
                 bool split)
{
    for (int64_t t = 0; t < rows; t++) {
        for (int64_t i = 0; i < n_a + n_b; i++) {
            double *part = i < n_a ? &a[t * n_a + i] : &b[t * n_b + i - n_a];
            double *whole = &ab[t * (n_a + n_b) + i];
            if (split)
                *part = *whole;
            else
                *whole = *part;
        }
    }
}

// --- mixers: heads of one layer ---

typedef struct heads {
    const canto_mixer_config *mixer;
    int64_t q_width, k_width, v_width, o_width;
    double *raw_q, *raw_k; // projections
    double *q, *kv;        // what attention sees
} heads;

// Not mixer->kind, which is what is tested.
static const canto_mixer_kind *kind_of(const canto_mixer_config *mixer)
{
    const canto_mixer_kind *kind = canto_ref_mixer_kind(mixer->kind->name);
    if (!kind) {
        fprintf(stderr, "kind %s has no row in tests/ref/mixers.c\n", mixer->kind->name);
        abort();
    }
    return kind;
}

static double query_scale(const canto_mixer_config *mixer)
{
    return kind_of(mixer)->scale_q ? 1 / sqrt(mixer->key_dim) : 1;
}

static void project(run *r, const double *x, heads *h)
{
    const canto_mixer_config *m = canto_model_mixer(r->model->config, r->layer);
    const canto_feature feature = kind_of(m)->feature;
    *h = (heads){.mixer = m,
                 .q_width = (int64_t)m->heads * m->key_dim,
                 .k_width = (int64_t)m->kv_heads * m->key_dim,
                 .v_width = (int64_t)m->kv_heads * m->value_dim,
                 .o_width = (int64_t)m->heads * m->value_dim};
    h->raw_q = product(r, "mixer.wq", x);
    h->raw_k = product(r, "mixer.wk", x);
    h->q = take(r, r->tokens * h->q_width);
    h->kv = take(r, r->tokens * (h->k_width + h->v_width));
    double *k = take(r, r->tokens * h->k_width);
    for (int64_t i = 0; i < r->tokens * h->q_width; i++)
        h->q[i] = canto_ref_feature(feature, h->raw_q[i]) * query_scale(m);
    for (int64_t i = 0; i < r->tokens * h->k_width; i++)
        k[i] = canto_ref_feature(feature, h->raw_k[i]);
    if (m->rope) rotate(r, m->heads, m->key_dim, 1, h->q);
    if (m->rope) rotate(r, m->kv_heads, m->key_dim, 1, k);
    join(r->tokens, h->k_width, h->v_width, k, product(r, "mixer.wv", x), h->kv, false);
}

static void project_backward(run *r, const heads *h, const double *x, double *dq, double *dkv,
                             double *dx)
{
    const canto_mixer_config *m = h->mixer;
    const canto_feature feature = kind_of(m)->feature;
    double *dk = take(r, r->tokens * h->k_width);
    double *dv = take(r, r->tokens * h->v_width);
    join(r->tokens, h->k_width, h->v_width, dk, dv, dkv, true);
    if (m->rope) rotate(r, m->heads, m->key_dim, -1, dq);
    if (m->rope) rotate(r, m->kv_heads, m->key_dim, -1, dk);
    for (int64_t i = 0; i < r->tokens * h->q_width; i++)
        dq[i] *= canto_ref_feature_slope(feature, h->raw_q[i]) * query_scale(m);
    for (int64_t i = 0; i < r->tokens * h->k_width; i++)
        dk[i] *= canto_ref_feature_slope(feature, h->raw_k[i]);
    product_backward(r, "mixer.wq", x, dq, dx);
    product_backward(r, "mixer.wk", x, dk, dx);
    product_backward(r, "mixer.wv", x, dv, dx);
}

static double *softmax_mixer(run *r, const double *x, const double *dy, double *dx)
{
    heads h;
    project(r, x, &h);
    const canto_mixer_config *m = h.mixer;
    const canto_ref_documents *documents = &r->model->documents;
    const canto_attention_shape shape = {m->heads,   m->kv_heads,  m->kv_heads,
                                         m->key_dim, m->value_dim, 1 / sqrtf((float)m->key_dim)};
    canto_band *bands = malloc((size_t)documents->starts_n * sizeof *bands);
    for (int i = 0; i < documents->starts_n; i++) {
        const int64_t begin = documents->starts[i];
        const int64_t end = i + 1 < documents->starts_n ? documents->starts[i + 1] : r->tokens;
        bands[i] =
            (canto_band){begin, end, begin, end, m->window ? 1 - m->window : CANTO_BAND_MIN, 0};
    }
    double *o = take(r, r->tokens * h.o_width);
    double *lse = take(r, r->tokens * m->heads);
    canto_ref_softmax_forward(&shape, r->tokens, r->tokens, documents->starts_n, bands, h.q, h.kv,
                              o, lse);
    if (dy) {
        double *dout = take(r, r->tokens * h.o_width);
        double *dq = take(r, r->tokens * h.q_width);
        double *dkv = take(r, r->tokens * (h.k_width + h.v_width));
        product_backward(r, "mixer.wo", o, dy, dout);
        canto_ref_softmax_backward(&shape, r->tokens, r->tokens, documents->starts_n, bands, h.q,
                                   h.kv, dout, dq, dkv);
        project_backward(r, &h, x, dq, dkv, dx);
    }
    free(bands);
    return product(r, "mixer.wo", o);
}

// o from y and back: the normaliser, or a norm over a head or over all heads.
static void read_out(const run *r, const heads *h, const double *y, double *o, const double *dout,
                     double *dy)
{
    const canto_mixer_config *m = h->mixer;
    const double eps = r->model->config->norm_eps;
    const int64_t n = kind_of(m)->output_norm == CANTO_OUTPUT_NORM_FULL ? h->o_width : m->value_dim;
    const int64_t rows = r->tokens * h->o_width / n;
    if (m->normaliser && dy)
        canto_ref_normalise_backward(r->tokens * m->heads, m->value_dim, 1e-6, y, dout, dy);
    else if (m->normaliser)
        canto_ref_normalise(r->tokens * m->heads, m->value_dim, 1e-6, y, o);
    else if (dy)
        canto_ref_norm_backward(rows, n, eps, y, NULL, dout, dy, NULL);
    else
        canto_ref_norm(rows, n, eps, y, NULL, o);
}

// What a linear mixer computes on its way, kept for its way back.
typedef struct linear_pass {
    heads h;
    canto_linear_shape shape;
    float log_decay[64];
    const double *x;
    double *hidden, *raw, *gates; // of the state, where the kind forgets
    double *y, *o;
    double *gate, *gated; // of the output, where the kind has one
} linear_pass;

enum { GATE_DIVISOR = 16 };

static void forget(run *r, linear_pass *p)
{
    p->hidden = product(r, "mixer.decay_down", p->x);
    p->raw = product(r, "mixer.decay_up", p->hidden);
    p->gates = take(r, r->tokens * p->h.k_width);
    const double *bias = value(r, "mixer.decay_bias");
    for (int64_t i = 0; i < r->tokens * p->h.k_width; i++) {
        p->raw[i] += bias[i % p->h.k_width];
        p->gates[i] = canto_ref_log_sigmoid(p->raw[i]) / GATE_DIVISOR;
    }
}

static void forget_backward(run *r, const linear_pass *p, double *dgates, double *dx)
{
    double *dbias = gradient(r, "mixer.decay_bias");
    double *dhidden = take(r, r->tokens * find(r, "mixer.decay_up")->dims[0]);
    for (int64_t i = 0; i < r->tokens * p->h.k_width; i++) {
        dgates[i] *= canto_ref_log_sigmoid_slope(p->raw[i]) / GATE_DIVISOR;
        dbias[i % p->h.k_width] += dgates[i];
    }
    product_backward(r, "mixer.decay_up", p->hidden, dgates, dhidden);
    product_backward(r, "mixer.decay_down", p->x, dhidden, dx);
}

// The factor of the output and its slope.
static double gate_factor(const canto_mixer_kind *kind, double x)
{
    return kind->gate == CANTO_OUTPUT_GATE_SWISH ? canto_ref_feature(CANTO_FEATURE_SILU, x) : x;
}

static double gate_slope(const canto_mixer_kind *kind, double x)
{
    return kind->gate == CANTO_OUTPUT_GATE_SWISH ? canto_ref_feature_slope(CANTO_FEATURE_SILU, x)
                                                 : 1;
}

static canto_ref_run linear_run(const run *r, const linear_pass *p)
{
    return (canto_ref_run){.tokens = r->tokens,
                           .documents = r->model->documents,
                           .q = p->h.q,
                           .kv = p->h.kv,
                           .gates = p->gates};
}

static void linear_mixer_backward(run *r, const linear_pass *p, const double *dout_row, double *dx)
{
    const canto_mixer_kind *kind = kind_of(p->h.mixer);
    const int64_t count = r->tokens * p->h.o_width;
    double *dout = take(r, count);
    double *dgate = take(r, count);
    double *dy = take(r, r->tokens * p->shape.heads * canto_linear_columns(&p->shape));
    double *dq = take(r, r->tokens * p->h.q_width);
    double *dkv = take(r, r->tokens * (p->h.k_width + p->h.v_width));
    double *dgates = take(r, r->tokens * p->h.k_width);
    product_backward(r, "mixer.wo", p->gated, dout_row, dout);
    if (p->gate) {
        for (int64_t i = 0; i < count; i++) {
            dgate[i] = dout[i] * p->o[i] * gate_slope(kind, p->gate[i]);
            dout[i] *= gate_factor(kind, p->gate[i]);
        }
        product_backward(r, "mixer.gate", p->x, dgate, dx);
    }
    read_out(r, &p->h, p->y, NULL, dout, dy);
    const canto_ref_run read = linear_run(r, p);
    const canto_ref_gradients gradients = {.dq = dq, .dkv = dkv, .dgates = dgates};
    canto_ref_linear_backward(&p->shape, &read, NULL, dy, NULL, &gradients, NULL);
    project_backward(r, &p->h, p->x, dq, dkv, dx);
    if (kind->gated) forget_backward(r, p, dgates, dx);
}

static void set_shape(const run *r, linear_pass *p)
{
    const canto_mixer_config *m = p->h.mixer;
    for (int i = 0; i < m->kv_heads; i++)
        p->log_decay[i] =
            -canto_decay_slope(m->decay, i, m->kv_heads, r->layer, r->model->config->layers);
    p->shape = (canto_linear_shape){.heads = m->heads,
                                    .kv_heads = m->kv_heads,
                                    .key_dim = m->key_dim,
                                    .value_dim = m->value_dim,
                                    .ones = m->normaliser,
                                    .log_decay = kind_of(m)->gated ? NULL : p->log_decay,
                                    .gate = kind_of(m)->gated ? CANTO_GATE_KEY : CANTO_GATE_NONE};
}

static double *linear_mixer(run *r, const double *x, const double *dy, double *dx)
{
    linear_pass p = {.x = x};
    project(r, x, &p.h);
    set_shape(r, &p);
    const canto_mixer_kind *kind = kind_of(p.h.mixer);
    if (kind->gated) forget(r, &p);
    p.y = take(r, r->tokens * p.shape.heads * canto_linear_columns(&p.shape));
    p.o = take(r, r->tokens * p.h.o_width);
    p.gated = take(r, r->tokens * p.h.o_width);
    p.gate = kind->gate ? product(r, "mixer.gate", x) : NULL;
    const canto_ref_run forward = linear_run(r, &p);
    canto_ref_linear_forward(&p.shape, &forward, NULL, p.y, NULL);
    read_out(r, &p.h, p.y, p.o, NULL, NULL);
    for (int64_t i = 0; i < r->tokens * p.h.o_width; i++)
        p.gated[i] = p.o[i] * (p.gate ? gate_factor(kind, p.gate[i]) : 1);
    if (dy) linear_mixer_backward(r, &p, dy, dx);
    return product(r, "mixer.wo", p.gated);
}

static double *mixer(run *r, const double *x, const double *dy, double *dx)
{
    const bool softmax = kind_of(canto_model_mixer(r->model->config, r->layer))->softmax;
    return softmax ? softmax_mixer(r, x, dy, dx) : linear_mixer(r, x, dy, dx);
}

static double *mlp(run *r, const double *x, const double *dy, double *dx)
{
    const int64_t count = r->tokens * r->model->config->d_mlp;
    double *gate = product(r, "mlp.w_gate", x);
    double *up = product(r, "mlp.w_up", x);
    double *hidden = take(r, count);
    for (int64_t i = 0; i < count; i++)
        hidden[i] = canto_ref_feature(CANTO_FEATURE_SILU, gate[i]) * up[i];
    if (dy) {
        double *dhidden = take(r, count);
        product_backward(r, "mlp.w_down", hidden, dy, dhidden);
        for (int64_t i = 0; i < count; i++) {
            const double silu = canto_ref_feature(CANTO_FEATURE_SILU, gate[i]);
            const double slope = canto_ref_feature_slope(CANTO_FEATURE_SILU, gate[i]);
            gate[i] = dhidden[i] * up[i] * slope;
            up[i] = dhidden[i] * silu;
        }
        product_backward(r, "mlp.w_gate", x, gate, dx);
        product_backward(r, "mlp.w_up", x, up, dx);
    }
    return product(r, "mlp.w_down", hidden);
}

// --- the model ---

static double *block(run *r, const double *x)
{
    const double *mid = sum(r, x, mixer(r, norm(r, "norm1.weight", x), NULL, NULL));
    return sum(r, mid, mlp(r, norm(r, "norm2.weight", mid), NULL, NULL));
}

// dstream: gradient of the block's output, which becomes that of its input.
static void block_backward(run *r, const double *x, double *dstream)
{
    const double *normed1 = norm(r, "norm1.weight", x);
    const double *mid = sum(r, x, mixer(r, normed1, NULL, NULL));
    const double *normed2 = norm(r, "norm2.weight", mid);
    double *dnormed2 = take(r, r->tokens * r->d);
    double *dnormed1 = take(r, r->tokens * r->d);
    mlp(r, normed2, dstream, dnormed2);
    norm_backward(r, "norm2.weight", mid, dnormed2, dstream);
    mixer(r, normed1, dstream, dnormed1);
    norm_backward(r, "norm1.weight", x, dnormed1, dstream);
}

static const char *head_name(const run *r)
{
    return r->model->config->tied ? "embed.table" : "head.weight";
}

// Rows of the stream before each block and after the last one.
static double **streams(run *r)
{
    const int layers = r->model->config->layers;
    const double *table = value(r, "embed.table");
    double **x = r->pool[r->pool_n++] = calloc((size_t)layers + 1, sizeof *x);
    x[0] = take(r, r->tokens * r->d);
    for (int64_t i = 0; i < r->tokens * r->d; i++)
        x[0][i] = table[r->model->tokens[i / r->d] * r->d + i % r->d];
    for (r->layer = 0; r->layer < layers; r->layer++) x[r->layer + 1] = block(r, x[r->layer]);
    return x;
}

static double *head(run *r, const double *normed)
{
    const int64_t vocab = r->model->config->vocab;
    double *logits = take(r, r->tokens * vocab);
    canto_ref_gemm(false, true, r->tokens, vocab, r->d, 1, operand(r, r->tokens * r->d, normed),
                   weights(r, head_name(r)), logits);
    return logits;
}

static run start(const canto_ref_model *model, double *dvalues)
{
    return (run){
        .model = model, .dvalues = dvalues, .tokens = model->tokens_n, .d = model->config->d_model};
}

void canto_ref_model_logits(const canto_ref_model *model, double *logits)
{
    run r = start(model, NULL);
    double **x = streams(&r);
    const double *computed = head(&r, norm(&r, "norm.weight", x[model->config->layers]));
    memcpy(logits, computed, (size_t)(r.tokens * model->config->vocab) * sizeof *logits);
    give_back_all(&r);
}

double canto_ref_model_loss(const canto_ref_model *model, double scale, double *dvalues)
{
    run r = start(model, dvalues);
    const int layers = model->config->layers;
    const int64_t vocab = model->config->vocab;
    double **x = streams(&r);
    const double *normed = norm(&r, "norm.weight", x[layers]);
    double *dlogits = dvalues ? take(&r, r.tokens * vocab) : NULL;
    const double loss =
        canto_ref_loss(r.tokens, vocab, head(&r, normed), model->targets, scale, dlogits);
    if (dvalues) {
        double *dnormed = take(&r, r.tokens * r.d);
        double *dstream = take(&r, r.tokens * r.d);
        const double *left = operand(&r, r.tokens * vocab, dlogits);
        canto_ref_gemm(true, false, vocab, r.d, r.tokens, 1, left,
                       operand(&r, r.tokens * r.d, normed), gradient(&r, head_name(&r)));
        canto_ref_gemm(false, false, r.tokens, r.d, vocab, 1, left, weights(&r, head_name(&r)),
                       dnormed);
        norm_backward(&r, "norm.weight", x[layers], dnormed, dstream);
        for (r.layer = layers - 1; r.layer >= 0; r.layer--) block_backward(&r, x[r.layer], dstream);
        double *dtable = gradient(&r, "embed.table");
        for (int64_t i = 0; i < r.tokens * r.d; i++)
            dtable[model->tokens[i / r.d] * r.d + i % r.d] += dstream[i];
    }
    give_back_all(&r);
    return loss;
}
