// A backend is a const table of kernels for one kind of device. The cpu table is complete and is
// the meaning of each slot.
//
// A kernel sees neither ranks nor weights: it gets rows, positions and shapes. All arrays are fp32
// unless it is said, row-major, token first. All functions are local, deterministic for given
// inputs and thread count, and allocate nothing.
// "+=" marks the outputs that accumulate; all others are overwritten. Arrays never overlap unless
// it is said.
#ifndef CANTO_RUNTIME_BACKEND_H
#define CANTO_RUNTIME_BACKEND_H

#include "runtime/band.h"
#include "runtime/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CANTO_HEAD_DIM_MAX = 256 };       // largest key_dim and value_dim of a head
enum { CANTO_KERNEL_STACK = 640 << 10 }; // bytes that a kernel keeps on the stack of any thread

// A matrix product: c [m,n] = op(a) op(b), or added to what c holds; op(a) is [m,k], op(b) is
// [k,n]; ld* = distance of rows in memory. a and b are of dtype `in`, c is of dtype `out`: all
// fp32, or bf16 operands and either of both, summed in fp32 and rounded once.
typedef struct canto_gemm_shape {
    bool trans_a, trans_b;
    bool adds; // to c, which must be fp32
    canto_dtype in, out;
    int64_t m, n, k;
    int64_t lda, ldb, ldc;
} canto_gemm_shape;

// Softmax attention. Query head h reads key head h / (heads / key_heads) and value head h / (heads
// / value_heads). Keys and values of one token lie side by side in one row: [key_heads * key_dim |
// value_heads * value_dim].
typedef struct canto_attention_shape {
    int heads, key_heads, value_heads;
    int key_dim, value_dim;
    float scale; // of the scores, usually 1 / sqrt(key_dim)
} canto_attention_shape;

static inline int64_t canto_attention_kv_width(const canto_attention_shape *shape)
{
    return (int64_t)shape->key_heads * shape->key_dim +
           (int64_t)shape->value_heads * shape->value_dim;
}

// Matrix-state attention: what decides how much a head's state keeps at each token.
typedef enum canto_gate {
    CANTO_GATE_NONE, // the constant log_decay
    CANTO_GATE_HEAD, // a number of the data's own for each head
    CANTO_GATE_KEY   // one for each key dim of each head
} canto_gate;

// Matrix-state attention ("linear attention"), query head h reading the state of key/value head
// g = h / (heads / kv_heads):
//     S <- diag(exp(a_t)) S,   S_t = S + k_t (x_t - S' r_t)',   y_t = S_t' q_t,
// x_t = v_t, with a constant 1 appended when `ones` is set (the normaliser column). The state of a
// head is [key_dim, value_dim + ones]. a_t <= 0 is the constant log_decay[g] (NULL: 0) or the gate
// of the token. r_t is 0 unless the shape erases: r = k and a writing strength in k make the delta
// rule (Yang et al., arXiv 2406.06484), with a gate its gated forms (arXiv 2412.06464).
typedef struct canto_linear_shape {
    int heads, kv_heads;
    int key_dim, value_dim;
    bool ones;
    // borrowed, in device memory, [kv_heads], each <= 0, or NULL; NULL with a gate
    const float *log_decay;
    canto_gate gate;
    bool erases;
} canto_linear_shape;

static inline int canto_linear_columns(const canto_linear_shape *shape)
{
    return shape->value_dim + (shape->ones ? 1 : 0);
}

static inline int64_t canto_linear_kv_width(const canto_linear_shape *shape)
{
    return (int64_t)shape->kv_heads * (shape->key_dim + shape->value_dim);
}

static inline int64_t canto_linear_state_count(const canto_linear_shape *shape)
{
    return (int64_t)shape->kv_heads * shape->key_dim * canto_linear_columns(shape);
}

// Floats of a head's gates of a token, and of all heads'.
static inline int canto_linear_gate_width(const canto_linear_shape *shape)
{
    return shape->gate == CANTO_GATE_KEY ? shape->key_dim : shape->gate == CANTO_GATE_HEAD;
}

static inline int64_t canto_linear_gates_count(const canto_linear_shape *shape)
{
    return (int64_t)shape->kv_heads * canto_linear_gate_width(shape);
}

// Floats of what a run does to the incoming state: without erasing what its gates sum to, that is
// how much of each row is left at its end, as a logarithm (0 where that is known without); with it
// a matrix [key_dim, key_dim] a head that the incoming state is multiplied with.
static inline int64_t canto_linear_transition_count(const canto_linear_shape *shape)
{
    if (shape->erases) return (int64_t)shape->kv_heads * shape->key_dim * shape->key_dim;
    return canto_linear_gates_count(shape);
}

// Floats of a summary: a state and its transition, side by side.
static inline int64_t canto_linear_summary_count(const canto_linear_shape *shape)
{
    return canto_linear_state_count(shape) + canto_linear_transition_count(shape);
}

