// Runs a fold: sends states, joins them, hands every segment the state that comes in.
//
// Sent: what the transport moves (its table entry has the price), one state a message. A run posts
// all receives, each into a place of its own, and then works through the actions of its program
// until one needs a message that is not there yet; polls go on from there. Between two ranks
// messages meet because both keep the order of the fold. Documents change only small tables: cuts
// and zero transitions. Kept: buffers for the values of others (lasp2) or on their way out (lasp1).
#include "parallel/scan.h"

#include "parallel/digest.h"
#include "parallel/scan_program.h"

#include <math.h>
#include <string.h>

struct canto_scan {
    canto_scan_desc desc;
    int segments;
    canto_scan_program programs[2];    // forward, backward
    float *buffers;                    // [largest number of buffers, state_count_max]
    const canto_scan_program *running; // NULL: no run is under way
    canto_scan_run run;
    int next; // first action that is not done
};

canto_status canto_scan_create(canto_arena *arena, const canto_scan_desc *desc, canto_scan **out)
{
    CANTO_CHECK(desc->shards->size == desc->comm->size && desc->state_count_max > 0,
                "scan: shards of %d ranks on %d, states of %lld floats", desc->shards->size,
                desc->comm->size, (long long)desc->state_count_max);
    canto_scan made = {.desc = *desc, .segments = desc->shards->spans_n};
    int buffers; // the same in both directions
    CANTO_TRY(canto_arena_take(arena, "scan", sizeof **out, (void **)out));
    for (int i = 0; i < 2; i++)
        CANTO_TRY(canto_scan_program_create(arena, desc, i == 1, &made.programs[i], &buffers));
    CANTO_TRY(canto_arena_array(arena, "scan buffers", buffers * desc->state_count_max,
                                sizeof *made.buffers, (void **)&made.buffers));
    if (!arena->measuring) **out = made;
    return CANTO_OK;
}

// --- documents ---

canto_status canto_scan_documents(canto_scan *scan, const canto_documents *documents)
{
    const canto_shards *shards = scan->desc.shards;
    canto_scan_program *forward = &scan->programs[0], *backward = &scan->programs[1];
    int n = scan->segments, d = 0;
    CANTO_CHECK(documents->starts[documents->n] == shards->length,
                "scan: documents of %lld tokens, a stream of %lld",
                (long long)documents->starts[documents->n], (long long)shards->length);
    for (int s = 0; s < n; s++) {
        const canto_span *span = &shards->spans[shards->by_position[s]];
        while (d < documents->n && documents->starts[d] < span->begin) d++;
        bool starts = d < documents->n && documents->starts[d] < span->end;
        bool cut = starts && documents->starts[d] == span->begin;
        forward->cut[s] = cut, backward->cut[n - s] = cut;
        forward->zeros[s + 1] = starts, backward->zeros[n - s] = starts;
    }
    for (int i = 0; i < 2; i++) {
        canto_scan_program *program = &scan->programs[i];
        program->cut[0] = true, program->cut[n] = false; // both ends of the stream
        for (int s = 0; s < n; s++) {
            bool zero = program->zeros[s + 1] || program->cut[s];
            program->zeros[s + 1] = program->zeros[s] + zero;
        }
    }
    return CANTO_OK;
}

uint64_t canto_scan_digest(const canto_scan *scan)
{
    const canto_scan_program *forward = &scan->programs[0];
    canto_digest digest;
    canto_digest_init(&digest);
    for (const char *c = scan->desc.transport->name; *c; c++)
        canto_digest_add(&digest, 1, (int64_t[]){*c});
    for (int s = 0; s < scan->segments; s++) {
        canto_digest_add(&digest, 4,
                         (int64_t[]){forward->owner[s], forward->tokens[s + 1], forward->cut[s],
                                     forward->zeros[s + 1]});
    }
    return canto_digest_value(&digest);
}

// --- running ---

static int64_t state_count(const canto_scan *scan)
{
    return scan->run.heads * scan->run.head_count;
}

static const float *read_at(const canto_scan *scan, canto_scan_place place)
{
    int64_t offset = place.index * state_count(scan);
    if (place.kind == CANTO_SCAN_SUMMARY) return scan->run.summaries + offset;
    return (place.kind == CANTO_SCAN_STATE ? scan->run.states : scan->buffers) + offset;
}

static float *write_at(const canto_scan *scan, canto_scan_place place)
{
    return (place.kind == CANTO_SCAN_STATE ? scan->run.states : scan->buffers) +
           place.index * state_count(scan);
}

static canto_tensor tensor_of(const canto_scan *scan, const float *data)
{
    return canto_tensor_vector(CANTO_F32, (void *)data, state_count(scan));
}

// Nobody reads a value that ends where a document starts.
static bool is_unread(const canto_scan *scan, const canto_scan_action *action)
{
    return scan->running->cut[action->b] &&
           (action->kind == CANTO_SCAN_JOIN || scan->desc.transport->prunes);
}

static bool forgets(const canto_scan *scan, const canto_scan_action *action)
{
    return scan->running->zeros[action->b] > scan->running->zeros[action->m];
}

