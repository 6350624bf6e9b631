// One open-addressing table for all orders: the key is the context's bytes and length, with the
// next byte (count) or without (totals).
#include "launch/ngram.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    uint64_t key; // 0: free
    uint32_t count;
    uint32_t distinct; // of a context: different bytes after it
} cell;

typedef struct {
    cell *cells; // owned
    uint64_t mask;
    uint64_t used;
} table;

// length 0..6 bytes before text[at], and whether text[at] itself is part of it; never 0.
static uint64_t key_of(const uint8_t *text, int64_t at, int length, int next)
{
    uint64_t key = 0;
    for (int64_t i = at - length; i < at + next; i++) key = key << 8 | text[i];
    return key << 4 | (uint64_t)(length << 1) | (uint64_t)next | (uint64_t)1 << 63;
}

static cell *find(const table *t, uint64_t key)
{
    uint64_t hash = key * 0x9E3779B97F4A7C15u;
    uint64_t i = (hash ^ hash >> 29) & t->mask;
    while (t->cells[i].key != 0 && t->cells[i].key != key) i = (i + 1) & t->mask;
    return &t->cells[i];
}

static canto_status grow(table *t, uint64_t cells)
{
    table bigger = {.cells = calloc(cells, sizeof(cell)), .mask = cells - 1, .used = t->used};
    if (!bigger.cells)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "n-gram model: no memory for %llu contexts",
                   (unsigned long long)cells);
    for (uint64_t i = 0; t->cells && i <= t->mask; i++) {
        if (t->cells[i].key) *find(&bigger, t->cells[i].key) = t->cells[i];
    }
    free(t->cells);
    *t = bigger;
    return CANTO_OK;
}

static cell *touch(table *t, uint64_t key)
{
    cell *c = find(t, key);
    t->used += c->key == 0;
    c->key = key;
    return c;
}

static canto_status train_orders(table *t, int order, const uint8_t *text, int64_t n)
{
    for (int64_t at = 0; at < n; at++) {
        if (2 * (t->used + 2 * (uint64_t)order + 2) > t->mask)
            CANTO_TRY(grow(t, 2 * (t->mask + 1)));
        for (int k = 0; k <= order && k <= at; k++) {
            cell *pair = touch(t, key_of(text, at, k, 1));
            bool fresh = pair->count++ == 0;
            cell *context = touch(t, key_of(text, at, k, 0));
            context->count++;
            context->distinct += fresh;
        }
    }
    return CANTO_OK;
}

// text has `at` readable bytes before this position.
static void add_bits(const table *t, int order, const uint8_t *text, int64_t at, double *bits)
{
    double p = 1.0 / 256;
    for (int k = 0; k <= order; k++) {
        const cell *context = k <= at ? find(t, key_of(text, at, k, 0)) : NULL;
        if (context && context->key) {
            const cell *pair = find(t, key_of(text, at, k, 1));
            p = ((pair->key ? pair->count : 0) + context->distinct * p) /
                ((double)context->count + context->distinct);
        }
        bits[k] -= log2(p);
    }
}

canto_status canto_ngram_bits(int order, const uint8_t *train, int64_t n, const uint8_t *test,
                              int64_t m, double bits[CANTO_NGRAM_ORDER_MAX + 1])
{
    CANTO_CHECK(order >= 0 && order <= CANTO_NGRAM_ORDER_MAX,
                "n-gram model: order %d is not in 0..%d", order, CANTO_NGRAM_ORDER_MAX);
    CANTO_CHECK(
        test == train + n && n > 0 && m > 0,
        "n-gram model: the test text must follow the training text, and neither may be empty");
    table t = {0};
    canto_status status = grow(&t, 1 << 16);
    if (status == CANTO_OK) status = train_orders(&t, order, train, n);
    memset(bits, 0, (size_t)(order + 1) * sizeof *bits);
    for (int64_t at = n; status == CANTO_OK && at < n + m; at++)
        add_bits(&t, order, train, at, bits);
    for (int k = 0; k <= order; k++) bits[k] /= (double)m;
    free(t.cells);
    return status;
}
