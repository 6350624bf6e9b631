// Nothing is sent; every rank derives the documents of its streams itself.
#define _GNU_SOURCE
#include "launch/data.h"

#include "parallel/digest.h"
#include "runtime/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// --- opening ---

static canto_status anchor(const char *key, size_t room, char *path)
{
    char *absolute = path[0] ? realpath(path, NULL) : NULL;
    if (!absolute) return CANTO_OK;
    bool fits = (size_t)snprintf(path, room, "%s", absolute) < room;
    free(absolute);
    if (!fits)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "%s: longer than %zu bytes from the root; move the text to a shorter path", key,
                   room - 1);
    return CANTO_OK;
}

canto_status canto_data_anchor(canto_config *config)
{
    CANTO_TRY(anchor("data.path", sizeof config->data.path, config->data.path));
    return anchor("data.held_out_path", sizeof config->data.held_out_path,
                  config->data.held_out_path);
}

static canto_status share_batch(int dp, int dp_rank, canto_data *data)
{
    data->first = data->batch * dp_rank / dp;
    data->sequences = (int)(data->batch * (dp_rank + 1) / dp - data->first);
    if (data->batch < dp)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "train.batch: %lld sequences are too few for %d replicas, each of which needs "
                   "one; raise it, or lower parallel.dp",
                   (long long)data->batch, dp);
    return CANTO_OK;
}

static canto_status open_corpora(const canto_config *config, canto_data *data)
{
    canto_corpus_desc desc = {.key = "data.path",
                              .path = config->data.path,
                              .vocab = config->model.vocab,
                              .separator = config->data.separator,
                              .eot = config->data.eot};
    CANTO_TRY(canto_corpus_open(&desc, &data->corpus));
    const int64_t all = data->corpus.tokens;
    data->train_size = all - (int64_t)((double)all * config->data.held_out);
    if (config->data.held_out_path[0] == '\0') return CANTO_OK;
    data->train_size = all;
    desc.key = "data.held_out_path";
    desc.path = config->data.held_out_path;
    CANTO_TRY(canto_corpus_open(&desc, &data->held_path));
    if (data->held_path.text != data->corpus.text)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.held_out_path: %s holds %s, and data.path %s; give both of one kind",
                   desc.path, data->held_path.text ? "text" : "shards of tokens",
                   data->corpus.text ? "text" : "shards of tokens");
    return CANTO_OK;
}

static canto_status check_length(const canto_config *config, const canto_data *data)
{
    if (data->train_size >= data->seq_len + 1) return CANTO_OK;
    CANTO_FAIL(CANTO_ERROR_CONFIG,
               "data.path: %s leaves too little text to train on for train.seq_len %lld; use a "
               "longer text or a shorter train.seq_len",
               config->data.path, (long long)data->seq_len);
}

static canto_status open_data(const canto_config *config, canto_data *data)
{
    CANTO_TRY(open_corpora(config, data));
    CANTO_TRY(check_length(config, data));
    CANTO_TRY(canto_order_open(&data->corpus, data->train_size, config->data.order, data->seed,
                               data->seq_len, &data->order));
    return canto_data_count_documents(data, config->data.max_documents, &data->max_documents);
}

canto_status canto_data_sizes(const canto_config *config, int dp, int dp_rank, canto_data *out)
{
    const int64_t documents = config->data.max_documents;
    *out = (canto_data){
        .seed = config->run.seed, .seq_len = config->train.seq_len, .batch = config->train.batch};
    CANTO_TRY(share_batch(dp, dp_rank, out));
    return canto_data_count_documents(out, documents ? documents : out->batch, &out->max_documents);
}

canto_status canto_data_open(const canto_config *config, int dp, int dp_rank, canto_data *out)
{
    CANTO_TRY(canto_data_sizes(config, dp, dp_rank, out));
    canto_status status = open_data(config, out);
    if (status != CANTO_OK) canto_data_close(out);
    return status;
}

void canto_data_close(canto_data *data)
{
    canto_order_close(&data->order);
    canto_corpus_close(&data->held_path);
    canto_corpus_close(&data->corpus);
    *data = (canto_data){0};
}

