// Folds: lists of moves of values and joins of adjacent ones, and the proof that such a list does
// what it is for. No numbers here; values are named by the interval of segments they fold.
#include "parallel/scan.h"

#include <stdlib.h>

canto_status canto_fold_create(canto_arena *arena, const canto_transport *transport, int mine,
                               canto_fold *fold)
{
    CANTO_CHECK(fold->segments >= 0 && fold->size > 0 && fold->rank < fold->size,
                "fold: %d segments on %d ranks, rank %d", fold->segments, fold->size, fold->rank);
    int ops, buffers;
    transport->bound(fold->segments, mine, fold->size, &ops, &buffers);
    fold->ops_capacity = fold->rank < 0 ? ops * fold->size : ops;
    CANTO_TRY(canto_arena_array(arena, "fold", fold->ops_capacity, sizeof *fold->ops,
                                (void **)&fold->ops));
    return canto_arena_array(arena, "fold", fold->size, sizeof *fold->last, (void **)&fold->last);
}

canto_status canto_fold_make(canto_fold *fold, const canto_transport *transport)
{
    for (int r = 0; r < fold->size; r++) fold->last[r] = -1;
    for (int s = 0; s < fold->segments; s++) fold->last[fold->owner[s]] = s;
    fold->ops_n = 0;
    transport->generate(fold);
    if (fold->ops_n > fold->ops_capacity) {
        CANTO_FAIL(CANTO_ERROR_CAPACITY, "transport %s: %d operations, its bound says %d",
                   transport->name, fold->ops_n, fold->ops_capacity);
    }
    return CANTO_OK;
}

static void emit(canto_fold *fold, canto_fold_op op)
{
    if (fold->rank >= 0 && op.from != fold->rank && op.to != fold->rank) return;
    if (fold->ops_n < fold->ops_capacity) fold->ops[fold->ops_n] = op;
    fold->ops_n++;
}

void canto_fold_move(canto_fold *fold, int step, int from, int to, int a, int b)
{
    if (from != to) emit(fold, (canto_fold_op){step, from, to, a, a, b});
}

void canto_fold_join(canto_fold *fold, int step, int rank, int a, int m, int b)
{
    emit(fold, (canto_fold_op){step, rank, rank, a, m, b});
}

// --- verify ---

// Which rank holds which value: an open-addressing set of keys, 0 = free.
typedef struct holdings {
    const canto_fold *fold; // borrowed
    size_t mask;
    uint64_t *keys; // owned
} holdings;

static uint64_t key_of(const holdings *held, int rank, int a, int b)
{
    uint64_t n = (uint64_t)held->fold->segments + 1;
    return ((uint64_t)rank * n + (uint64_t)a) * n + (uint64_t)b; // b > 0, so never 0
}

static uint64_t *slot_of(const holdings *held, uint64_t key)
{
    size_t i = (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & held->mask;
    while (held->keys[i] != 0 && held->keys[i] != key) i = (i + 1) & held->mask;
    return &held->keys[i];
}

static bool holds(const holdings *held, int rank, int a, int b)
{
    return *slot_of(held, key_of(held, rank, a, b)) != 0;
}

static void hold(holdings *held, int rank, int a, int b)
{
    uint64_t key = key_of(held, rank, a, b);
    *slot_of(held, key) = key;
}

static canto_status holdings_create(const canto_fold *fold, holdings *out)
{
    size_t entries = 16;
    while (entries < 2 * ((size_t)fold->segments + (size_t)fold->ops_n)) entries *= 2;
    *out = (holdings){fold, entries - 1, calloc(entries, sizeof *out->keys)};
    if (!out->keys)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "fold: no memory to verify %d operations", fold->ops_n);
    for (int s = 0; s < fold->segments; s++) hold(out, fold->owner[s], s, s + 1);
    return CANTO_OK;
}

static canto_status check_move(const holdings *held, int index, const canto_fold_op *op)
{
    if (!holds(held, op->from, op->a, op->b)) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH,
                   "fold: operation %d moves [%d, %d) from rank %d, which does not hold it", index,
                   op->a, op->b, op->from);
    }
    return CANTO_OK;
}

static canto_status check_join(const holdings *held, int index, const canto_fold_op *op)
{
    bool adjacent = op->a < op->m && op->m < op->b;
    if (!adjacent || !holds(held, op->to, op->a, op->m) || !holds(held, op->to, op->m, op->b)) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH,
                   "fold: operation %d joins [%d, %d) and [%d, %d) on rank %d, which has not both",
                   index, op->a, op->m, op->m, op->b, op->to);
    }
    return CANTO_OK;
}

static canto_status play(holdings *held, int index)
{
    const canto_fold *fold = held->fold;
    const canto_fold_op *op = &fold->ops[index];
    bool ranks = op->from >= 0 && op->from < fold->size && op->to >= 0 && op->to < fold->size;
    if (!ranks || op->a < 0 || op->a >= op->b || op->b > fold->segments) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH, "fold: operation %d names rank %d, rank %d and [%d, %d)",
                   index, op->from, op->to, op->a, op->b);
    }
    if (index > 0 && op->step < op[-1].step) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH, "fold: operation %d of step %d follows step %d", index,
                   op->step, op[-1].step);
    }
    CANTO_TRY(op->from == op->to ? check_join(held, index, op) : check_move(held, index, op));
    if (holds(held, op->to, op->a, op->b)) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH, "fold: operation %d gives rank %d [%d, %d), which it has",
                   index, op->to, op->a, op->b);
    }
    hold(held, op->to, op->a, op->b);
    return CANTO_OK;
}

static canto_status check_goals(const holdings *held)
{
    for (int s = 1; s < held->fold->segments; s++) {
        int owner = held->fold->owner[s];
        if (!holds(held, owner, 0, s)) {
            CANTO_FAIL(CANTO_ERROR_MISMATCH,
                       "fold: rank %d, owner of segment %d, never gets [0, %d)", owner, s, s);
        }
    }
    return CANTO_OK;
}

canto_status canto_fold_verify(const canto_fold *fold)
{
    CANTO_CHECK(fold->rank < 0, "fold: verify needs the operations of all ranks, not of rank %d",
                fold->rank);
    for (int s = 0; s < fold->segments; s++) {
        CANTO_CHECK(fold->owner[s] >= 0 && fold->owner[s] < fold->size,
                    "fold: segment %d belongs to rank %d of %d", s, fold->owner[s], fold->size);
    }
    holdings held;
    CANTO_TRY(holdings_create(fold, &held));
    canto_status status = CANTO_OK;
    for (int i = 0; i < fold->ops_n && status == CANTO_OK; i++) status = play(&held, i);
    if (status == CANTO_OK) status = check_goals(&held);
    free(held.keys);
    return status;
}
