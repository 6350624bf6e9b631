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
    uint64_t digest;   // of the plans of all streams
    canto_status read; // whether it could read its tokens
} loss_record;

_Static_assert(sizeof(loss_record) <= CANTO_RECORD_BYTES &&
                   sizeof(canto_step_figures) <= CANTO_RECORD_BYTES,
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
    for (int r = 0; r < control->size; r++) {
        if (all[r].read != CANTO_OK) return canto_comm_agree(control, mine->read);
    }
    // All ranks find the same fault, so only then they agree, for one of them to tell it.
    canto_status status = sum_losses(&trainer->job->mesh, all, total);
    return status == CANTO_OK ? CANTO_OK : canto_comm_agree(control, status);
}

// --- figures ---

typedef struct {
    double at_s;
    canto_lane_tally lanes[CANTO_LANES];
} step_start;

// The step's last message, which is not in the figures it carries.
static canto_status reduce_figures(canto_trainer *trainer, const step_start *start,
                                   canto_step_requests requests, canto_step_result *out)
{
    const canto_mesh *mesh = &trainer->job->mesh;
    canto_step_figures *all = trainer->records;
    canto_step_figures mine = {.requests = requests};
    canto_lane_tally lanes[CANTO_LANES];
    canto_lanes_since(start->lanes, mesh, lanes);
    for (int i = 0; i < CANTO_LANES; i++) {
        mine.bytes_sent += lanes[i].sent.bytes;
        mine.wait_s += lanes[i].wait_s;
    }
    mine.compute_s = canto_clock_s() - start->at_s - mine.wait_s;
    CANTO_TRY(canto_comm_gather_small(mesh->control, sizeof mine, &mine, all));
    out->ranks = all;
    for (int r = 0; r < mesh->control->size; r++) {
        out->bytes_sent += all[r].bytes_sent;
        out->comm_wait_s += all[r].wait_s / mesh->control->size;
        out->save = out->save || all[r].requests.save;
        out->leave = out->leave || all[r].requests.leave;
    }
    return CANTO_OK;
}

// What the stream's plan says that its forward and backward run sent.
static void price_stream(canto_trainer *trainer)
{
    canto_traffic *priced = &trainer->tally.lanes[CANTO_LANE_SCHEDULE].priced;
    for (int backward = 0; backward < 2; backward++)
        *priced = canto_traffic_add(*priced, canto_model_traffic(trainer->model, backward));
}

static void keep_tally(canto_trainer *trainer, const step_start *start,
                       const canto_step_result *result)
{
    canto_tally *tally = &trainer->tally;
    canto_lane_tally lanes[CANTO_LANES];
    canto_lanes_since(start->lanes, &trainer->job->mesh, lanes);
    lanes[CANTO_LANE_GRADIENTS].priced = canto_grad_traffic(&trainer->grad);
    canto_tally_add(tally, lanes);
    tally->steps++;
    tally->tokens += result->tokens;
    tally->step_s += result->step_s;
}

// --- streams ---

// Documents are known before the plan is, tokens after. What cannot be read is told later, in
// *read: until then the rank does what the others do, with an emptier batch.
static canto_status read_batch(canto_trainer *trainer, canto_status documents, canto_status *read)
{
    canto_batch *batch = &trainer->batch;
    canto_phases_enter(&trainer->phases, CANTO_PHASE_PLAN);
    CANTO_TRY(canto_plan_update(&trainer->plan, &batch->documents));
    canto_phases_enter(&trainer->phases, CANTO_PHASE_DATA);
    canto_status tokens = canto_batch_fill(&trainer->plan, batch);
    if (*read == CANTO_OK) *read = documents != CANTO_OK ? documents : tokens;
    return CANTO_OK;
}

// One of the step's streams. The reducer starts with the last one, when gradients become final.
static canto_status run_stream(canto_trainer *trainer, int64_t first_sample, float scale, bool last,
                               loss_record *sum, canto_digest *plans)
{
    canto_batch *batch = &trainer->batch;
    canto_phases *phases = &trainer->phases;
    double loss;
    canto_phases_enter(phases, CANTO_PHASE_DATA);
    canto_status documents = canto_batch_train(&trainer->data, first_sample, batch);
    // A file that fails is known to this rank alone: without the documents that its group found, it
    // can only leave.
    if (documents == CANTO_ERROR_IO) return documents;
    CANTO_TRY(read_batch(trainer, documents, &sum->read));
    canto_phases_enter(phases, CANTO_PHASE_FORWARD);
    CANTO_TRY(canto_model_forward(trainer->model, batch->tokens, &trainer->grad));
    canto_phases_enter(phases, CANTO_PHASE_LOSS);
    CANTO_TRY(canto_model_loss(trainer->model, batch->targets, scale, true, &loss));
    sum->loss_sum += loss;
    canto_digest_add(plans, 1, &(int64_t){(int64_t)trainer->plan.digest});
    canto_phases_enter(phases, CANTO_PHASE_BACKWARD);
    return canto_model_backward(trainer->model, last ? &trainer->grad : NULL);
}

// All ranks count the targets of all replicas.
static canto_status count_targets(canto_trainer *trainer, int64_t first, int64_t samples,
                                  int64_t *targets)
{
    canto_phases_enter(&trainer->phases, CANTO_PHASE_DATA);
    CANTO_TRY(canto_data_targets(&trainer->data, first, samples, targets));
    if (*targets == 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.separator: samples %lld to %lld have nothing to predict, because every "
                   "document is one token; choose another separator",
                   (long long)first, (long long)(first + samples - 1));
    return CANTO_OK;
}