canto_status canto_data_digest(const canto_data *data, uint64_t *out)
{
    uint64_t corpus, held = 0;
    canto_digest digest;
    CANTO_TRY(canto_corpus_digest(&data->corpus, &corpus));
    if (data->held_path.tokens > 0) CANTO_TRY(canto_corpus_digest(&data->held_path, &held));
    canto_digest_init(&digest);
    canto_digest_add(
        &digest, 3,
        (int64_t[]){(int64_t)corpus, (int64_t)held, (int64_t)canto_order_digest(&data->order)});
    *out = canto_digest_value(&digest);
    return CANTO_OK;
}

// --- held out ---

canto_held_out canto_data_held_out(const canto_data *data)
{
    if (data->held_path.tokens > 0)
        return (canto_held_out){&data->held_path, 0, data->held_path.tokens};
    return (canto_held_out){&data->corpus, data->train_size - 1, data->corpus.tokens};
}

int64_t canto_data_held_out_tokens(const canto_data *data, int64_t tokens)
{
    const canto_held_out held = canto_data_held_out(data);
    const int64_t all = held.end - held.before - 1;
    return tokens > 0 && tokens < all ? tokens : all;
}

// --- samples ---

void canto_sequence_begin(const canto_data *data, int64_t index, canto_sequence *out)
{
    *out = (canto_sequence){.data = data, .left = data->seq_len, .index = index};
    if (data->order.kind == CANTO_ORDER_PACKED)
        canto_order_find(&data->order, index * data->seq_len, &out->place);
    if (data->order.kind != CANTO_ORDER_WINDOWS) return;
    out->at = canto_rng_below((uint64_t)data->seed, CANTO_RNG_DATA, (uint64_t)index,
                              data->train_size - data->seq_len);
    out->end = out->at + data->seq_len;
}

canto_status canto_stretch_find(const canto_corpus *corpus, int64_t at, int64_t end,
                                canto_stretch *out)
{
    int64_t next;
    *out = (canto_stretch){.source = at};
    CANTO_TRY(canto_corpus_next(corpus, at, end, &next));
    const bool ends = next < end || canto_corpus_starts_file(corpus, end) || end == corpus->tokens;
    out->tokens = next - at;
    out->targets_end = out->tokens - (out->tokens > 0 && ends);
    return CANTO_OK;
}

static void next_packed(canto_sequence *sequence, canto_stretch *out)
{
    const canto_order *order = &sequence->data->order;
    const canto_order_place *place = &sequence->place;
    const int64_t rest = canto_order_length(order, place->document) - place->offset;
    const int64_t tokens = rest < sequence->left ? rest : sequence->left;
    *out = (canto_stretch){.source = order->starts[place->document] + place->offset,
                           .tokens = tokens,
                           .targets_end = tokens - (tokens == rest)};
    if (tokens < sequence->left) canto_order_advance(order, &sequence->place);
}

static void next_cut(canto_sequence *sequence, canto_stretch *out)
{
    const canto_order *order = &sequence->data->order;
    canto_order_piece piece;
    canto_order_find_piece(order, sequence->index, &piece);
    const bool ends = piece.begin + sequence->left == canto_order_length(order, piece.document);
    *out = (canto_stretch){.source = order->starts[piece.document] + piece.begin,
                           .tokens = sequence->left,
                           .targets_begin = piece.fresh,
                           .targets_end = sequence->left - ends};
}

static canto_status next_window(canto_sequence *sequence, canto_stretch *out)
{
    CANTO_TRY(canto_stretch_find(&sequence->data->corpus, sequence->at, sequence->end, out));
    sequence->at += out->tokens;
    return CANTO_OK;
}

canto_status canto_sequence_next(canto_sequence *sequence, canto_stretch *out)
{
    canto_status status = CANTO_OK;
    if (sequence->data->order.kind == CANTO_ORDER_PACKED)
        next_packed(sequence, out);
    else if (sequence->data->order.kind == CANTO_ORDER_CUT)
        next_cut(sequence, out);
    else
        status = next_window(sequence, out);
    sequence->left -= out->tokens;
    return status;
}

canto_status canto_data_targets(const canto_data *data, int64_t first, int64_t n, int64_t *out)
{
    *out = 0;
    for (int64_t i = first; i < first + n; i++) {
        canto_sequence sequence;
        canto_stretch stretch;
        for (canto_sequence_begin(data, i, &sequence); sequence.left > 0;) {
            CANTO_TRY(canto_sequence_next(&sequence, &stretch));
            *out += stretch.targets_end - stretch.targets_begin;
        }
    }
    return CANTO_OK;
}
