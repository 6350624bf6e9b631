// Compiles a fold: gives every value a place, and every operation of this rank an action.
//
// A value that a segment of mine waits for lies in the caller's states; every other received value
// has a buffer of its own, so that no receive waits for another; a join overwrites its left
// operand where nobody needs that any more (the running state of an all-gather).
#include "parallel/scan_program.h"

// A value this rank comes to hold.
typedef struct scan_value {
    int a, b;
    canto_scan_place place;
    int from; // the receive that brings it, -1: own
} scan_value;

typedef struct compiler {
    const canto_fold *fold;
    canto_scan_program *program;
    int values_n;
    scan_value *values; // scratch
} compiler;

static const scan_value *find_value(const compiler *made, int a, int b)
{
    for (int i = made->values_n - 1; i >= 0; i--) {
        if (made->values[i].a == a && made->values[i].b == b) return &made->values[i];
    }
    return NULL;
}

static void add_value(compiler *made, int a, int b, canto_scan_place where, int from)
{
    made->values[made->values_n++] = (scan_value){a, b, where, from};
}

static canto_scan_action *add_action(compiler *made, canto_scan_action action)
{
    canto_scan_action *added = &made->program->actions[made->program->actions_n++];
    *added = action;
    return added;
}

// A goal: the state that comes into one of my segments.
static bool is_goal(const compiler *made, const canto_fold_op *op)
{
    return op->a == 0 && op->b < made->program->segments && made->program->mine[op->b] >= 0;
}

static canto_scan_place place_for(compiler *made, const canto_fold_op *op)
{
    if (is_goal(made, op)) return (canto_scan_place){CANTO_SCAN_STATE, made->program->mine[op->b]};
    return (canto_scan_place){CANTO_SCAN_BUFFER, made->program->buffers_n++};
}

// A value may be overwritten where it lies if it was made here, is never sent, and is not read
// after operation `index`.
static bool is_spent(const compiler *made, int index, const scan_value *value)
{
    if (value->place.kind != CANTO_SCAN_BUFFER || value->from >= 0) return false;
    for (int i = 0; i < made->fold->ops_n; i++) {
        const canto_fold_op *op = &made->fold->ops[i];
        if (op->from != op->to) {
            if (op->from == made->fold->rank && op->a == value->a && op->b == value->b)
                return false;
            continue;
        }
        bool left = op->a == value->a && op->m == value->b;
        bool right = op->m == value->a && op->b == value->b;
        if (i > index && (left || right)) return false;
    }
    return true;
}

static canto_status compile_receive(compiler *made, const canto_fold_op *op)
{
    canto_scan_place out = place_for(made, op);
    add_value(made, op->a, op->b, out, made->program->actions_n);
    add_action(made, (canto_scan_action){.kind = CANTO_SCAN_RECEIVE,
                                         .step = op->step,
                                         .peer = op->from,
                                         .a = op->a,
                                         .m = op->a,
                                         .b = op->b,
                                         .out = out,
                                         .left_from = -1,
                                         .right_from = -1});
    return CANTO_OK;
}

static canto_status compile_send(compiler *made, const canto_fold_op *op)
{
    const scan_value *held = find_value(made, op->a, op->b);
    if (!held) CANTO_FAIL(CANTO_ERROR_MISMATCH, "scan: [%d, %d) is not here", op->a, op->b);
    add_action(made, (canto_scan_action){.kind = CANTO_SCAN_SEND,
                                         .step = op->step,
                                         .peer = op->to,
                                         .a = op->a,
                                         .m = op->a,
                                         .b = op->b,
                                         .left = held->place,
                                         .left_from = held->from,
                                         .right_from = -1});
    return CANTO_OK;
}

static canto_status compile_join(compiler *made, int index)
{
    const canto_fold_op *op = &made->fold->ops[index];
    const scan_value *left = find_value(made, op->a, op->m);
    const scan_value *right = find_value(made, op->m, op->b);
    if (!left || !right) {
        CANTO_FAIL(CANTO_ERROR_MISMATCH, "scan: [%d, %d) or [%d, %d) is not here", op->a, op->m,
                   op->m, op->b);
    }
    bool reuse = !is_goal(made, op) && is_spent(made, index, left);
    canto_scan_action *action = add_action(made, (canto_scan_action){.kind = CANTO_SCAN_JOIN,
                                                                     .a = op->a,
                                                                     .m = op->m,
                                                                     .b = op->b,
                                                                     .left = left->place,
                                                                     .right = right->place,
                                                                     .left_from = left->from,
                                                                     .right_from = right->from});
    action->out = reuse ? left->place : place_for(made, op);
    add_value(made, op->a, op->b, action->out, -1);
    return CANTO_OK;
}

