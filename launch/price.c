// Prices of a step: the schedules of all ranks are made and priced, one mask at a time; folds are
// counted. Nothing is sent. 1024 context ranks take seconds and some hundred megabytes.
#include "launch/price.h"

typedef struct pricing {
    const canto_trainer *trainer;
    canto_arena arena; // owned: what follows
    canto_batch batch;
    canto_documents documents;
    canto_mask mask;
    canto_needs needs;
    canto_schedule schedule;
} pricing;

static canto_status take(pricing *p)
{
    const canto_plan *plan = &p->trainer->plan;
    const int documents = plan->desc.documents_max;
    CANTO_TRY(canto_batch_create(&p->arena, &p->trainer->data, 0, &p->batch));
    CANTO_TRY(canto_mask_create(&p->arena, documents, &p->mask));
    CANTO_TRY(canto_needs_create(&p->arena, &plan->shards, documents, &p->needs));
    return canto_schedule_create(&p->arena, &plan->shards, documents, -1, &p->schedule);
}

static canto_status open_pricing(const canto_trainer *trainer, pricing *p)
{
    *p = (pricing){.trainer = trainer};
    CANTO_TRY(canto_arena_create_measuring(&p->arena));
    canto_status status = take(p);
    const size_t bytes = p->arena.peak;
    canto_arena_destroy(&p->arena);
    CANTO_TRY(status);
    CANTO_TRY(canto_arena_create(&p->arena, bytes));
    return take(p);
}

static canto_status find_documents(pricing *p)
{
    const canto_data *data = &p->trainer->data;
    if (p->trainer->config->data.path[0] != '\0') {
        CANTO_TRY(canto_batch_train(data, 0, &p->batch));
    } else {
        for (int i = 0; i <= data->sequences; i++) p->batch.starts[i] = i * data->seq_len;
        p->batch.documents = (canto_documents){data->sequences, p->batch.starts};
    }
    p->documents = p->batch.documents;
    return CANTO_OK;
}

static int layers_of(const canto_model_config *model, const canto_mixer_config *mixer)
{
    int n = 0;
    for (int l = 0; l < model->layers; l++) n += canto_model_mixer(model, l) == mixer;
    return n;
}

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// --- softmax ---

// The backward pass sends the parts again, and the sums.
static void add_softmax(const pricing *p, const canto_mixer_config *mixer, int64_t layers,
                        const canto_price *price, canto_price_row *row)
{
    const int64_t width = (int64_t)mixer->kv_heads * (mixer->key_dim + mixer->value_dim);
    const int64_t bytes = width * (int64_t)sizeof(float);
    const int64_t pairs = canto_mask_area(&p->mask);
    row->messages += layers * (2 * price->messages + price->sum_messages);
    row->bytes += layers * (2 * price->rows + price->sum_rows) * bytes;
    row->part_bytes = most(row->part_bytes, price->peak_part_rows * bytes);
    row->sum_bytes = most(row->sum_bytes, price->peak_sum_rows * bytes);
    const double busiest = (double)price->pairs_max * p->schedule.size / (double)most(pairs, 1);
    if (busiest > row->busiest) row->busiest = busiest;
}

static canto_status price_strategy(pricing *p, const canto_strategy *strategy, canto_price_row *row)
{
    const canto_model_config *model = &p->trainer->config->model;
    const canto_shards *shards = &p->trainer->plan.shards;
    const canto_machine machine = {0}; // seconds are not asked for
    row->name = strategy->name;
    row->works = strategy->applicable(shards->size);
    row->chosen = strategy == p->trainer->config->parallel.softmax;
    for (int i = 0; row->works && i < model->mixers_n; i++) {
        const canto_mixer_config *mixer = &model->mixers[i];
        const int layers = layers_of(model, mixer);
        if (!mixer->kind->softmax || layers == 0) continue;
        const int64_t left = mixer->window ? mixer->window - 1 : CANTO_UNLIMITED;
        canto_price price;
        CANTO_TRY(canto_mask_set(&p->mask, &p->documents, left, 0));
        CANTO_TRY(canto_needs_make(&p->needs, &p->mask, shards));
        CANTO_TRY(canto_schedule_make(&p->schedule, strategy, &p->needs, shards));
        CANTO_TRY(canto_schedule_price(&p->schedule, &p->mask, shards, 1, &machine, &price));
        add_softmax(p, mixer, layers, &price, row);
    }
    return CANTO_OK;
}

