// How many documents one stream can hold at most, so that a run does not end for it after days: the
// shortest documents side by side, and two that the borders of a sequence cut.
#include "launch/data.h"

#include <stdlib.h>

enum { LENGTHS_MAX = 1 << 16 };

// How many documents there are of each length; the last entry is of all longer ones.
typedef struct {
    int64_t longest;
    int64_t *of; // owned, [longest + 1]
} lengths;

static void count(lengths *l, int64_t length)
{
    l->of[length < l->longest ? length : l->longest]++;
}

static canto_status count_corpus(const canto_corpus *corpus, int64_t begin, int64_t end, lengths *l)
{
    for (int64_t at = begin, next; at < end; at = next) {
        CANTO_TRY(canto_corpus_next(corpus, at, end, &next));
        count(l, next - at);
    }
    return CANTO_OK;
}

static canto_status count_training(const canto_data *data, lengths *l)
{
    const canto_order *order = &data->order;
    if (order->kind == CANTO_ORDER_WINDOWS)
        return count_corpus(&data->corpus, 0, data->train_size, l);
    if (order->kind == CANTO_ORDER_CUT) return CANTO_OK; // one a sequence
    for (int64_t i = 0; i < order->documents; i++) count(l, canto_order_length(order, i));
    return CANTO_OK;
}

static canto_status count_held_out(const canto_data *data, lengths *l)
{
    const canto_held_out held = canto_data_held_out(data);
    return count_corpus(held.corpus, held.before, held.end, l);
}

// Documents that a sequence can touch, each of them `copies` times: the shortest ones side by side,
// and one cut at either end.
static int64_t fit(const lengths *l, int64_t seq_len, int64_t copies)
{
    int64_t n = 2, left = seq_len, all = 0;
    for (int64_t length = 1; length <= l->longest; length++) {
        const int64_t room = left / length;
        const int64_t taken = l->of[length] < room / copies ? l->of[length] * copies : room;
        n += taken;
        left -= taken * length;
        all += l->of[length];
    }
    if (all < n / copies) n = all * copies;
    return n < seq_len ? n : seq_len;
}

typedef canto_status (*counter)(const canto_data *data, lengths *l);

static canto_status most_in_a_sequence(const canto_data *data, counter count_part, int64_t copies,
                                       int64_t *most)
{
    lengths l = {.longest = data->seq_len < LENGTHS_MAX ? data->seq_len : LENGTHS_MAX};
    l.of = calloc((size_t)l.longest + 1, sizeof *l.of);
    if (!l.of) CANTO_FAIL(CANTO_ERROR_MEMORY, "data: no memory to count documents");
    canto_status status = count_part(data, &l);
    const int64_t n = fit(&l, data->seq_len, copies);
    if (n > *most) *most = n;
    free(l.of);
    return status;
}

canto_status canto_data_count_documents(const canto_data *data, int64_t configured, int *out)
{
    const bool packed = data->order.kind == CANTO_ORDER_PACKED;
    const bool windows = data->order.kind == CANTO_ORDER_WINDOWS;
    int64_t most = 1;
    *out = (int)configured;
    if (configured == 0 && windows && canto_corpus_has_separator(&data->corpus)) {
        *out = (int)data->batch; // counting would mean to read the whole corpus
    } else if (configured == 0) {
        // A short epoch comes by more than once in a sequence.
        const int64_t copies = packed ? data->seq_len / data->train_size + 2 : 1;
        CANTO_TRY(most_in_a_sequence(data, count_training, copies, &most));
        CANTO_TRY(most_in_a_sequence(data, count_held_out, 1, &most));
        if (most > INT32_MAX / data->sequences) most = INT32_MAX / data->sequences;
        *out = (int)(most * data->sequences);
    }
    if (*out < data->sequences)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.max_documents: %d documents are fewer than the %d sequences of a replica; "
                   "raise it",
                   *out, data->sequences);
    return CANTO_OK;
}