// What a run of tokens of one document reads, all borrowed and of the device.
typedef struct canto_linear_run {
    int64_t tokens;
    const float *q;     // [T, heads, key_dim]
    const float *kv;    // [T, kv_heads * key_dim | kv_heads * value_dim]
    const float *erase; // r, [T, kv_heads, key_dim]; NULL unless the shape erases
    const float *gates; // [T, kv_heads, gate width], each <= 0; NULL without a gate
} canto_linear_run;

// Gradients of the same arrays; NULL where the run has NULL. Overwritten.
typedef struct canto_linear_gradients {
    float *dq, *dkv, *derase, *dgates;
} canto_linear_gradients;

typedef enum canto_feature {
    CANTO_FEATURE_IDENTITY,
    CANTO_FEATURE_ELU1,
    CANTO_FEATURE_SILU
} canto_feature;

typedef struct canto_adamw {
    float lr, beta1, beta2, eps, weight_decay;
    float grad_scale;               // gradients are multiplied by this first (clipping)
    float correction1, correction2; // 1 - beta^t
} canto_adamw;

typedef struct canto_device canto_device;

typedef struct canto_kernels {
    const char *name; // "cpu"

    // See canto_gemm_shape.
    void (*gemm)(const canto_device *device, const canto_gemm_shape *shape, const void *a,
                 const void *b, void *c);

    // --- softmax attention over one banded rectangle ---
    // Row 0 of q, o, lse, dout, delta, dq is position tile->q0; row 0 of kv and dkv is position
    // tile->k0. q, dq [T, heads, key_dim]; kv, dkv [S, kv_width]; o, dout [T, heads, value_dim];
    // lse, delta [T, heads]. forward: (o, lse) merged with the rectangle's partial result. The
    // empty partial is o = 0, lse = -inf; a row without keys leaves (o, lse) bit-equal.
    void (*attention_forward)(const canto_device *device, const canto_attention_shape *shape,
                              const canto_band *tile, const float *q, const float *kv, float *o,
                              float *lse);
    // Needs the final lse of each row and delta = rowsum(dout * o). dq +=, dkv +=. Rows with lse =
    // -inf are skipped.
    void (*attention_backward)(const canto_device *device, const canto_attention_shape *shape,
                               const canto_band *tile, const float *q, const float *kv,
                               const float *dout, const float *lse, const float *delta, float *dq,
                               float *dkv);
    // (o, lse) = merge of two partials over disjoint keys; rows*heads entries of value_dim. -inf is
    // the neutral element.
    void (*attention_merge)(const canto_device *device, int64_t entries, int value_dim,
                            const float *o_other, const float *lse_other, float *o, float *lse);
    // delta[i] = sum_c dout[i,c] o[i,c]
    void (*attention_delta)(const canto_device *device, int64_t entries, int value_dim,
                            const float *dout, const float *o, float *delta);

    // --- matrix-state attention over a run of tokens of one document; see canto_linear_shape ---
    // y, dy [T, heads, columns]; states [kv_heads, key_dim, columns]; summaries [state |
    // transition]. Below, A_t is what the tokens up to and with t do to the incoming state: A_t =
    // product of (I - k r') diag(exp(a)), the later ones on the left.
    size_t (*linear_work_bytes)(const canto_linear_shape *shape,
                                int64_t tokens); // for linear_backward and its summary
    // y from the incoming state (NULL: zero); state_out (NULL: not wanted) after the last token,
    // which may be state_in.
    void (*linear_forward)(const canto_device *device, const canto_linear_shape *shape,
                           const canto_linear_run *run, const float *state_in, float *y,
                           float *state_out);
    // state_out of a run that starts from zero, and its transition: what a segment publishes. Reads
    // no q.
    void (*linear_summary)(const canto_device *device, const canto_linear_shape *shape,
                           const canto_linear_run *run, float *summary);
    // y_t += (A_t state_in)' q_t: what the incoming state adds to a pass that started from zero.
    // Reads no values.
    void (*linear_read)(const canto_device *device, const canto_linear_shape *shape,
                        const canto_linear_run *run, const float *state_in, float *y);
    // dstate_in of a run whose dstate_out is zero, sum_t A_t' q_t dy_t', and the transition of the
    // run. Reads no values.
    void (*linear_backward_summary)(const canto_device *device, const canto_linear_shape *shape,
                                    const canto_linear_run *run, const float *dy, float *summary,
                                    void *work);
    // Gradients of the run; state_in and dstate_out may be NULL (zero).
    void (*linear_backward)(const canto_device *device, const canto_linear_shape *shape,
                            const canto_linear_run *run, const float *state_in, const float *dy,
                            const float *dstate_out, const canto_linear_gradients *gradients,
                            void *work);
    // Joins neighbouring runs of segments: out = A left + right; A = exp(log_decay[h] * tokens),
    // with log_decay NULL: 1. left, right, out: [heads, head_count]; left NULL: zero. out may be
    // left or right.
    void (*state_join)(const canto_device *device, int heads, int64_t head_count, int64_t tokens,
                       const float *log_decay, const float *left, const float *right, float *out);
    // o [T*heads, value_dim] = y[:, :value_dim] / (y[:, value_dim] + eps); y has value_dim + 1
    // columns.
    void (*linear_normalise)(const canto_device *device, int64_t entries, int value_dim, float eps,
                             const float *y, float *o);
    void (*linear_normalise_backward)(const canto_device *device, int64_t entries, int value_dim,
                                      float eps, const float *y, const float *dout, float *dy);

    // --- row-wise ---
    // y = x * rstd * w, rstd = 1 / sqrt(mean(x^2) + eps) for each of `rows` rows of n; w NULL: 1. y
    // may be x.
    void (*norm_forward)(const canto_device *device, int64_t rows, int64_t n, float eps,
                         const float *x, const float *w, float *y, float *rstd);
    // dx += (dw +=, NULL with w NULL)
    void (*norm_backward)(const canto_device *device, int64_t rows, int64_t n, const float *x,
                          const float *w, const float *rstd, const float *dy, float *dx, float *dw);
    // y = silu(gate) * up, n elements each
    void (*glu_forward)(const canto_device *device, int64_t n, const float *gate, const float *up,
                        float *y);
    // dup may be dy.
    void (*glu_backward)(const canto_device *device, int64_t n, const float *gate, const float *up,
                         const float *dy, float *dgate, float *dup);
    // y = feature(x): identity, 1 + elu(x), silu(x); `rows` rows of n columns at distance stride in
    // both arrays. y may be x.
    void (*feature_forward)(const canto_device *device, canto_feature feature, int64_t rows,
                            int64_t n, int64_t stride, const float *x, float *y);
    // dx = feature'(x) dy. dx may be dy.
    void (*feature_backward)(const canto_device *device, canto_feature feature, int64_t rows,
                             int64_t n, int64_t stride, const float *x, const float *dy, float *dx);
    // y = log(sigmoid(x + bias)) / divisor, rows of n dense elements, bias [n]. y may be x.
    void (*log_sigmoid_forward)(const canto_device *device, int64_t rows, int64_t n, float divisor,
                                const float *x, const float *bias, float *y);
    // dx, which may be dy, and dbias += its sum over rows.
    void (*log_sigmoid_backward)(const canto_device *device, int64_t rows, int64_t n, float divisor,
                                 const float *x, const float *bias, const float *dy, float *dx,
                                 float *dbias);
    // In place: pairs (x[j], x[j + dim/2]) of each head turned by the row's angle j; direction +1
    // forward, -1 backward. x: `rows` rows at distance stride, heads * dim used; table [rows,
    // dim/2, 2] = cos, sin.
    void (*rope)(const canto_device *device, int64_t rows, int heads, int dim, int64_t stride,
                 const float *table, int direction, float *x);
    // y[t] = table[token[t]], [T, n]
    void (*embed_forward)(const canto_device *device, int64_t tokens, int64_t n,
                          const int32_t *token, const float *table, float *y);
    void (*embed_backward)(const canto_device *device, int64_t tokens, int64_t n,
                           const int32_t *token, const float *dy,
                           float *dtable); // +=

    // --- cross-entropy over vocabulary tiles: logits [rows, n] are columns [first, first + n) of
    // the vocabulary --- Online: lse[row] (start: -inf) takes in the tile; picked[row] is set when
    // the target lies in it. target -1: ignored.
    void (*loss_tile)(const canto_device *device, int64_t rows, int64_t n, int64_t first,
                      const float *logits, const int32_t *target, float *lse, float *picked);
    // *sum += lse - picked, over the rows with a target, in double.
    void (*loss_sum)(const canto_device *device, int64_t rows, const int32_t *target,
                     const float *lse, const float *picked, double *sum);
    // In place: logits -> scale * (softmax - onehot(target)); rows with target -1 become 0.
    void (*loss_tile_backward)(const canto_device *device, int64_t rows, int64_t n, int64_t first,
                               const int32_t *target, const float *lse, float scale, float *logits);

    // --- element-wise ---
    void (*fill)(const canto_device *device, int64_t n, float value, float *x);
    void (*add)(const canto_device *device, int64_t n, const float *x, float *y); // y += x
    void (*multiply)(const canto_device *device, int64_t n, const float *x, const float *y,
                     float *z); // z = x * y; z may be either
    void (*scale)(const canto_device *device, int64_t n, float factor, float *x);
    void (*copy)(const canto_device *device, int64_t n, const float *x, float *y); // y = x
    // y [rows, n] = the nearest bf16 numbers, ties to even, of rows of x at distance stride.
    void (*narrow)(const canto_device *device, int64_t rows, int64_t n, int64_t stride,
                   const float *x, uint16_t *y);
    // *sum += sum of squares, in double.
    void (*sum_squares)(const canto_device *device, int64_t n, const float *x, double *sum);
    void (*adamw)(const canto_device *device, int64_t n, const canto_adamw *how, const float *grad,
                  float *param, float *first, float *second);
} canto_kernels;

// Name of the first slot that the table lacks ("attention_forward"), NULL if it is complete: a
// device that cannot do everything yet says by name what is missing.
const char *canto_kernels_missing(const canto_kernels *kernels);

#endif
