// Runs a fold: sends states, joins them, hands every segment the state that comes in.
//
// Sent: what the transport moves (its table entry has the price), one state, or one state with its
// transition, a message. A run works
// through the actions of its program until one needs a message that is not there yet; polls go on
// from there. Messages of one step start as one group, each receive into a place of its own, and
// meet because all ranks keep the order of the fold. Documents change only small tables: cuts
// and zero transitions. Kept: buffers for the values of others (lasp2) or on their way out (lasp1).
#include "parallel/scan.h"

#include "parallel/digest.h"
#include "parallel/scan_program.h"

struct canto_scan {
    canto_scan_desc desc;
    int segments;
    canto_scan_program programs[2];    // forward, backward
    float *buffers;                    // [largest number of buffers, state_count_max]
    const canto_scan_program *running; // NULL: no run is under way
    canto_scan_run run;
    int next; // first action that is not done
};

canto_status canto_scan_create(canto_arena *tables, canto_arena *memory,
                               const canto_scan_desc *desc, canto_scan **out)
{
    CANTO_CHECK(desc->shards->size == desc->comm->size && desc->state_count_max > 0,
                "scan: shards of %d ranks on %d, states of %lld floats", desc->shards->size,
                desc->comm->size, (long long)desc->state_count_max);
    canto_scan made = {.desc = *desc, .segments = desc->shards->spans_n};
    int buffers; // the same in both directions
    CANTO_TRY(canto_arena_take(tables, "scan", sizeof **out, (void **)out));
    for (int i = 0; i < 2; i++)
        CANTO_TRY(canto_scan_program_create(tables, desc, i == 1, &made.programs[i], &buffers));
    CANTO_TRY(canto_arena_array(memory, "scan buffers", buffers * desc->state_count_max,
                                sizeof *made.buffers, (void **)&made.buffers));
    if (!tables->measuring) **out = made;
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

// Floats of a value that begins with segment a.
static int64_t value_count(const canto_scan *scan, int a)
{
    return state_count(scan) + (a > 0 ? scan->run.transition_count : 0);
}

// Floats from one place of a kind to the next. Goals are states.
static int64_t place_count(const canto_scan *scan, canto_scan_place_kind kind)
{
    return value_count(scan, kind != CANTO_SCAN_STATE);
}

static const float *read_at(const canto_scan *scan, canto_scan_place place)
{
    int64_t offset = place.index * place_count(scan, place.kind);
    if (place.kind == CANTO_SCAN_SUMMARY) return scan->run.summaries + offset;
    return (place.kind == CANTO_SCAN_STATE ? scan->run.states : scan->buffers) + offset;
}

static float *write_at(const canto_scan *scan, canto_scan_place place)
{
    return (place.kind == CANTO_SCAN_STATE ? scan->run.states : scan->buffers) +
           place.index * place_count(scan, place.kind);
}

static canto_tensor tensor_of(const canto_scan *scan, int a, const float *data)
{
    return canto_tensor_vector(CANTO_F32, (void *)data, value_count(scan, a));
}

// Nobody reads a value that ends where a document starts.
static bool is_unread(const canto_scan *scan, const canto_scan_program *program,
                      const canto_scan_action *action)
{
    return program->cut[action->b] &&
           (action->kind == CANTO_SCAN_JOIN || scan->desc.transport->prunes);
}

void canto_scan_sends(const canto_scan *scan, int64_t count, int64_t transition, bool backward,
                      int64_t *messages, int64_t *bytes)
{
    const canto_scan_program *program = &scan->programs[backward];
    int64_t floats = 0;
    *messages = 0;
    for (int i = 0; i < program->actions_n; i++) {
        const canto_scan_action *action = &program->actions[i];
        if (action->kind != CANTO_SCAN_SEND || is_unread(scan, program, action)) continue;
        *messages += 1;
        floats += count + (action->a > 0 ? transition : 0);
    }
    *bytes = floats * (int64_t)sizeof(float);
}

static bool forgets(const canto_scan *scan, const canto_scan_action *action)
{
    return scan->running->zeros[action->b] > scan->running->zeros[action->m];
}

// out = A left + right with the right operand's A, zero where left is NULL; out may be left.
static void join_states(const canto_scan *scan, int64_t tokens, const float *left,
                        const float *right, float *out)
{
    const canto_device *device = scan->desc.device;
    const canto_scan_run *run = &scan->run;
    const int parts = run->transition_count;
    if (parts)
        device->kernels->state_join(device, parts, state_count(scan) / parts, 1,
                                    right + state_count(scan), left, right, out);
    else
        device->kernels->state_join(device, run->heads, run->head_count, tokens, run->log_decay,
                                    left, right, out);
}

// out = left + right. What a zero transition is added to is never read.
static void join_transitions(const canto_scan *scan, const float *left, const float *right,
                             float *out)
{
    const canto_device *device = scan->desc.device;
    const int64_t n = scan->run.transition_count, at = state_count(scan);
    if (out != left) device->kernels->copy(device, n, left ? left + at : right + at, out + at);
    if (left) device->kernels->add(device, n, right + at, out + at);
}

static void join(const canto_scan *scan, const canto_scan_action *action)
{
    const float *left = forgets(scan, action) ? NULL : read_at(scan, action->left);
    const float *right = read_at(scan, action->right);
    float *out = write_at(scan, action->out);
    join_states(scan, scan->running->tokens[action->b] - scan->running->tokens[action->m], left,
                right, out);
    if (scan->run.transition_count && action->a > 0) join_transitions(scan, left, right, out);
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

static void compute(canto_scan *scan, const canto_scan_action *action)
{
    const canto_device *device = scan->desc.device;
    if (action->kind == CANTO_SCAN_JOIN)
        join(scan, action);
    else
        device->kernels->copy(device, state_count(scan), read_at(scan, action->left),
                              write_at(scan, action->out));
}

static canto_status start_message(canto_scan *scan, int index)
{
    const canto_scan_action *action = &scan->running->actions[index];
    canto_comm *comm = scan->desc.comm;
    canto_request *request = &scan->running->requests[index];
    return action->kind == CANTO_SCAN_SEND
               ? canto_comm_send(comm, action->peer,
                                 tensor_of(scan, action->a, read_at(scan, action->left)), request)
               : canto_comm_recv(comm, action->peer,
                                 tensor_of(scan, action->a, write_at(scan, action->out)), request);
}

static bool is_message(const canto_scan_action *action)
{
    return action->kind == CANTO_SCAN_SEND || action->kind == CANTO_SCAN_RECEIVE;
}

// First action after `first` that is no message of the same step.
static int messages_end(const canto_scan_program *program, int first)
{
    int end = first + 1;
    while (end < program->actions_n && is_message(&program->actions[end]) &&
           program->actions[end].step == program->actions[first].step)
        end++;
    return end;
}

// Messages [next, end) start as one group, once everything is there that they send.
static canto_status start_messages(canto_scan *scan, int end, bool block, bool *ready)
{
    for (int i = scan->next; i < end; i++) {
        const canto_scan_action *action = &scan->running->actions[i];
        if (action->kind != CANTO_SCAN_SEND || is_unread(scan, scan->running, action)) continue;
        CANTO_TRY(arrived(scan, action->left_from, block, ready));
        if (!*ready) return CANTO_OK;
    }
    CANTO_TRY(canto_comm_group_begin(scan->desc.comm));
    for (int i = scan->next; i < end; i++) {
        if (!is_unread(scan, scan->running, &scan->running->actions[i]))
            CANTO_TRY(start_message(scan, i));
    }
    return canto_comm_group_end(scan->desc.comm);
}

static canto_status join_operands(canto_scan *scan, const canto_scan_action *action, bool block,
                                  bool *ready)
{
    if (!forgets(scan, action)) CANTO_TRY(arrived(scan, action->left_from, block, ready));
    if (*ready) CANTO_TRY(arrived(scan, action->right_from, block, ready));
    return CANTO_OK;
}

// In the order of the fold, which is the same on all ranks: so a lane that works through its
// messages one group after the other, as a device's does, meets no circle.
static canto_status advance(canto_scan *scan, bool block)
{
    const canto_scan_program *program = scan->running;
    while (scan->next < program->actions_n) {
        const canto_scan_action *action = &program->actions[scan->next];
        int end = scan->next + 1;
        bool ready = true;
        if (is_message(action)) {
            end = messages_end(program, scan->next);
            CANTO_TRY(start_messages(scan, end, block, &ready));
        } else if (!is_unread(scan, scan->running, action)) {
            CANTO_TRY(join_operands(scan, action, block, &ready));
            if (ready) compute(scan, action);
        }
        if (!ready) return CANTO_OK;
        scan->next = end;
    }
    return CANTO_OK;
}

canto_status canto_scan_start(canto_scan *scan, const canto_scan_run *run)
{
    CANTO_CHECK(!scan->running, "scan: a run is already under way");
    const int64_t count = run->heads * run->head_count + run->transition_count;
    CANTO_CHECK(count <= scan->desc.state_count_max, "scan: a state of %lld floats, made for %lld",
                (long long)count, (long long)scan->desc.state_count_max);
    scan->run = *run;
    scan->next = 0;
    const canto_scan_program *program = scan->running = &scan->programs[run->backward];
    for (int i = 0; i < program->actions_n; i++) program->requests[i] = CANTO_REQUEST_NONE;
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
        const canto_scan_place place = {CANTO_SCAN_STATE, program->mine[s]};
        scan->desc.device->kernels->fill(scan->desc.device, state_count(scan), 0,
                                         write_at(scan, place));
    }
    scan->running = NULL;
    return CANTO_OK;
}
