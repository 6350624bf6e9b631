// canto eval: bits per byte of a checkpoint on the held-out text of its run, and n-gram models of
// the same text beside it; for a run on tokens nats per token and perplexity.
#define _GNU_SOURCE
#include "launch/arguments.h"
#include "launch/checkpoint.h"
#include "launch/command.h"
#include "launch/json_print.h"
#include "launch/ngram.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    int64_t step;
    int64_t tokens;
    double loss; // nats per token
    bool text;   // tokens are bytes
    bool orders;
    double ngram[CANTO_NGRAM_ORDER_MAX + 1];
} evaluation;

static const int shown_orders[] = {0, 2, 3, 4};
enum { SHOWN = sizeof shown_orders / sizeof *shown_orders, SHOWN_MAX = 4 };

// A division that suits any number of ranks, in place of the run's own.
static const char *const any_ranks[] = {"parallel.dp=0", "parallel.cp=0", "parallel.softmax=ring",
                                        "parallel.layout=zigzag", "parallel.weights=[]"};
enum { ANY_RANKS = sizeof any_ranks / sizeof *any_ranks };

static void print_table(const evaluation *e)
{
    const char *unit = e->text ? "bytes" : "tokens";
    if (e->text)
        printf("%-28s %10s\n", "model", "bits/byte");
    else
        printf("%-28s %10s %12s\n", "model", "nats/token", "perplexity");
    for (int i = 0; e->orders && i < SHOWN; i++)
        printf("n-gram, order %-14d %10.4f\n", shown_orders[i], e->ngram[shown_orders[i]]);
    printf("this run, step %-13lld %10.4f", (long long)e->step,
           e->text ? e->loss / M_LN2 : e->loss);
    if (!e->text) printf(" %12.4f", exp(e->loss));
    printf("\n(%lld held-out %s, read in order)\n", (long long)e->tokens, unit);
}

static void print_json(const evaluation *e)
{
    json_t *object =
        json_pack("{s:I, s:I, s:f}", "step", (json_int_t)e->step, e->text ? "bytes" : "tokens",
                  (json_int_t)e->tokens, e->text ? "bits_per_byte" : "nats_per_token",
                  e->text ? e->loss / M_LN2 : e->loss);
    json_t *orders = json_object();
    for (int i = 0; e->orders && i < SHOWN; i++) {
        char name[8];
        snprintf(name, sizeof name, "%d", shown_orders[i]);
        json_object_set_new(orders, name, json_real(e->ngram[shown_orders[i]]));
    }
    if (e->text)
        json_object_set(object, "ngram_bits_per_byte", orders);
    else
        json_object_set_new(object, "perplexity", json_real(exp(e->loss)));
    json_decref(orders);
    canto_json_print(object, stdout);
}

// Bytes [begin, begin + n) of a corpus of text.
static canto_status copy_text(const canto_corpus *corpus, int64_t begin, int64_t n, uint8_t *out)
{
    enum { CHUNK = 4096 };
    int32_t tokens[CHUNK];
    for (int64_t at = 0; at < n; at += CHUNK) {
        const int64_t some = n - at < CHUNK ? n - at : CHUNK;
        CANTO_TRY(canto_corpus_read(corpus, begin + at, some, tokens));
        for (int64_t i = 0; i < some; i++) out[at + i] = (uint8_t)tokens[i];
    }
    return CANTO_OK;
}

// Rank 0 only: the n-gram models are trained on what the run was trained on, and read what it was
// evaluated on.
static canto_status compare(const canto_trainer *trainer, evaluation *e)
{
    const canto_data *data = &trainer->data;
    const canto_held_out held = canto_data_held_out(data);
    const int64_t n = data->train_size;
    const int64_t m = canto_data_held_out_tokens(data, trainer->config->train.eval_tokens);
    uint8_t *text = malloc((size_t)(n + m));
    if (!text)
        CANTO_FAIL(CANTO_ERROR_MEMORY,
                   "eval --orders: no memory for a text of %lld bytes; leave --orders out",
                   (long long)(n + m));
    canto_status status = copy_text(&data->corpus, 0, n, text);
    if (status == CANTO_OK) status = copy_text(held.corpus, held.before + 1, m, text + n);
    if (status == CANTO_OK) status = canto_ngram_bits(SHOWN_MAX, text, n, text + n, m, e->ngram);
    free(text);
    return status;
}

