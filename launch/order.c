// A place is found by halving a table of every 64th document's sum and walking the rest; the tables
// of two epochs are kept, so that a step across the border between them makes each once. A table
// takes some 50 ns a document, once an epoch.
#include "launch/order.h"

#include "parallel/digest.h"

#include <stdlib.h>

enum { STRIDE = 64 };

typedef struct canto_order_epoch {
    int64_t epoch; // -1: none yet
    canto_permutation permutation;
    int64_t *sums; // owned, [blocks]: tokens (cut: pieces) before document STRIDE * block
} order_epoch;

static int64_t blocks_of(const canto_order *order)
{
    return order->documents / STRIDE + 1;
}

int64_t canto_order_length(const canto_order *order, int64_t document)
{
    return order->starts[document + 1] - order->starts[document];
}

// --- the index ---

static canto_status push(canto_order *order, int64_t *capacity, int64_t start)
{
    if (order->documents == *capacity) {
        int64_t more = *capacity ? 2 * *capacity : 1024;
        int64_t *starts = realloc(order->starts, sizeof *starts * (size_t)(more + 1));
        if (!starts)
            CANTO_FAIL(CANTO_ERROR_MEMORY,
                       "data.order: no memory for the starts of %lld documents; choose windows",
                       (long long)more);
        order->starts = starts;
        *capacity = more;
    }
    order->starts[order->documents++] = start;
    return CANTO_OK;
}

static canto_status find_documents(const canto_corpus *corpus, int64_t tokens, canto_order *order)
{
    int64_t capacity = 0;
    for (int64_t at = 0; at < tokens;) {
        CANTO_TRY(push(order, &capacity, at));
        CANTO_TRY(canto_corpus_next(corpus, at, tokens, &at));
    }
    order->starts[order->documents] = tokens;
    int64_t *fitted =
        realloc(order->starts, sizeof *order->starts * (size_t)(order->documents + 1));
    if (fitted) order->starts = fitted;
    return CANTO_OK;
}

// --- tables ---

static int64_t pieces_of(const canto_order *order, int64_t document)
{
    const int64_t length = canto_order_length(order, document), n = order->seq_len;
    if (length < n || length < 2) return 0; // one token alone predicts nothing
    return (length - 1 + n - 1) / n;
}

static int64_t document_of(const order_epoch *epoch, int64_t number)
{
    return canto_permutation_at(&epoch->permutation, number);
}

static const order_epoch *table_of(const canto_order *order, int64_t epoch)
{
    order_epoch *table = &order->epochs[epoch % 2];
    if (table->epoch == epoch) return table;
    table->epoch = epoch;
    canto_permutation_init(order->seed, CANTO_RNG_ORDER, epoch, order->documents,
                           &table->permutation);
    int64_t sum = 0;
    for (int64_t i = 0; i < order->documents; i++) {
        if (i % STRIDE == 0) table->sums[i / STRIDE] = sum;
        sum += canto_order_length(order, document_of(table, i));
    }
    return table;
}

// The last block whose sum is at most `value`.
static int64_t find_block(const canto_order *order, const int64_t *sums, int64_t value)
{
    int64_t low = 0, high = (order->documents - 1) / STRIDE + 1;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (sums[middle] <= value)
            low = middle;
        else
            high = middle;
    }
    return low;
}

void canto_order_find(const canto_order *order, int64_t position, canto_order_place *out)
{
    const int64_t tokens = order->starts[order->documents];
    const order_epoch *epoch = table_of(order, position / tokens);
    int64_t left = position % tokens;
    const int64_t block = find_block(order, epoch->sums, left);
    left -= epoch->sums[block];
    int64_t number = block * STRIDE, document = document_of(epoch, number);
    while (left >= canto_order_length(order, document)) {
        left -= canto_order_length(order, document);
        document = document_of(epoch, ++number);
    }
    *out = (canto_order_place){epoch->epoch, number, document, left};
}

void canto_order_advance(const canto_order *order, canto_order_place *place)
{
    place->offset = 0;
    if (++place->number == order->documents) {
        place->number = 0;
        place->epoch++;
    }
    place->document = document_of(table_of(order, place->epoch), place->number);
}

// --- pieces ---

static canto_status count_pieces(canto_order *order)
{
    int64_t *sums = order->epochs[0].sums;
    for (int64_t i = 0; i < order->documents; i++) {
        if (i % STRIDE == 0) sums[i / STRIDE] = order->pieces;
        const int64_t pieces = pieces_of(order, i);
        order->pieces += pieces;
        order->left_out += pieces == 0;
        order->left_out_tokens += pieces == 0 ? canto_order_length(order, i) : 0;
    }
    if (order->pieces == 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.order cut: none of the %lld documents is as long as train.seq_len %lld; "
                   "choose packed, or a shorter train.seq_len",
                   (long long)order->documents, (long long)order->seq_len);
    return CANTO_OK;
}

void canto_order_find_piece(const canto_order *order, int64_t index, canto_order_piece *out)
{
    canto_permutation permutation;
    canto_permutation_init(order->seed, CANTO_RNG_ORDER, index / order->pieces, order->pieces,
                           &permutation);
    int64_t piece = canto_permutation_at(&permutation, index % order->pieces);
    const int64_t *sums = order->epochs[0].sums, block = find_block(order, sums, piece);
    int64_t document = block * STRIDE;
    for (piece -= sums[block]; piece >= pieces_of(order, document); document++)
        piece -= pieces_of(order, document);
    const int64_t from = piece * order->seq_len;
    const int64_t last = canto_order_length(order, document) - order->seq_len;
    const int64_t begin = from < last ? from : last;
    *out = (canto_order_piece){document, begin, from - begin};
}

// --- opening ---

static canto_status take_tables(canto_order *order)
{
    order->epochs = calloc(2, sizeof *order->epochs);
    for (int i = 0; order->epochs && i < 2; i++) {
        order->epochs[i].epoch = -1;
        order->epochs[i].sums = calloc((size_t)blocks_of(order), sizeof(int64_t));
    }
    if (!order->epochs || !order->epochs[0].sums || !order->epochs[1].sums)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "data.order: no memory for the order of %lld documents",
                   (long long)order->documents);
    return CANTO_OK;
}

static canto_status open_order(const canto_corpus *corpus, int64_t tokens, canto_order *out)
{
    CANTO_TRY(find_documents(corpus, tokens, out));
    CANTO_TRY(take_tables(out));
    return out->kind == CANTO_ORDER_CUT ? count_pieces(out) : CANTO_OK;
}

canto_status canto_order_open(const canto_corpus *corpus, int64_t tokens, canto_data_order kind,
                              int64_t seed, int64_t seq_len, canto_order *out)
{
    *out = (canto_order){.kind = kind, .seed = (uint64_t)seed, .seq_len = seq_len};
    if (kind == CANTO_ORDER_WINDOWS) return CANTO_OK;
    canto_status status = open_order(corpus, tokens, out);
    if (status != CANTO_OK) canto_order_close(out);
    return status;
}

void canto_order_close(canto_order *order)
{
    for (int i = 0; order->epochs && i < 2; i++) free(order->epochs[i].sums);
    free(order->epochs);
    free(order->starts);
    *order = (canto_order){0};
}

uint64_t canto_order_digest(const canto_order *order)
{
    canto_digest digest;
    canto_digest_init(&digest);
    canto_digest_add(&digest, 2, (int64_t[]){order->kind, order->documents});
    for (int64_t i = 0; i < order->documents; i++) canto_digest_add(&digest, 1, &order->starts[i]);
    return canto_digest_value(&digest);
}
