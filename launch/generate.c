// canto generate: one process reads the newest checkpoint and writes bytes, or numbers of
// tokens, one draw a token.
#define _GNU_SOURCE
#include "launch/arguments.h"
#include "launch/checkpoint.h"
#include "launch/command.h"
#include "launch/prompt.h"
#include "launch/sample.h"

#include <stdio.h>

enum { PROMPT_CHUNK = 64, BYTES = 256 };

typedef struct {
    canto_arenas arenas;
    canto_decoder *decoder; // owned
    float *logits;          // [vocab]
    canto_choice *choices;  // [vocab], scratch of the draw
} generator;

static canto_status create(generator *g, const canto_config *config, int64_t capacity)
{
    CANTO_TRY(canto_decoder_create(&g->arenas, &config->model, canto_device_cpu(), capacity,
                                   PROMPT_CHUNK, &g->decoder));
    CANTO_TRY(canto_arena_array(&g->arenas.tables, "logits", config->model.vocab, sizeof *g->logits,
                                (void **)&g->logits));
    return canto_arena_array(&g->arenas.tables, "choices", config->model.vocab, sizeof *g->choices,
                             (void **)&g->choices);
}

static void destroy(generator *g)
{
    canto_decoder_destroy(&g->decoder);
    canto_arenas_destroy(&g->arenas);
}

static canto_status measure_and_create(generator *g, const canto_config *config, int64_t capacity)
{
    canto_status status = canto_arenas_measure(&g->arenas);
    if (status == CANTO_OK) status = create(g, config, capacity);
    canto_arenas sizes = g->arenas;
    destroy(g);
    CANTO_TRY(status);
    CANTO_TRY(canto_arenas_allocate(&g->arenas, canto_device_cpu(), &sizes));
    return create(g, config, capacity);
}

static canto_status feed_prompt(generator *g, const canto_prompt *prompt)
{
    for (int64_t at = 0; at < prompt->n; at += PROMPT_CHUNK) {
        int64_t n = prompt->n - at < PROMPT_CHUNK ? prompt->n - at : PROMPT_CHUNK;
        CANTO_TRY(canto_decoder_feed(g->decoder, n, prompt->tokens + at, g->logits));
    }
    return CANTO_OK;
}

// Bytes of a text, or numbers that can be the next prompt.
static void write_token(bool text, int32_t token)
{
    if (text)
        putchar(token);
    else
        printf(",%d", token);
    fflush(stdout);
}

static canto_status write_tokens(generator *g, const canto_config *config, bool text,
                                 const canto_prompt *prompt, const canto_arguments *a)
{
    fputs(a->prompt, stdout);
    CANTO_TRY(feed_prompt(g, prompt));
    canto_sampling how = {
        .temperature = a->temperature, .top_k = (int)a->top_k, .seed = (uint64_t)a->seed};
    // Tokens above the bytes never stood in a text, so their logits mean nothing.
    const int vocab = config->model.vocab, choices_n = text && vocab > BYTES ? BYTES : vocab;
    for (int64_t i = 0; i < a->tokens; i++) {
        int32_t token = canto_sample(&how, (uint64_t)i, choices_n, g->logits, g->choices);
        write_token(text, token);
        if (i + 1 < a->tokens) CANTO_TRY(canto_decoder_feed(g->decoder, 1, &token, g->logits));
    }
    putchar('\n');
    return CANTO_OK;
}

static canto_status generate_from(canto_store_reader *reader, const canto_arguments *a)
{
    canto_config config;
    canto_prompt prompt = {0};
    generator g = {0};
    const bool text = canto_checkpoint_of_text(reader);
    CANTO_TRY(canto_checkpoint_config(reader, &config));
    CANTO_TRY(canto_prompt_read(a->prompt, text, config.model.vocab, &prompt));
    canto_status status = measure_and_create(&g, &config, prompt.n + a->tokens);
    if (status == CANTO_OK)
        status = canto_checkpoint_read_params(reader, canto_decoder_params(g.decoder));
    if (status == CANTO_OK) status = write_tokens(&g, &config, text, &prompt, a);
    destroy(&g);
    canto_prompt_free(&prompt);
    return status;
}

static canto_status generate(canto_job *job, const canto_arguments *a)
{
    canto_store_reader *reader = NULL;
    CANTO_TRY(canto_checkpoint_require(job, a->positional[0], a->step, &reader));
    canto_status status = generate_from(reader, a);
    canto_store_close(&reader);
    return status;
}

int canto_command_generate(const canto_arguments *a)
{
    canto_job job;
    canto_config defaults;
    canto_config_source *source = NULL;
    canto_status status = canto_config_read(NULL, 0, NULL, &defaults, &source);
    canto_config_source_destroy(&source);
    if (status == CANTO_OK) status = canto_job_open_alone(&defaults, &job);
    if (status != CANTO_OK) return canto_job_refuse(status);
    return canto_job_close(&job, generate(&job, a), 0);
}