// All ranks find the same.
static canto_status check_orders(const canto_trainer *trainer, const evaluation *e)
{
    if (!e->orders || e->text) return CANTO_OK;
    CANTO_FAIL(CANTO_ERROR_CONFIG,
               "eval --orders: n-gram models are of bytes, and %s holds tokens; leave --orders out",
               trainer->config->data.path);
}

static canto_status evaluate(canto_trainer *trainer, canto_store_reader *reader, evaluation *e)
{
    canto_job *job = trainer->job;
    e->text = trainer->data.corpus.text;
    CANTO_TRY(canto_comm_agree(job->mesh.control, check_orders(trainer, e)));
    CANTO_TRY(canto_comm_agree(job->mesh.control, canto_checkpoint_read_params(
                                                      reader, canto_model_params(trainer->model))));
    CANTO_TRY(
        canto_trainer_evaluate(trainer, trainer->config->train.eval_tokens, &e->loss, &e->tokens));
    e->step = canto_store_step(reader);
    bool compares = e->orders && job->world->rank == 0;
    return canto_comm_agree(job->mesh.control, compares ? compare(trainer, e) : CANTO_OK);
}

// config.yaml may have been edited since, and shapes alone do not tell, say, one number of heads
// from another.
static canto_status check_model(const canto_store_reader *reader, const canto_config *config)
{
    canto_config stored;
    CANTO_TRY(canto_checkpoint_config(reader, &stored));
    return canto_config_same_model(&stored, config);
}

static canto_status run(canto_job *job, canto_store_reader *reader, const canto_config *config,
                        const canto_arguments *a)
{
    canto_trainer trainer = {0};
    evaluation e = {.orders = a->orders};
    canto_status status = canto_comm_agree(job->mesh.control, check_model(reader, config));
    if (status == CANTO_OK) status = canto_trainer_create(config, job, false, &trainer);
    if (status == CANTO_OK) status = evaluate(&trainer, reader, &e);
    if (status == CANTO_OK && job->world->rank == 0) (a->json ? print_json : print_table)(&e);
    canto_trainer_destroy(&trainer);
    return status;
}

// The configuration of the run's latest start, divided over whatever ranks there are now.
static canto_status read_config(const canto_arguments *a, canto_config *config)
{
    char path[CANTO_TEXT_MAX + 16];
    char *overrides[ANY_RANKS + CANTO_POSITIONAL_MAX];
    int n = ANY_RANKS;
    memcpy(overrides, any_ranks, sizeof any_ranks);
    for (int i = 1; i < a->positional_n; i++) overrides[n++] = a->positional[i];
    snprintf(path, sizeof path, "%s/config.yaml", a->positional[0]);
    if (access(path, R_OK) != 0) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s holds no run: %s: %s", a->positional[0], path,
                   strerror(errno));
    }
    return canto_config_read(path, n, overrides, config, NULL);
}

int canto_command_eval(const canto_arguments *a)
{
    canto_config config;
    canto_store_reader *reader = NULL;
    canto_status status = read_config(a, &config);
    if (status != CANTO_OK) return canto_job_refuse(status);
    canto_job job;
    status = canto_job_open(&config, &job);
    if (status == CANTO_OK)
        status = canto_checkpoint_require(&job, a->positional[0], a->step, &reader);
    if (status == CANTO_OK) status = run(&job, reader, &config, a);
    canto_store_close(&reader);
    return canto_job_close(&job, status, 0);
}