// My own summaries are there from the start; [0, 1) may be a goal as well.
static void compile_own(compiler *made)
{
    const canto_scan_program *program = made->program;
    for (int s = 0; s < program->segments; s++) {
        canto_scan_place summary = {CANTO_SCAN_SUMMARY, program->mine[s]};
        if (program->mine[s] >= 0) add_value(made, s, s + 1, summary, -1);
    }
    if (program->segments < 2 || program->mine[0] < 0 || program->mine[1] < 0) return;
    add_action(made, (canto_scan_action){.kind = CANTO_SCAN_COPY,
                                         .b = 1,
                                         .left = {CANTO_SCAN_SUMMARY, program->mine[0]},
                                         .out = {CANTO_SCAN_STATE, program->mine[1]},
                                         .left_from = -1,
                                         .right_from = -1});
}

static canto_status compile(compiler *made)
{
    compile_own(made);
    for (int i = 0; i < made->fold->ops_n; i++) {
        const canto_fold_op *op = &made->fold->ops[i];
        if (op->from == op->to)
            CANTO_TRY(compile_join(made, i));
        else if (op->to == made->fold->rank)
            CANTO_TRY(compile_receive(made, op));
        else
            CANTO_TRY(compile_send(made, op));
    }
    return CANTO_OK;
}

static canto_status take_tables(canto_arena *arena, int ops, canto_scan_program *out)
{
    int n = out->segments;
    CANTO_TRY(canto_arena_array(arena, "scan", n, sizeof *out->owner, (void **)&out->owner));
    CANTO_TRY(canto_arena_array(arena, "scan", n, sizeof *out->mine, (void **)&out->mine));
    CANTO_TRY(canto_arena_array(arena, "scan", n + 1, sizeof *out->tokens, (void **)&out->tokens));
    CANTO_TRY(canto_arena_array(arena, "scan", n + 1, sizeof *out->zeros, (void **)&out->zeros));
    CANTO_TRY(canto_arena_array(arena, "scan", n + 1, sizeof *out->cut, (void **)&out->cut));
    CANTO_TRY(canto_arena_array(arena, "scan", ops, sizeof *out->actions, (void **)&out->actions));
    return canto_arena_array(arena, "scan", ops, sizeof *out->requests, (void **)&out->requests);
}

static void number_segments(const canto_scan_desc *desc, canto_scan_program *out)
{
    const canto_shards *shards = desc->shards;
    int n = out->segments, count = 0;
    out->tokens[0] = out->zeros[0] = 0;
    for (int s = 0; s < n; s++) {
        int span = shards->by_position[out->mirrored ? n - 1 - s : s];
        bool mine = shards->owner[span] == desc->comm->rank;
        out->owner[s] = shards->owner[span];
        out->mine[s] = !mine ? -1 : out->mirrored ? out->mine_n - 1 - count : count;
        out->tokens[s + 1] = out->tokens[s] + shards->spans[span].end - shards->spans[span].begin;
        count += mine;
    }
}

canto_status canto_scan_program_create(canto_arena *arena, const canto_scan_desc *desc,
                                       bool mirrored, canto_scan_program *out, int *buffers)
{
    const canto_shards *shards = desc->shards;
    int rank = desc->comm->rank, ops;
    *out = (canto_scan_program){.mirrored = mirrored,
                                .segments = shards->spans_n,
                                .mine_n = shards->first[rank + 1] - shards->first[rank]};
    desc->transport->bound(out->segments, out->mine_n, shards->size, &ops, buffers);
    CANTO_TRY(canto_comm_reserve(desc->comm, ops));
    ops++; // the copy of an own summary
    CANTO_TRY(take_tables(arena, ops, out));
    canto_fold fold = {
        .segments = out->segments, .size = shards->size, .rank = rank, .owner = out->owner};
    compiler made = {.fold = &fold, .program = out};
    CANTO_TRY(canto_fold_create(arena, desc->transport, out->mine_n, &fold));
    CANTO_TRY(canto_arena_array(arena, "scan", ops + out->mine_n, sizeof *made.values,
                                (void **)&made.values));
    if (!arena->measuring) {
        number_segments(desc, out);
        CANTO_TRY(canto_fold_make(&fold, desc->transport));
        CANTO_TRY(compile(&made));
        if (out->buffers_n > *buffers) {
            CANTO_FAIL(CANTO_ERROR_CAPACITY, "transport %s: %d buffers, its bound says %d",
                       desc->transport->name, out->buffers_n, *buffers);
        }
    }
    return CANTO_OK;
}
