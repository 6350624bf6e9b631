// Linear attention of a divided stream, from kernels, pieces and the scan.
//
// Sent: one state of canto_linear_state_count floats, and its transition where the transport needs
// it, for each message of the transport, forward and backward. Kept by the caller: the incoming
// state of each segment. LASP-2's order of work (Sun et al., arXiv 2502.07563): summaries first, so
// that they travel while the local pass runs.
#include "parallel/recur.h"

// Tokens of a local pass between two polls.
enum { POLL_TOKENS = 192 };

typedef struct recur {
    canto_plan *plan;
    const canto_linear_shape *shape;
    const canto_device *device;
    int64_t state, summary;                         // floats of a state, and with its transition
    int64_t q_width, kv_width, gate_width, y_width; // floats of a token's row
    bool divided;                                   // on one rank nothing comes in
    const float *q, *kv, *gates;                    // borrowed: rows of my tokens
} recur;

static recur recur_of(canto_plan *plan, const canto_linear_shape *shape, const float *q,
                      const float *kv, const float *gates)
{
    return (recur){
        .plan = plan,
        .shape = shape,
        .device = plan->desc.device,
        .state = canto_linear_state_count(shape),
        .summary = canto_linear_summary_count(shape),
        .q_width = (int64_t)shape->heads * shape->key_dim,
        .kv_width = canto_linear_kv_width(shape),
        .gate_width = canto_linear_gates_count(shape),
        .y_width = (int64_t)shape->heads * canto_linear_columns(shape),
        .divided = plan->shards.size > 1,
        .q = q,
        .kv = kv,
        .gates = gates,
    };
}

// `tokens` of my tokens from one on.
static canto_linear_run run_at(const recur *r, int64_t token, int64_t tokens)
{
    return (canto_linear_run){.tokens = tokens,
                              .q = r->q ? r->q + token * r->q_width : NULL,
                              .kv = r->kv + token * r->kv_width,
                              .gates = r->gates ? r->gates + token * r->gate_width : NULL};
}

static canto_status check_run(const canto_plan *plan, const canto_linear_shape *shape,
                              const float *gates)
{
    const int64_t count = canto_linear_summary_count(shape);
    CANTO_CHECK(plan->scan, "linear attention: the plan was made without room for states; set its "
                            "state_count_max");
    CANTO_CHECK(count <= plan->desc.state_count_max,
                "linear attention: a state of %lld floats, the plan has room for %lld",
                (long long)count, (long long)plan->desc.state_count_max);
    CANTO_CHECK(plan->documents.n > 0, "linear attention: the plan has no documents yet; call "
                                       "canto_plan_update first");
    CANTO_CHECK(!gates == !shape->gate, "linear attention: gates without a gated shape, or a "
                                        "gated shape without gates");
    CANTO_CHECK(!shape->erases, "linear attention: a divided stream has no delta rule yet");
    return CANTO_OK;
}

static canto_status start_scan(const recur *r, bool backward, const float *summaries, float *states)
{
    canto_scan_run run = {
        .heads = r->shape->kv_heads,
        .head_count = r->state / r->shape->kv_heads,
        .log_decay = r->shape->log_decay,
        .transition_count = (int)canto_linear_transition_count(r->shape),
        .backward = backward,
        .summaries = summaries,
        .states = states,
    };
    return canto_scan_start(r->plan->scan, &run);
}

int64_t canto_recur_states_count(const canto_plan *plan, const canto_linear_shape *shape)
{
    return plan->segments * canto_linear_state_count(shape);
}

static int64_t summaries_count(const canto_plan *plan, const canto_linear_shape *shape)
{
    return plan->segments * canto_linear_summary_count(shape);
}

static size_t kernel_bytes(const canto_plan *plan, const canto_linear_shape *shape)
{
    size_t bytes = plan->desc.device->kernels->linear_work_bytes(shape, plan->tokens);
    return (bytes + CANTO_ARENA_ALIGN - 1) / CANTO_ARENA_ALIGN * CANTO_ARENA_ALIGN;
}

