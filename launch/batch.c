// Documents first, because the plan needs them; tokens after, because the plan tells which are
// mine.
#include "launch/batch.h"

#include <string.h>

canto_status canto_batch_create(canto_arena *arena, const canto_data *data, int64_t tokens,
                                canto_batch *out)
{
    *out = (canto_batch){.corpus = &data->corpus};
    CANTO_TRY(canto_arena_array(arena, "stretches", data->max_documents, sizeof *out->stretches,
                                (void **)&out->stretches));
    CANTO_TRY(canto_arena_array(arena, "document starts", data->max_documents + 1,
                                sizeof *out->starts, (void **)&out->starts));
    CANTO_TRY(
        canto_arena_array(arena, "tokens", tokens, sizeof *out->tokens, (void **)&out->tokens));
    return canto_arena_array(arena, "targets", tokens, sizeof *out->targets,
                             (void **)&out->targets);
}

static void clear(canto_batch *batch, const canto_corpus *corpus)
{
    batch->corpus = corpus;
    batch->documents = (canto_documents){.starts = batch->starts};
    batch->targets_n = 0;
}

static canto_status add(const canto_data *data, int64_t start, const canto_stretch *stretch,
                        canto_batch *batch)
{
    const int n = batch->documents.n;
    if (n == data->max_documents)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.max_documents: the sequences of one step hold more than %d documents; "
                   "raise it or choose another data.separator",
                   data->max_documents);
    batch->starts[n] = start;
    batch->stretches[n] = *stretch;
    batch->documents.n = n + 1;
    batch->targets_n += stretch->targets_end - stretch->targets_begin;
    return CANTO_OK;
}

// Ends the list of documents. After a failure it is made anew, without anything in them.
static canto_status finish(const canto_data *data, canto_status status, canto_batch *batch)
{
    if (status != CANTO_OK) clear(batch, batch->corpus);
    for (int i = 0; status != CANTO_OK && i < data->sequences; i++) {
        batch->starts[i] = i * data->seq_len;
        batch->stretches[i] = (canto_stretch){0};
        batch->documents.n = i + 1;
    }
    batch->starts[batch->documents.n] = data->sequences * data->seq_len;
    return status;
}

static canto_status add_samples(const canto_data *data, int64_t first, canto_batch *batch)
{
    for (int i = 0; i < data->sequences; i++) {
        canto_sequence sequence;
        canto_stretch stretch;
        for (canto_sequence_begin(data, first + i, &sequence); sequence.left > 0;) {
            const int64_t start = (i + 1) * data->seq_len - sequence.left;
            CANTO_TRY(canto_sequence_next(&sequence, &stretch));
            CANTO_TRY(add(data, start, &stretch, batch));
        }
    }
    return CANTO_OK;
}

canto_status canto_batch_train(const canto_data *data, int64_t first, canto_batch *batch)
{
    clear(batch, &data->corpus);
    return finish(data, add_samples(data, first, batch), batch);
}

// Tokens [at, end) from position `start` on; one empty stretch if there are none.
static canto_status add_window(const canto_data *data, int64_t start, int64_t at, int64_t end,
                               canto_batch *batch)
{
    do {
        canto_stretch stretch;
        CANTO_TRY(canto_stretch_find(batch->corpus, at, end, &stretch));
        CANTO_TRY(add(data, start, &stretch, batch));
        at += stretch.tokens;
        start += stretch.tokens;
    } while (at < end);
    return CANTO_OK;
}

static canto_status add_held_out(const canto_data *data, int64_t first, int64_t tokens,
                                 canto_batch *batch)
{
    const canto_held_out held = canto_data_held_out(data);
    const int64_t last = held.before + tokens; // the last token is only a target
    for (int i = 0; i < data->sequences; i++) {
        int64_t at = held.before + (first + i) * data->seq_len, end = at + data->seq_len;
        if (at > last) at = last;
        if (end > last) end = last;
        CANTO_TRY(add_window(data, i * data->seq_len, at, end, batch));
    }
    return CANTO_OK;
}

canto_status canto_batch_held_out(const canto_data *data, int64_t first, int64_t tokens,
                                  canto_batch *batch)
{
    clear(batch, canto_data_held_out(data).corpus);
    return finish(data, add_held_out(data, first, tokens, batch), batch);
}

static int64_t clip(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

// My tokens [local, local + n) are those from `from` on of one stretch.
static canto_status fill(canto_batch *batch, const canto_stretch *stretch, int64_t from, int64_t n,
                         int64_t local)
{
    int32_t *tokens = batch->tokens + local, *targets = batch->targets + local;
    const int64_t known = clip(stretch->tokens - from, 0, n);
    const int64_t begin = clip(stretch->targets_begin - from, 0, n);
    const int64_t end = clip(stretch->targets_end - from, begin, n);
    memset(tokens + known, 0, (size_t)(n - known) * sizeof *tokens);
    for (int64_t i = 0; i < n; i++) targets[i] = -1;
    if (known == 0) return CANTO_OK;
    const int64_t source = stretch->source + from;
    canto_status status = canto_corpus_read(batch->corpus, source, known, tokens);
    // Targets are the tokens one further; the last one may be no token of mine.
    for (int64_t i = begin; i < end && i + 1 < known; i++) targets[i] = tokens[i + 1];
    if (status == CANTO_OK && begin < end && end == known)
        status = canto_corpus_read(batch->corpus, source + end, 1, targets + end - 1);
    return status;
}

canto_status canto_batch_fill(const canto_plan *plan, canto_batch *batch)
{
    canto_status first = CANTO_OK;
    for (int64_t p = 0; p < plan->pieces_n; p++) {
        const canto_piece *piece = &plan->pieces[p];
        const int64_t position = canto_plan_position(plan, piece->local);
        const int document = canto_documents_find(&batch->documents, position);
        canto_status status = fill(batch, &batch->stretches[document],
                                   position - batch->starts[document], piece->tokens, piece->local);
        if (first == CANTO_OK) first = status;
    }
    return first;
}