static canto_status run_streams(canto_trainer *trainer, int64_t step, int64_t samples,
                                int64_t targets, loss_record *sum)
{
    const int64_t streams = trainer->config->train.accumulate;
    const int64_t first = (step - 1) * samples + trainer->data.first;
    canto_digest plans;
    canto_digest_init(&plans);
    canto_phases_enter(&trainer->phases, CANTO_PHASE_CLEAR);
    canto_model_zero_grads(trainer->model);
    for (int64_t i = 0; i < streams; i++) {
        CANTO_TRY(run_stream(trainer, first + i * trainer->config->train.batch,
                             1.0f / (float)targets, i == streams - 1, sum, &plans));
        price_stream(trainer);
    }
    sum->digest = canto_digest_value(&plans);
    return CANTO_OK;
}

static canto_status update(canto_trainer *trainer, int64_t step, canto_step_result *out)
{
    canto_phases_enter(&trainer->phases, CANTO_PHASE_REDUCE);
    CANTO_TRY(canto_grad_finish(&trainer->grad));
    canto_phases_enter(&trainer->phases, CANTO_PHASE_UPDATE);
    return canto_optimizer_step(&trainer->optimizer, trainer->job->mesh.control, step,
                                &out->grad_norm, &out->lr);
}

canto_status canto_trainer_step(canto_trainer *trainer, int64_t step, canto_step_requests requests,
                                canto_step_result *out)
{
    canto_phases *phases = &trainer->phases;
    const int64_t samples = trainer->config->train.accumulate * trainer->config->train.batch;
    step_start start = {.at_s = canto_clock_s()};
    canto_lanes_read(&trainer->job->mesh, start.lanes);
    double total = 0;
    int64_t targets;
    loss_record sum = {0};
    *out = (canto_step_result){.tokens = samples * trainer->config->train.seq_len};
    canto_trace_begin(phases->trace, CANTO_TRACE_COMPUTE, "step", "step", step);
    CANTO_TRY(count_targets(trainer, (step - 1) * samples, samples, &targets));
    CANTO_TRY(run_streams(trainer, step, samples, targets, &sum));
    canto_phases_enter(phases, CANTO_PHASE_EXCHANGE);
    CANTO_TRY(reduce_loss(trainer, &sum, &total));
    CANTO_TRY(update(trainer, step, out));
    out->loss = total / (double)targets;
    canto_phases_enter(phases, CANTO_PHASE_EXCHANGE);
    CANTO_TRY(reduce_figures(trainer, &start, requests, out));
    canto_phases_enter(phases, CANTO_PHASE_OTHER);
    canto_trace_end(phases->trace);
    out->step_s = canto_clock_s() - start.at_s;
    keep_tally(trainer, &start, out);
    return CANTO_OK;
}

// Adds the loss and the targets of my sequences among [first, first + batch) of the held-out ones.
static canto_status evaluate_stream(canto_trainer *trainer, int64_t first, int64_t tokens,
                                    canto_status *read, double sums[2])
{
    const canto_data *data = &trainer->data;
    canto_batch *batch = &trainer->batch;
    double loss;
    canto_phases_enter(&trainer->phases, CANTO_PHASE_DATA);
    canto_status documents = canto_batch_held_out(data, first + data->first, tokens, batch);
    // Whoever calls may go on after a failure, if it is everybody's.
    CANTO_TRY(canto_comm_agree(trainer->job->mesh.control, documents));
    CANTO_TRY(read_batch(trainer, CANTO_OK, read));
    canto_phases_enter(&trainer->phases, CANTO_PHASE_FORWARD);
    CANTO_TRY(canto_model_forward(trainer->model, batch->tokens,
                                  trainer->grad.comm ? &trainer->grad : NULL));
    canto_phases_enter(&trainer->phases, CANTO_PHASE_LOSS);
    CANTO_TRY(canto_model_loss(trainer->model, batch->targets, 0, false, &loss));
    sums[0] += loss;
    // Every rank of a context group knows the whole stream's targets; one of them tells.
    if (trainer->job->mesh.cp_rank == 0) sums[1] += (double)batch->targets_n;
    return CANTO_OK;
}

canto_status canto_trainer_finish(canto_trainer *trainer)
{
    CANTO_TRY(canto_grad_gather_finish(&trainer->grad));
    return canto_device_finish(trainer->job->device); // where waiting for a message blocks no host
}

canto_status canto_trainer_evaluate(canto_trainer *trainer, int64_t tokens, double *loss,
                                    int64_t *counted)
{
    const canto_data *data = &trainer->data;
    canto_comm *control = trainer->job->mesh.control;
    const int64_t held = canto_data_held_out_tokens(data, tokens);
    canto_status read = CANTO_OK;
    double sums[2] = {0};
    for (int64_t first = 0; first * data->seq_len < held; first += data->batch)
        CANTO_TRY(evaluate_stream(trainer, first, held, &read, sums));
    canto_phases_enter(&trainer->phases, CANTO_PHASE_EXCHANGE);
    CANTO_TRY(canto_comm_agree(control, read));
    CANTO_TRY(canto_comm_sum_small(control, 2, sums));
    canto_phases_enter(&trainer->phases, CANTO_PHASE_OTHER);
    if (sums[1] == 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "data.held_out: there is no held-out text to evaluate; "
                                       "choose a part of the text above 0");
    *loss = sums[0] / sums[1];
    *counted = (int64_t)sums[1];
    return CANTO_OK;
}