// Forward: summaries, two states to carry. Backward: the kernel's own, summaries, gradients of
// states.
size_t canto_recur_work_bytes(const canto_plan *plan, const canto_linear_shape *shape)
{
    size_t summaries = sizeof(float) * (size_t)summaries_count(plan, shape);
    size_t states = sizeof(float) * (size_t)canto_recur_states_count(plan, shape);
    size_t state = sizeof(float) * (size_t)canto_linear_state_count(shape);
    size_t forward = summaries + 2 * state;
    size_t backward = kernel_bytes(plan, shape) + summaries + states;
    return forward > backward ? forward : backward;
}

// --- forward ---

// y of one piece from a zero state, polling every POLL_TOKENS.
static canto_status pass_piece(const recur *r, const canto_piece *piece, float *y, float *carry)
{
    int64_t step = r->divided ? POLL_TOKENS : piece->tokens;
    const float *state_in = NULL;
    for (int64_t t = 0; t < piece->tokens; t += step) {
        int64_t row = piece->local + t, left = piece->tokens - t;
        float *state_out = left <= step ? NULL : carry + (t / step % 2) * r->state;
        const canto_linear_run run = run_at(r, row, left < step ? left : step);
        r->device->kernels->linear_forward(r->device, r->shape, &run, state_in,
                                           y + row * r->y_width, state_out);
        state_in = state_out;
        CANTO_TRY(canto_scan_poll(r->plan->scan));
    }
    return CANTO_OK;
}

// y of all pieces from zero states; carry: two states.
static canto_status pass_pieces(const recur *r, float *y, float *carry)
{
    canto_trace_begin(r->plan->trace, CANTO_TRACE_COMPUTE, "local pass", NULL, 0);
    for (int i = 0; i < r->plan->pieces_n; i++)
        CANTO_TRY(pass_piece(r, &r->plan->pieces[i], y, carry));
    canto_trace_end(r->plan->trace);
    return CANTO_OK;
}

static void summarise(const recur *r, float *summaries)
{
    canto_trace_begin(r->plan->trace, CANTO_TRACE_COMPUTE, "summaries", NULL, 0);
    for (int i = 0; i < r->plan->pieces_n; i++) {
        const canto_piece *piece = &r->plan->pieces[i];
        if (!piece->ends) continue;
        const canto_linear_run run = run_at(r, piece->local, piece->tokens);
        r->device->kernels->linear_summary(r->device, r->shape, &run,
                                           summaries + piece->segment * r->summary);
    }
    canto_trace_end(r->plan->trace);
}

static void read_states(const recur *r, const float *states, float *y)
{
    canto_trace_begin(r->plan->trace, CANTO_TRACE_COMPUTE, "incoming states", NULL, 0);
    for (int i = 0; i < r->plan->pieces_n; i++) {
        const canto_piece *piece = &r->plan->pieces[i];
        if (!piece->continues) continue;
        const canto_linear_run run = run_at(r, piece->local, piece->tokens);
        r->device->kernels->linear_read(r->device, r->shape, &run,
                                        states + piece->segment * r->state,
                                        y + piece->local * r->y_width);
    }
    canto_trace_end(r->plan->trace);
}

canto_status canto_recur_forward(canto_plan *plan, const canto_linear_shape *shape, const float *q,
                                 const float *kv, const float *gates, float *y, float *states,
                                 void *work)
{
    CANTO_TRY(check_run(plan, shape, gates));
    recur r = recur_of(plan, shape, q, kv, gates);
    float *summaries = work, *carry = summaries + summaries_count(plan, shape);
    if (r.divided) {
        summarise(&r, summaries);
        CANTO_TRY(start_scan(&r, false, summaries, states));
    }
    CANTO_TRY(pass_pieces(&r, y, carry));
    if (r.divided) {
        CANTO_TRY(canto_scan_finish(plan->scan));
        read_states(&r, states, y);
    } else {
        r.device->kernels->fill(r.device, plan->segments * r.state, 0, states);
    }
    return CANTO_OK;
}

