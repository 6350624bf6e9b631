// AdamW with sharded moments: a rank updates its piece of every bucket. Sends what parallel/grad.h
// says (one reduce-scatter, one all-gather) and one sum of a double for the norm.
#include "layers/optimizer.h"

#include "runtime/trace.h"

#include <math.h>

double canto_optimizer_rate(const canto_optimizer_config *config, int64_t step)
{
    if (step <= config->warmup) return config->lr * (double)step / (double)config->warmup;
    if (step >= config->horizon) return config->min_lr;
    const double done =
        (double)(step - config->warmup) / (double)(config->horizon - config->warmup);
    const double cosine = 0.5 * (1 + cos(3.14159265358979323846 * done));
    return config->min_lr + (config->lr - config->min_lr) * cosine;
}

canto_status canto_optimizer_create(canto_arena *arena, const canto_optimizer_config *config,
                                    canto_params *params, canto_grad *grad,
                                    const canto_device *device, int rank, canto_optimizer *out)
{
    *out = (canto_optimizer){
        .config = *config, .params = params, .grad = grad, .device = device, .rank = rank};
    for (int bucket = 0; bucket < params->buckets_n; bucket++) {
        int64_t begin, end;
        canto_grad_piece(grad, bucket, rank, &begin, &end);
        out->pieces_count += end - begin;
    }
    CANTO_TRY(canto_arena_array(arena, "first moments", out->pieces_count, sizeof *out->first,
                                (void **)&out->first));
    CANTO_TRY(canto_arena_array(arena, "second moments", out->pieces_count, sizeof *out->second,
                                (void **)&out->second));
    return canto_arena_array(arena, "norm", 1, sizeof *out->norm, (void **)&out->norm);
}

// All ranks find the same fault, so only then they agree, for one of them to tell it.
static canto_status fail_norm(canto_comm *control, int64_t step)
{
    return canto_comm_agree(
        control, canto_error_raise(CANTO_ERROR_NUMBERS, __FILE__, __LINE__,
                                   "the gradient's norm is not finite in step %lld, and would not "
                                   "be if the run were continued; start another run.dir with a "
                                   "lower train.lr or a longer train.warmup",
                                   (long long)step));
}

static canto_status global_norm(const canto_optimizer *optimizer, canto_comm *control, int64_t step,
                                double *norm)
{
    const canto_device *device = optimizer->device;
    double sum = 0;
    CANTO_TRY(canto_device_upload(device, optimizer->norm, &sum, sizeof sum));
    for (int bucket = 0; bucket < optimizer->params->buckets_n; bucket++) {
        int64_t begin, end;
        canto_grad_piece(optimizer->grad, bucket, optimizer->rank, &begin, &end);
        device->kernels->sum_squares(device, end - begin, optimizer->params->grads + begin,
                                     optimizer->norm);
    }
    CANTO_TRY(canto_device_download(device, &sum, optimizer->norm, sizeof sum));
    // Every rank gets the same sum, so every rank takes the same branch.
    CANTO_TRY(canto_comm_sum_small(control, 1, &sum));
    *norm = sqrt(sum);
    return isfinite(sum) ? CANTO_OK : fail_norm(control, step);
}

typedef struct update {
    const canto_optimizer *optimizer;
    canto_adamw how;
} update;

static canto_status update_piece(void *context, const canto_param *param, int64_t begin,
                                 int64_t count, float *value, float *first, float *second)
{
    const update *u = context;
    canto_adamw how = u->how;
    if (!param->decays) how.weight_decay = 0;
    const float *grad = u->optimizer->params->grads + param->begin + begin;
    const canto_device *device = u->optimizer->device;
    device->kernels->adamw(device, count, &how, grad, value, first, second);
    return CANTO_OK;
}

canto_status canto_optimizer_step(canto_optimizer *optimizer, canto_comm *control, int64_t step,
                                  double *grad_norm, double *lr)
{
    const canto_optimizer_config *config = &optimizer->config;
    CANTO_TRY(canto_grad_finish(optimizer->grad));
    canto_trace_begin(control->trace, CANTO_TRACE_COMPUTE, "gradient norm", NULL, 0);
    CANTO_TRY(global_norm(optimizer, control, step, grad_norm));
    canto_trace_end(control->trace);
    *lr = canto_optimizer_rate(config, step);
    const bool clipped = config->clip > 0 && *grad_norm > config->clip;
    update u = {.optimizer = optimizer,
                .how = {.lr = (float)*lr,
                        .beta1 = (float)config->beta1,
                        .beta2 = (float)config->beta2,
                        .eps = (float)config->eps,
                        .weight_decay = (float)config->weight_decay,
                        .grad_scale = clipped ? (float)(config->clip / *grad_norm) : 1.0f,
                        .correction1 = (float)(1 - pow(config->beta1, (double)step)),
                        .correction2 = (float)(1 - pow(config->beta2, (double)step))}};
    canto_trace_begin(control->trace, CANTO_TRACE_COMPUTE, "optimizer", NULL, 0);
    CANTO_TRY(canto_optimizer_pieces(optimizer, update_piece, &u));
    canto_trace_end(control->trace);
    return canto_grad_gather_start(optimizer->grad, optimizer->params->values);
}

// Parameters and pieces are both in order of place, so one walk over the list meets them all.
canto_status canto_optimizer_pieces(canto_optimizer *optimizer, canto_optimizer_visit visit,
                                    void *context)
{
    const canto_params *params = optimizer->params;
    int64_t done = 0; // of my moments
    for (int p = 0; p < params->n; p++) {
        const canto_param *param = &params->list[p];
        int64_t begin, end;
        canto_grad_piece(optimizer->grad, param->bucket, optimizer->rank, &begin, &end);
        if (begin < param->begin) begin = param->begin;
        if (end > param->begin + param->count) end = param->begin + param->count;
        if (begin >= end) continue;
        CANTO_TRY(visit(context, param, begin - param->begin, end - begin, params->values + begin,
                        optimizer->first + done, optimizer->second + done));
        done += end - begin;
    }
    return CANTO_OK;
}
