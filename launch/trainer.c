// Makes what a rank needs, first on measuring arenas, then on real ones of the sizes found. Sends
// nothing but agreements.
#include "launch/trainer.h"

static canto_plan_desc plan_desc(const canto_trainer *trainer)
{
    const canto_config *config = trainer->config;
    return (canto_plan_desc){.mesh = &trainer->job->mesh,
                             .device = trainer->job->device,
                             .layout = config->parallel.layout,
                             .weights =
                                 config->parallel.weights_n ? config->parallel.weights : NULL,
                             .softmax = config->parallel.softmax,
                             .linear = config->parallel.linear,
                             .sequences_n = trainer->data.sequences,
                             .sequence_length = trainer->data.seq_len,
                             .documents_max = trainer->data.max_documents,
                             .state_count_max = canto_model_state_count_max(&config->model)};
}

static canto_status create_optimizer(canto_trainer *trainer)
{
    canto_params *params = canto_model_params(trainer->model);
    canto_arenas *arenas = &trainer->arenas;
    const canto_device *device = trainer->job->device;
    CANTO_TRY(canto_grad_create(&arenas->tables, &arenas->params, trainer->job->mesh.gradients,
                                device, params->buckets_n, params->bounds, params->grads,
                                &trainer->grad));
    return canto_optimizer_create(&arenas->params, &trainer->config->train.optimizer, params,
                                  &trainer->grad, device, trainer->job->world->rank,
                                  &trainer->optimizer);
}

// Runs twice: on measuring arenas, then on real ones.
static canto_status build(canto_trainer *trainer, bool gradients)
{
    canto_plan_desc desc = plan_desc(trainer);
    CANTO_TRY(
        canto_plan_create(&trainer->arenas.tables, &trainer->arenas.work, &desc, &trainer->plan));
    CANTO_TRY(canto_model_create(&trainer->arenas, &trainer->config->model, &trainer->plan,
                                 trainer->job->device, gradients, &trainer->model));
    CANTO_TRY(canto_batch_create(&trainer->arenas.tables, &trainer->data, trainer->plan.tokens,
                                 &trainer->batch));
    CANTO_TRY(canto_arena_array(&trainer->arenas.tables, "records", trainer->job->world->size,
                                CANTO_RECORD_BYTES, &trainer->records));
    return gradients ? create_optimizer(trainer) : CANTO_OK;
}

static void destroy_built(canto_trainer *trainer)
{
    canto_model_destroy(&trainer->model);
    canto_plan_destroy(&trainer->plan);
    canto_arenas_destroy(&trainer->arenas);
    for (int i = 0; i < CANTO_ARENAS_N; i++) canto_ledger_destroy(&trainer->ledgers[i]);
}

static canto_status measure(canto_trainer *trainer, bool gradients)
{
    CANTO_TRY(canto_arenas_measure(&trainer->arenas));
    canto_arenas_keep_books(&trainer->arenas, trainer->ledgers);
    return build(trainer, gradients);
}

static canto_status measure_and_build(canto_trainer *trainer, bool gradients)
{
    canto_status status = measure(trainer, gradients);
    canto_arenas sizes = trainer->arenas;
    destroy_built(trainer);
    CANTO_TRY(status);
    CANTO_TRY(canto_arenas_allocate(&trainer->arenas, trainer->job->device, &sizes));
    canto_arenas_keep_books(&trainer->arenas, trainer->ledgers);
    return build(trainer, gradients);
}

// The configuration may leave the number of context ranks open; here it is known.
static canto_status check_ranks(const canto_config *config, const canto_mesh *mesh)
{
    const int n = config->parallel.weights_n;
    if (n > 0 && n != mesh->cp)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "parallel.weights has %d shares for %d context ranks; write one for each rank",
                   n, mesh->cp);
    if (!config->parallel.softmax->applicable(mesh->cp))
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "parallel.softmax %s cannot work on %d context ranks; choose another",
                   config->parallel.softmax->name, mesh->cp);
    return CANTO_OK;
}

// Other data on one rank would train the model on a mixture that nobody asked for.
static canto_status check_data(const canto_trainer *trainer, canto_comm *world)
{
    const canto_corpus *corpus = &trainer->data.corpus;
    const int64_t mine = (int64_t)trainer->data_digest;
    int64_t first = mine;
    CANTO_TRY(canto_comm_bcast(world, 0, canto_tensor_vector(CANTO_I64, &first, 1)));
    canto_status status = CANTO_OK;
    if (mine != first)
        status = canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__,
                                   "data.path: the text is another one than on rank 0 (here %lld "
                                   "tokens in %d files); give every rank the same files",
                                   (long long)corpus->tokens, corpus->files_n);
    return canto_comm_agree(world, status);
}

static canto_status open_data(canto_trainer *trainer)
{
    const canto_mesh *mesh = &trainer->job->mesh;
    const bool reads = trainer->config->data.path[0] != '\0';
    canto_status status = check_ranks(trainer->config, mesh);
    if (status == CANTO_OK)
        status = (reads ? canto_data_open : canto_data_sizes)(trainer->config, mesh->dp,
                                                              mesh->dp_rank, &trainer->data);
    if (status == CANTO_OK && reads)
        status = canto_data_digest(&trainer->data, &trainer->data_digest);
    CANTO_TRY(canto_comm_agree(mesh->world, status));
    return reads ? check_data(trainer, mesh->world) : CANTO_OK;
}

canto_status canto_trainer_create(const canto_config *config, canto_job *job, bool gradients,
                                  canto_trainer *out)
{
    *out = (canto_trainer){.config = config, .job = job, .phases.trace = job->world->trace};
    CANTO_TRY(open_data(out));
    canto_status status = measure_and_build(out, gradients);
    return canto_comm_agree(job->world, status);
}

canto_status canto_trainer_measure(const canto_config *config, canto_job *job, bool gradients,
                                   canto_trainer *out)
{
    *out = (canto_trainer){.config = config, .job = job};
    CANTO_TRY(open_data(out));
    return canto_comm_agree(job->world, measure(out, gradients));
}

void canto_trainer_destroy(canto_trainer *trainer)
{
    destroy_built(trainer);
    canto_data_close(&trainer->data);
    *trainer = (canto_trainer){0};
}