// The pieces are cut as in the forward run, because a cut changes the order of sums.
canto_status canto_recur_again(canto_plan *plan, const canto_linear_shape *shape, const float *q,
                               const float *kv, const float *gates, const float *states, float *y,
                               void *work)
{
    CANTO_TRY(check_run(plan, shape, gates));
    recur r = recur_of(plan, shape, q, kv, gates);
    CANTO_TRY(pass_pieces(&r, y, work));
    if (r.divided) read_states(&r, states, y);
    return CANTO_OK;
}

// --- backward ---

// W: what the incoming state of each segment gets from the segment's own tokens.
static void summarise_backward(const recur *r, const float *dy, float *summaries, void *work)
{
    canto_trace_begin(r->plan->trace, CANTO_TRACE_COMPUTE, "summaries", NULL, 0);
    r->device->kernels->fill(r->device, r->plan->segments * r->summary, 0, summaries);
    for (int i = 0; i < r->plan->pieces_n; i++) {
        const canto_piece *piece = &r->plan->pieces[i];
        if (!piece->continues) continue;
        const canto_linear_run run = run_at(r, piece->local, piece->tokens);
        r->device->kernels->linear_backward_summary(r->device, r->shape, &run,
                                                    dy + piece->local * r->y_width,
                                                    summaries + piece->segment * r->summary, work);
    }
    canto_trace_end(r->plan->trace);
}

// What the backward pass is given and makes.
typedef struct gradients {
    const float *states, *dy, *dstates; // borrowed; dstates: gradients of outgoing states
    float *dq, *dkv, *dgates;           // borrowed
    void *work;                         // borrowed, the kernel's
} gradients;

static void backward_piece(const recur *r, const canto_piece *piece, const gradients *g)
{
    canto_trace_begin(r->plan->trace, CANTO_TRACE_COMPUTE, "local pass", NULL, 0);
    int64_t first = piece->local, state_at = piece->segment * r->state;
    const float *state_in = piece->continues ? g->states + state_at : NULL;
    const float *dstate_out = piece->ends && r->divided ? g->dstates + state_at : NULL;
    const canto_linear_run run = run_at(r, first, piece->tokens);
    const canto_linear_gradients own = {.dq = g->dq + first * r->q_width,
                                        .dkv = g->dkv + first * r->kv_width,
                                        .dgates =
                                            g->dgates ? g->dgates + first * r->gate_width : NULL};
    r->device->kernels->linear_backward(r->device, r->shape, &run, state_in,
                                        g->dy + first * r->y_width, dstate_out, &own, g->work);
    canto_trace_end(r->plan->trace);
}

canto_status canto_recur_backward(canto_plan *plan, const canto_linear_shape *shape, const float *q,
                                  const float *kv, const float *gates, const float *states,
                                  const float *dy, float *dq, float *dkv, float *dgates, void *work)
{
    CANTO_TRY(check_run(plan, shape, gates));
    recur r = recur_of(plan, shape, q, kv, gates);
    float *summaries = (float *)((char *)work + kernel_bytes(plan, shape));
    float *dstates = summaries + summaries_count(plan, shape);
    const gradients g = {states, dy, dstates, dq, dkv, dgates, work};
    if (r.divided) {
        summarise_backward(&r, dy, summaries, work);
        CANTO_TRY(start_scan(&r, true, summaries, dstates));
    }
    // Only the last piece of a segment hands a state on: all others run before the gradients of
    // states are here.
    for (int last = 0; last < 2; last++) {
        if (last && r.divided) CANTO_TRY(canto_scan_finish(plan->scan));
        for (int i = 0; i < plan->pieces_n; i++) {
            const canto_piece *piece = &plan->pieces[i];
            if (piece->ends != last) continue;
            backward_piece(&r, piece, &g);
            CANTO_TRY(canto_scan_poll(plan->scan));
        }
    }
    return CANTO_OK;
}
