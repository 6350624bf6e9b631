// The training step, top to bottom: batch, plan, forward, loss, backward, reduction, update. Inside
// a context group the layers send; over all ranks go the gradients, one small record with the loss
// and the plan's digest, and one with the step's figures.
#include "launch/trainer.h"

#include "parallel/digest.h"
#include "runtime/clock.h"

#include <math.h>

// What each rank tells the others after its last forward pass.
typedef struct {
    double loss_sum;
    uint64_t digest; // of the plans of all streams
} loss_record;

// What each rank tells the others at the end of a step.
typedef struct {
    int64_t bytes_sent;
    double wait_s;
    canto_step_requests requests;
} figures_record;

_Static_assert(sizeof(loss_record) <= CANTO_RECORD_BYTES &&
                   sizeof(figures_record) <= CANTO_RECORD_BYTES,
               "records fit");

// The losses summed in rank order, and a check that the ranks of every context group made the same
// plan.
static canto_status sum_losses(const canto_mesh *mesh, const loss_record *all, double *total)
{
    *total = 0;
    for (int r = 0; r < mesh->control->size; r++) {
        int first = r / mesh->cp * mesh->cp;
        if (all[r].digest != all[first].digest) {
            CANTO_FAIL(CANTO_ERROR_MISMATCH,
                       "rank %d made another plan than rank %d of its context group; run the same "
                       "program on the same text on every rank",
                       r, first);
        }
        *total += all[r].loss_sum;
    }
    if (!isfinite(*total))
        CANTO_FAIL(CANTO_ERROR_NUMBERS,
                   "the loss is not finite, and would not be if the run were continued; start "
                   "another run.dir with a lower train.lr or a longer train.warmup");
    return CANTO_OK;
}

static canto_status reduce_loss(canto_trainer *trainer, const loss_record *mine, double *total)
{
    canto_comm *control = trainer->job->mesh.control;
    loss_record *all = trainer->records;
    CANTO_TRY(canto_comm_gather_small(control, sizeof *mine, mine, all));
    // All ranks find the same fault, so only then they agree, for one of them to tell it.
    canto_status status = sum_losses(&trainer->job->mesh, all, total);
    return status == CANTO_OK ? CANTO_OK : canto_comm_agree(control, status);
}

static figures_record traffic(const canto_job *job)
{
    const canto_comm *lanes[] = {job->world, job->mesh.schedule, job->mesh.gradients,
                                 job->mesh.control};
    figures_record sum = {0};
    for (size_t i = 0; i < sizeof lanes / sizeof *lanes; i++) {
        sum.bytes_sent += lanes[i]->counts.bytes_sent;
        sum.wait_s += lanes[i]->counts.wait_s;
    }
    return sum;
}

static canto_status reduce_figures(canto_trainer *trainer, figures_record before,
                                   canto_step_requests requests, canto_step_result *out)
{
    const canto_mesh *mesh = &trainer->job->mesh;
    figures_record *all = trainer->records;
    figures_record mine = traffic(trainer->job);
    mine.bytes_sent -= before.bytes_sent;
    mine.wait_s -= before.wait_s;
    mine.requests = requests;
    CANTO_TRY(canto_comm_gather_small(mesh->control, sizeof mine, &mine, all));
    for (int r = 0; r < mesh->control->size; r++) {
        out->bytes_sent += all[r].bytes_sent;
        out->comm_wait_s += all[r].wait_s / mesh->control->size;
        out->save = out->save || all[r].requests.save;
        out->leave = out->leave || all[r].requests.leave;
    }
    return CANTO_OK;
}

// Documents are known before the plan is, tokens after.
static canto_status read_batch(canto_trainer *trainer, canto_status status)
{
    CANTO_TRY(status);
    CANTO_TRY(canto_plan_update(&trainer->plan, &trainer->batch.documents));
    canto_batch_fill(&trainer->data, &trainer->plan, &trainer->batch);
    return CANTO_OK;
}

// One of the step's streams. The reducer starts with the last one, when gradients become final.
static canto_status run_stream(canto_trainer *trainer, int64_t first_sample, float scale, bool last,
                               double *loss_sum, canto_digest *plans)
{
    canto_batch *batch = &trainer->batch;
    double loss;
    CANTO_TRY(read_batch(trainer, canto_batch_train(&trainer->data, first_sample, batch)));
    CANTO_TRY(canto_model_forward(trainer->model, batch->tokens));
    CANTO_TRY(canto_model_loss(trainer->model, batch->targets, scale, true, &loss));
    *loss_sum += loss;
    canto_digest_add(plans, 1, &(int64_t){(int64_t)trainer->plan.digest});
    return canto_model_backward(trainer->model, last ? &trainer->grad : NULL);
}

canto_status canto_trainer_step(canto_trainer *trainer, int64_t step, canto_step_requests requests,
                                canto_step_result *out)
{
    const canto_config *config = trainer->config;
    const canto_mesh *mesh = &trainer->job->mesh;
    int64_t streams = config->train.accumulate;
    int64_t samples = streams * config->train.batch;
    int64_t first = (step - 1) * samples;
    int64_t targets = canto_data_targets(&trainer->data, first, samples);
    figures_record before = traffic(trainer->job);
    double start = canto_clock_s();
    double total;
    loss_record sum = {0};
    canto_digest plans;
    canto_digest_init(&plans);
    *out = (canto_step_result){.tokens = samples * config->train.seq_len};
    canto_model_zero_grads(trainer->model);
    for (int64_t i = 0; i < streams; i++) {
        int64_t mine = first + i * config->train.batch + mesh->dp_rank * trainer->data.sequences;
        CANTO_TRY(run_stream(trainer, mine, 1.0f / (float)targets, i == streams - 1, &sum.loss_sum,
                             &plans));
    }
    sum.digest = canto_digest_value(&plans);
    CANTO_TRY(reduce_loss(trainer, &sum, &total));
    CANTO_TRY(
        canto_optimizer_step(&trainer->optimizer, mesh->control, step, &out->grad_norm, &out->lr));
    out->loss = total / (double)targets;
    CANTO_TRY(reduce_figures(trainer, before, requests, out));
    out->step_s = canto_clock_s() - start;
    return CANTO_OK;
}

canto_status canto_trainer_evaluate(canto_trainer *trainer, int64_t tokens, double *loss,
                                    int64_t *counted)
{
    const canto_data *data = &trainer->data;
    const canto_mesh *mesh = &trainer->job->mesh;
    int64_t bytes = canto_data_held_out_bytes(data, tokens);
    int64_t windows = canto_data_held_out_windows(data, tokens);
    double sums[2] = {0};
    for (int64_t first = 0; first < windows; first += (int64_t)data->sequences * mesh->dp) {
        double stream;
        CANTO_TRY(
            read_batch(trainer, canto_batch_held_out(data, first + mesh->dp_rank * data->sequences,
                                                     bytes, &trainer->batch)));
        CANTO_TRY(canto_model_forward(trainer->model, trainer->batch.tokens));
        CANTO_TRY(canto_model_loss(trainer->model, trainer->batch.targets, 0, false, &stream));
        sums[0] += stream;
        // Every rank of a context group knows the whole stream's targets; one of them tells.
        if (mesh->cp_rank == 0) sums[1] += (double)trainer->batch.targets_n;
    }
    CANTO_TRY(canto_comm_sum_small(mesh->control, 2, sums));
    if (sums[1] == 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "data.held_out: there is no held-out text to evaluate; "
                                       "choose a part of the text above 0");
    *loss = sums[0] / sums[1];
    *counted = (int64_t)sums[1];
    return CANTO_OK;
}
