// The passes in which keys and values travel. Rows of parts and of sums are both kv_width fp32
// numbers a token. Merging partial softmax results and the backward pass from (q, dout, lse, delta)
// alone: Dao et al., arXiv 2205.14135; Liu et al. (ring attention), arXiv 2310.01889.
#include "parallel/pass.h"

#include <math.h>

static int64_t q_width(const canto_operands *x)
{
    return (int64_t)x->shape->heads * x->shape->key_dim;
}

static int64_t o_width(const canto_operands *x)
{
    return (int64_t)x->shape->heads * x->shape->value_dim;
}

static int64_t kv_width(const canto_operands *x)
{
    return canto_attention_kv_width(x->shape);
}

// --- forward: (o, lse) stay ---

static void forward_start(const canto_operands *x)
{
    x->device->kernels->fill(x->device, x->tokens * o_width(x), 0, x->o);
    x->device->kernels->fill(x->device, x->tokens * x->shape->heads, -INFINITY, x->lse);
}

static void forward_tile(const canto_operands *x, const canto_band *tile, int64_t q_row,
                         const float *part, float *sum)
{
    (void)sum;
    x->device->kernels->attention_forward(x->device, x->shape, tile, x->q + q_row * q_width(x),
                                          part, x->o + q_row * o_width(x),
                                          x->lse + q_row * x->shape->heads);
}

const canto_pass canto_pass_kv_forward = {
    .name = "kv forward",
    .start = forward_start,
    .tile = forward_tile,
};

// --- backward: dq stays, (dk, dv) follow ---

static void backward_start(const canto_operands *x)
{
    x->device->kernels->attention_delta(x->device, x->tokens * x->shape->heads, x->shape->value_dim,
                                        x->dout, x->o, x->delta);
    x->device->kernels->fill(x->device, x->tokens * q_width(x), 0, x->dq);
    x->device->kernels->fill(x->device, x->tokens * kv_width(x), 0, x->dkv);
}

static void backward_tile(const canto_operands *x, const canto_band *tile, int64_t q_row,
                          const float *part, float *sum)
{
    const int64_t entry = q_row * x->shape->heads;
    x->device->kernels->attention_backward(x->device, x->shape, tile, x->q + q_row * q_width(x),
                                           part, x->dout + q_row * o_width(x), x->lse + entry,
                                           x->delta + entry, x->dq + q_row * q_width(x), sum);
}

static void backward_zero(const canto_operands *x, int64_t rows, float *sum)
{
    x->device->kernels->fill(x->device, rows * kv_width(x), 0, sum);
}

static void backward_join(const canto_operands *x, int64_t rows, const float *incoming, float *sum)
{
    x->device->kernels->add(x->device, rows * kv_width(x), incoming, sum);
}

static void backward_home(const canto_operands *x, int64_t rows, const float *incoming, int64_t row)
{
    x->device->kernels->add(x->device, rows * kv_width(x), incoming, x->dkv + row * kv_width(x));
}

const canto_pass canto_pass_kv_backward = {
    .name = "kv backward",
    .sums = true,
    .own_last = true,
    .start = backward_start,
    .tile = backward_tile,
    .zero = backward_zero,
    .join = backward_join,
    .home = backward_home,
};
