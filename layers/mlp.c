// Three products and a gate, forward and backward. Keeps the two hidden arrays, or computes them
// again; their product always is.
#include "layers/mlp.h"

static canto_status create_matrices(const canto_builder *builder, canto_mlp *mlp)
{
    const canto_model_config *config = builder->config;
    const int64_t d = config->d_model;
    const int64_t m = config->d_mlp;
    CANTO_TRY(canto_matrix_create(builder, "mlp.w_gate", d, m, 1, true, &mlp->w_gate));
    CANTO_TRY(canto_matrix_create(builder, "mlp.w_up", d, m, 1, true, &mlp->w_up));
    return canto_matrix_create(builder, "mlp.w_down", m, d, canto_matrix_branch_factor(config),
                               true, &mlp->w_down);
}

canto_status canto_mlp_create(const canto_builder *builder, canto_mlp *mlp)
{
    const int64_t rows = canto_layer_rows(builder->tokens), m = builder->config->d_mlp;
    *mlp = (canto_mlp){.context = builder->context};
    mlp->keeps = builder->context->gradients && !builder->forgets;
    CANTO_TRY(create_matrices(builder, mlp));
    const int64_t kept = mlp->keeps ? builder->tokens : rows;
    CANTO_TRY(canto_builder_recall(builder, "mlp gate", kept * m, &mlp->gate));
    CANTO_TRY(canto_builder_recall(builder, "mlp up", kept * m, &mlp->up));
    CANTO_TRY(canto_builder_scratch(builder, "mlp hidden", rows * m, &mlp->hidden));
    if (!builder->context->gradients) return CANTO_OK;
    CANTO_TRY(canto_builder_scratch(builder, "mlp dgate", rows * m, &mlp->dgate));
    CANTO_TRY(canto_builder_scratch(builder, "mlp dup", rows * m, &mlp->dup));
    return canto_builder_scratch(builder, "mlp dhidden", rows * m, &mlp->dhidden);
}

// Where the hidden rows of token `first` and those after it lie.
static float *hidden_at(const canto_mlp *mlp, float *array, int64_t first)
{
    return array + (mlp->keeps ? first * mlp->w_gate.out : 0);
}

static void widen(canto_mlp *mlp, int64_t first, int64_t n, const float *x)
{
    const int64_t m = mlp->w_gate.out;
    canto_matrix_forward(mlp->context, &mlp->w_gate, n, x, hidden_at(mlp, mlp->gate, first), m);
    canto_matrix_forward(mlp->context, &mlp->w_up, n, x, hidden_at(mlp, mlp->up, first), m);
}

static void multiply(canto_mlp *mlp, int64_t first, int64_t n)
{
    const canto_device *device = mlp->context->device;
    device->kernels->glu_forward(device, n * mlp->w_gate.out, hidden_at(mlp, mlp->gate, first),
                                 hidden_at(mlp, mlp->up, first), mlp->hidden);
}

void canto_mlp_forward(canto_mlp *mlp, int64_t first, int64_t n, const float *x, float *y)
{
    widen(mlp, first, n, x);
    multiply(mlp, first, n);
    canto_matrix_forward(mlp->context, &mlp->w_down, n, mlp->hidden, y, mlp->w_down.out);
}

void canto_mlp_backward(canto_mlp *mlp, int64_t first, int64_t n, const float *x, const float *dy,
                        float *dx)
{
    const canto_context *context = mlp->context;
    const canto_device *device = context->device;
    const int64_t m = mlp->w_gate.out;
    const int64_t d = mlp->w_down.out;
    if (!mlp->keeps) widen(mlp, first, n, x);
    multiply(mlp, first, n);
    canto_matrix_backward_weight(context, &mlp->w_down, n, mlp->hidden, dy, d);
    canto_matrix_backward_input(context, &mlp->w_down, n, dy, d, false, mlp->dhidden);
    device->kernels->glu_backward(device, n * m, hidden_at(mlp, mlp->gate, first),
                                  hidden_at(mlp, mlp->up, first), mlp->dhidden, mlp->dgate,
                                  mlp->dup);
    canto_matrix_backward_weight(context, &mlp->w_gate, n, x, mlp->dgate, m);
    canto_matrix_backward_weight(context, &mlp->w_up, n, x, mlp->dup, m);
    canto_matrix_backward_input(context, &mlp->w_gate, n, mlp->dgate, m, false, dx);
    canto_matrix_backward_input(context, &mlp->w_up, n, mlp->dup, m, true, dx);
}