// --- linear ---

static canto_status price_transport(const pricing *p, const canto_transport *transport,
                                    canto_price_row *row)
{
    const canto_model_config *model = &p->trainer->config->model;
    canto_scan_price price;
    *row = (canto_price_row){.name = transport->name,
                             .works = true,
                             .chosen = transport == p->trainer->config->parallel.linear};
    CANTO_TRY(canto_scan_price_make(transport, &p->trainer->plan.shards, &p->documents, &price));
    const int64_t messages = price.messages + price.backward_messages;
    const int64_t transitions = price.transitions + price.backward_transitions;
    for (int i = 0; i < model->mixers_n; i++) {
        const canto_mixer_config *mixer = &model->mixers[i];
        const int64_t layers = layers_of(model, mixer);
        if (mixer->kind->softmax || layers == 0) continue;
        const int64_t bytes = canto_mixer_state_count(mixer) * (int64_t)sizeof(float);
        const int64_t more = canto_mixer_transition_count(mixer) * (int64_t)sizeof(float);
        row->messages += layers * messages;
        row->bytes += layers * (messages * bytes + transitions * more);
        row->part_bytes = most(row->part_bytes, price.buffers * (bytes + more));
    }
    return CANTO_OK;
}

// --- all of it ---

static void scale(int64_t streams, int n, canto_price_row *rows, canto_step_price *out)
{
    for (int i = 0; i < n; i++) {
        rows[i].messages *= streams;
        rows[i].bytes *= streams;
        if (!rows[i].chosen || !rows[i].works) continue;
        out->messages += rows[i].messages;
        out->bytes += rows[i].bytes;
    }
}

static canto_status price_layers(pricing *p, canto_step_price *out)
{
    CANTO_TRY(find_documents(p));
    for (int i = 0; canto_strategies[i] && i < CANTO_PRICE_ROWS_MAX; i++) {
        if (out->softmax_layers == 0) break;
        CANTO_TRY(price_strategy(p, canto_strategies[i], &out->softmax[out->softmax_n++]));
    }
    for (int i = 0; canto_transports[i] && i < CANTO_PRICE_ROWS_MAX; i++) {
        if (out->linear_layers == 0) break;
        CANTO_TRY(price_transport(p, canto_transports[i], &out->linear[out->linear_n++]));
    }
    return CANTO_OK;
}

static void count_layers(const canto_model_config *model, canto_step_price *out)
{
    for (int l = 0; l < model->layers; l++) {
        const bool softmax = canto_model_mixer(model, l)->kind->softmax;
        out->softmax_layers += softmax;
        out->linear_layers += !softmax;
    }
}

canto_status canto_step_price_make(const canto_trainer *trainer, canto_step_price *out)
{
    const canto_config *config = trainer->config;
    const canto_params *params = canto_model_params(trainer->model);
    pricing p;
    *out = (canto_step_price){.streams = config->train.accumulate * trainer->job->mesh.dp,
                              .parameters = canto_params_count(params)};
    count_layers(&config->model, out);
    canto_grad_price(-1, trainer->job->world->size, params->buckets_n, params->bounds,
                     &out->gradient_messages, &out->gradient_bytes);
    out->messages = out->gradient_messages;
    out->bytes = out->gradient_bytes;
    canto_status status = open_pricing(trainer, &p);
    if (status == CANTO_OK) status = price_layers(&p, out);
    canto_arena_destroy(&p.arena);
    CANTO_TRY(status);
    scale(out->streams, out->softmax_n, out->softmax, out);
    scale(out->streams, out->linear_n, out->linear, out);
    return CANTO_OK;
}