// out = A left + right; A = exp(log_decay * tokens) of the right operand's segments.
static void join(const canto_scan *scan, const canto_scan_action *action)
{
    const float *left = read_at(scan, action->left), *right = read_at(scan, action->right);
    float *out = write_at(scan, action->out);
    const canto_scan_run *run = &scan->run;
    if (forgets(scan, action)) {
        memcpy(out, right, sizeof *out * (size_t)state_count(scan));
        return;
    }
    int64_t tokens = scan->running->tokens[action->b] - scan->running->tokens[action->m];
    for (int h = 0; h < run->heads; h++) {
        float decay = run->log_decay ? (float)exp((double)run->log_decay[h] * (double)tokens) : 1;
        for (int64_t i = h * run->head_count; i < (h + 1) * run->head_count; i++)
            out[i] = decay * left[i] + right[i];
    }
}

// Whether the message that brings an operand (from: its receive, -1: none) has arrived.
static canto_status arrived(canto_scan *scan, int from, bool block, bool *ready)
{
    *ready = true;
    if (from < 0) return CANTO_OK;
    canto_request *request = &scan->running->requests[from];
    if (*request == CANTO_REQUEST_NONE) return CANTO_OK;
    if (block) return canto_comm_wait(scan->desc.comm, request);
    return canto_comm_poll(scan->desc.comm, request, ready);
}

static canto_status operands_arrived(canto_scan *scan, const canto_scan_action *action, bool block,
                                     bool *ready)
{
    *ready = true;
    bool left = action->kind == CANTO_SCAN_SEND || !forgets(scan, action);
    if (left) CANTO_TRY(arrived(scan, action->left_from, block, ready));
    if (*ready) CANTO_TRY(arrived(scan, action->right_from, block, ready));
    return CANTO_OK;
}

static canto_status perform(canto_scan *scan, const canto_scan_action *action)
{
    canto_comm *comm = scan->desc.comm;
    switch (action->kind) {
    case CANTO_SCAN_COPY:
        memcpy(write_at(scan, action->out), read_at(scan, action->left),
               sizeof(float) * (size_t)state_count(scan));
        break;
    case CANTO_SCAN_SEND:
        return canto_comm_send(comm, action->peer, tensor_of(scan, read_at(scan, action->left)),
                               &scan->running->requests[action - scan->running->actions]);
    case CANTO_SCAN_JOIN:
        join(scan, action);
        break;
    case CANTO_SCAN_RECEIVE:
        break; // posted at the start
    }
    return CANTO_OK;
}

static canto_status advance(canto_scan *scan, bool block)
{
    const canto_scan_program *program = scan->running;
    for (; scan->next < program->actions_n; scan->next++) {
        const canto_scan_action *action = &program->actions[scan->next];
        if (is_unread(scan, action)) continue;
        bool ready;
        CANTO_TRY(operands_arrived(scan, action, block, &ready));
        if (!ready) return CANTO_OK;
        CANTO_TRY(perform(scan, action));
    }
    return CANTO_OK;
}

canto_status canto_scan_start(canto_scan *scan, const canto_scan_run *run)
{
    CANTO_CHECK(!scan->running, "scan: a run is already under way");
    CANTO_CHECK(run->heads * run->head_count <= scan->desc.state_count_max,
                "scan: a state of %lld floats, made for %lld",
                (long long)(run->heads * run->head_count), (long long)scan->desc.state_count_max);
    scan->run = *run;
    scan->next = 0;
    const canto_scan_program *program = scan->running = &scan->programs[run->backward];
    for (int i = 0; i < program->actions_n; i++) {
        const canto_scan_action *action = &program->actions[i];
        program->requests[i] = CANTO_REQUEST_NONE;
        if (action->kind != CANTO_SCAN_RECEIVE || is_unread(scan, action)) continue;
        CANTO_TRY(canto_comm_recv(scan->desc.comm, action->peer,
                                  tensor_of(scan, write_at(scan, action->out)),
                                  &program->requests[i]));
    }
    return advance(scan, false);
}

canto_status canto_scan_poll(canto_scan *scan)
{
    if (!scan->running) return CANTO_OK;
    if (scan->next < scan->running->actions_n) return advance(scan, false);
    return canto_comm_poll(scan->desc.comm, NULL, NULL);
}

canto_status canto_scan_finish(canto_scan *scan)
{
    const canto_scan_program *program = scan->running;
    CANTO_CHECK(program, "scan: no run to finish");
    CANTO_TRY(advance(scan, true));
    for (int i = 0; i < program->actions_n; i++) {
        CANTO_TRY(canto_comm_wait(scan->desc.comm, &program->requests[i]));
    }
    for (int s = 0; s < scan->segments; s++) {
        if (program->mine[s] < 0 || !program->cut[s]) continue;
        memset(write_at(scan, (canto_scan_place){CANTO_SCAN_STATE, program->mine[s]}), 0,
               sizeof(float) * (size_t)state_count(scan));
    }
    scan->running = NULL;
    return CANTO_OK;
}
