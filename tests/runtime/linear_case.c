#include "tests/runtime/linear_case.h"

#include <math.h>

static const canto_ref_documents one_document = {0, NULL};

// --- problems ---

static float mixed_gate(int64_t token, int64_t i)
{
    static const float values[] = {0, -0.05f, -3, -50};
    return values[(token / 5 + i / 3 + (token % 7 == 3)) % 4];
}

static void fill_gates(linear_case *c, linear_gates kind)
{
    const int64_t width = canto_linear_gates_count(&c->shape);
    canto_test_fill("gates", c->gates_n, c->gates);
    for (int64_t i = 0; i < c->gates_n; i++) {
        const float common = -0.1f * fabsf(c->gates[i]);
        const float values[] = {[GATES_ZERO] = 0,
                                [GATES_COMMON] = common,
                                [GATES_STRONG] = -50,
                                [GATES_MIXED] = mixed_gate(i / width, i % width),
                                [GATES_ENDING] = i / width % 23 == 9 ? -1e4f : common};
        c->gates[i] = values[kind];
    }
}

// r of length 1, and a key beside it of half that length: what is written stays bounded.
static void fill_erasers(linear_case *c)
{
    const int dim = c->shape.key_dim;
    for (int64_t t = 0; t < c->tokens; t++) {
        for (int g = 0; g < c->shape.kv_heads; g++) {
            float *r = c->erase + (t * c->shape.kv_heads + g) * dim;
            float *k = c->kv + t * canto_linear_kv_width(&c->shape) + (int64_t)g * dim;
            float squares = 0;
            for (int d = 0; d < dim; d++) squares += r[d] * r[d];
            for (int d = 0; d < dim; d++) r[d] /= sqrtf(squares);
            for (int d = 0; d < dim; d++) k[d] = 0.5f * r[d] + 0.1f * k[d] / sqrtf((float)dim);
        }
    }
}

linear_case linear_case_make(const canto_device *device, canto_linear_shape shape, int64_t tokens,
                             linear_gates kind)
{
    linear_case c = {.device = device, .shape = shape, .tokens = tokens};
    c.q_n = tokens * shape.heads * shape.key_dim;
    c.kv_n = tokens * canto_linear_kv_width(&shape);
    c.erase_n = shape.erases ? tokens * shape.kv_heads * shape.key_dim : 0;
    c.gates_n = tokens * canto_linear_gates_count(&shape);
    c.y_n = tokens * shape.heads * canto_linear_columns(&shape);
    c.state_n = canto_linear_state_count(&shape);
    c.summary_n = canto_linear_summary_count(&shape);
    c.q = numbers_random("q", c.q_n);
    c.kv = numbers_random("kv", c.kv_n);
    c.erase = numbers_random("erase", c.erase_n);
    c.gates = numbers_zero(c.gates_n);
    c.dy = numbers_random("dy", c.y_n);
    c.state_in = numbers_random("state_in", c.state_n);
    c.dstate_out = numbers_random("dstate_out", c.state_n);
    c.y = numbers_random("y before", c.y_n); // what is overwritten may hold anything
    c.state_out = numbers_random("state_out before", c.state_n);
    c.dq = numbers_random("dq before", c.q_n);
    c.dkv = numbers_random("dkv before", c.kv_n);
    c.derase = numbers_random("derase before", c.erase_n);
    c.dgates = numbers_random("dgates before", c.gates_n);
    const size_t bytes = device->kernels->linear_work_bytes(&shape, tokens);
    c.work = numbers_zero((int64_t)(bytes / sizeof *c.work));
    memset(c.work, 0xff, bytes); // NaN: nothing may be read before it is written
    if (shape.gate != CANTO_GATE_NONE) fill_gates(&c, kind);
    if (shape.erases) fill_erasers(&c);
    return c;
}

void linear_case_destroy(linear_case *c)
{
    float *all[] = {c->q, c->kv,        c->erase, c->gates, c->dy,     c->state_in, c->dstate_out,
                    c->y, c->state_out, c->dq,    c->dkv,   c->derase, c->dgates,   c->work};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

linear_case linear_case_part(const linear_case *c, int64_t first, int64_t tokens)
{
    linear_case it = *c;
    const int64_t row = first * c->shape.heads, gate = canto_linear_gates_count(&c->shape);
    const int64_t eraser = c->shape.erases ? (int64_t)c->shape.kv_heads * c->shape.key_dim : 0;
    it.tokens = tokens;
    it.q += row * c->shape.key_dim;
    it.dq += row * c->shape.key_dim;
    it.kv += first * canto_linear_kv_width(&c->shape);
    it.dkv += first * canto_linear_kv_width(&c->shape);
    it.erase += first * eraser;
    it.derase += first * eraser;
    it.gates += first * gate;
    it.dgates += first * gate;
    it.y += row * canto_linear_columns(&c->shape);
    it.dy += row * canto_linear_columns(&c->shape);
    return it;
}

// --- the slots ---

static canto_linear_run run_of(const linear_case *c)
{
    return (canto_linear_run){.tokens = c->tokens,
                              .q = c->q,
                              .kv = c->kv,
                              .erase = c->shape.erases ? c->erase : NULL,
                              .gates = c->shape.gate ? c->gates : NULL};
}

void linear_case_forward(const linear_case *c, const float *state_in, float *state_out)
{
    const canto_linear_run run = run_of(c);
    c->device->kernels->linear_forward(c->device, &c->shape, &run, state_in, c->y, state_out);
}

void linear_case_read(const linear_case *c, const float *state_in)
{
    const canto_linear_run run = run_of(c);
    c->device->kernels->linear_read(c->device, &c->shape, &run, state_in, c->y);
}

void linear_case_backward(const linear_case *c, const float *state_in, const float *dstate_out)
{
    const canto_linear_run run = run_of(c);
    const canto_linear_gradients gradients = {.dq = c->dq,
                                              .dkv = c->dkv,
                                              .derase = c->shape.erases ? c->derase : NULL,
                                              .dgates = c->shape.gate ? c->dgates : NULL};
    c->device->kernels->linear_backward(c->device, &c->shape, &run, state_in, c->dy, dstate_out,
                                        &gradients, c->work);
}

void linear_case_summarise(const linear_case *c, float *summary)
{
    const canto_linear_run run = run_of(c);
    c->device->kernels->linear_summary(c->device, &c->shape, &run, summary);
}

void linear_case_backward_summarise(const linear_case *c, float *summary)
{
    const canto_linear_run run = run_of(c);
    c->device->kernels->linear_backward_summary(c->device, &c->shape, &run, c->dy, summary,
                                                c->work);
}

// --- the reference ---

static canto_ref_run reference_run(const linear_case *c, const linear_reference *r)
{
    return (canto_ref_run){c->tokens, one_document, r->q, r->kv, r->erase, r->gates};
}

linear_reference linear_case_refer(const linear_case *c, bool with_in, bool with_out)
{
    linear_reference r = {.q = numbers_wide(c->q_n, c->q),
                          .kv = numbers_wide(c->kv_n, c->kv),
                          .erase = numbers_wide(c->erase_n, c->erase),
                          .gates = numbers_wide(c->gates_n, c->gates),
                          .dy = numbers_wide(c->y_n, c->dy),
                          .in = numbers_wide(c->state_n, c->state_in),
                          .out = numbers_wide(c->state_n, c->dstate_out),
                          .y = numbers_zero_wide(c->y_n),
                          .state_out = numbers_zero_wide(c->state_n),
                          .dq = numbers_zero_wide(c->q_n),
                          .dkv = numbers_zero_wide(c->kv_n),
                          .derase = numbers_zero_wide(c->erase_n),
                          .dgates = numbers_zero_wide(c->gates_n),
                          .dstate_in = numbers_zero_wide(c->state_n)};
    const canto_ref_run run = reference_run(c, &r);
    const canto_ref_gradients gradients = {r.dq, r.dkv, r.derase, r.dgates};
    canto_ref_linear_forward(&c->shape, &run, with_in ? r.in : NULL, r.y, r.state_out);
    canto_ref_linear_backward(&c->shape, &run, with_in ? r.in : NULL, r.dy, with_out ? r.out : NULL,
                              &gradients, r.dstate_in);
    return r;
}

void linear_case_dismiss(linear_reference *r)
{
    double *all[] = {r->q, r->kv,        r->erase, r->gates, r->dy,     r->in,     r->out,
                     r->y, r->state_out, r->dq,    r->dkv,   r->derase, r->dgates, r->dstate_in};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

// --- checks ---

// A gate's gradient is a difference of sums of q dq and k dk: where it vanishes, because nothing
// is left to forget, these are what its error is measured by.
static void check_gates(const linear_case *c, const linear_reference *r)
{
    double largest = 0;
    for (int64_t i = 0; i < c->gates_n; i++) largest = fmax(largest, fabs(r->dgates[i]));
    for (int64_t i = 0; i < c->q_n; i++) largest = fmax(largest, fabs(r->q[i] * r->dq[i]));
    for (int64_t i = 0; i < c->gates_n; i++) {
        const double error = fabs(c->dgates[i] - r->dgates[i]);
        if (!(error <= CANTO_TEST_GATE_GRADIENT * largest))
            fail_msg("dgates: error %.3g of %.3g at %lld", error, largest, (long long)i);
    }
}

void linear_case_check_outputs(const linear_case *c, const linear_reference *r)
{
    const double tolerance = canto_test_forward_tolerance(c->tokens);
    canto_test_close("y", c->y_n, c->y, r->y, tolerance);
    canto_test_close("state_out", c->state_n, c->state_out, r->state_out, tolerance);
}

void linear_case_check_gradients(const linear_case *c, const linear_reference *r)
{
    canto_test_close("dq", c->q_n, c->dq, r->dq, CANTO_TEST_GRADIENT);
    canto_test_close("dkv", c->kv_n, c->dkv, r->dkv, CANTO_TEST_GRADIENT);
    canto_test_close("derase", c->erase_n, c->derase, r->derase, CANTO_TEST_GRADIENT);
    check_gates(c, r);
}

// What the reference makes of the identity when all values are 0.
static void check_matrix(const linear_case *c, const float *transition)
{
    const int dim = c->shape.key_dim, heads = c->shape.kv_heads;
    canto_linear_shape square = c->shape;
    square.value_dim = dim;
    square.ones = false;
    const int64_t count = canto_linear_state_count(&square),
                  old = c->kv_n / (c->tokens ? c->tokens : 1);
    const int64_t width = canto_linear_kv_width(&square);
    double *kv = numbers_zero_wide(c->tokens * width), *identity = numbers_zero_wide(count);
    double *y = numbers_zero_wide(c->tokens * square.heads * dim), *out = numbers_zero_wide(count);
    linear_reference r = linear_case_refer(c, false, false);
    for (int64_t t = 0; t < c->tokens; t++)
        memcpy(kv + t * width, r.kv + t * old, sizeof *kv * (size_t)(heads * dim));
    for (int i = 0; i < heads * dim; i++) identity[(int64_t)i * dim + i % dim] = 1;
    canto_ref_run run = reference_run(c, &r);
    run.kv = kv;
    canto_ref_linear_forward(&square, &run, identity, y, out);
    // Next to the identity, not to what is left of it.
    for (int64_t i = 0; i < count; i++) {
        const double error = fabs((double)transition[i] - out[i]);
        if (!(error <= canto_test_forward_tolerance(c->tokens)))
            fail_msg("transition: error %.3g at %lld", error, (long long)i);
    }
    linear_case_dismiss(&r);
    free(kv), free(identity), free(y), free(out);
}

static void check_transition(const linear_case *c, const float *transition)
{
    const int64_t width = canto_linear_gates_count(&c->shape);
    if (c->shape.erases) {
        check_matrix(c, transition);
        return;
    }
    for (int64_t i = 0; i < width; i++) {
        double sum = 0;
        for (int64_t t = 0; t < c->tokens; t++) sum += (double)c->gates[t * width + i];
        assert_true(fabs(transition[i] - sum) <= 1e-6 * fabs(sum));
    }
}

void linear_case_check_summaries(const linear_case *c)
{
    linear_reference r = linear_case_refer(c, false, false);
    float *summary = numbers_random("summary before", c->summary_n);
    linear_case_summarise(c, summary);
    canto_test_close("summary", c->state_n, summary, r.state_out,
                     canto_test_forward_tolerance(c->tokens));
    check_transition(c, summary + c->state_n);
    linear_case_backward_summarise(c, summary);
    canto_test_close("backward summary", c->state_n, summary, r.dstate_in, CANTO_TEST_GRADIENT);
    check_transition(c, summary + c->state_n);
    free(summary);
    linear_case_dismiss(&r);
}

void linear_case_check(const canto_device *device, canto_linear_shape shape, int64_t tokens,
                       linear_gates kind)
{
    linear_case c = linear_case_make(device, shape, tokens, kind);
    for (int with = 0; with < 4; with++) {
        linear_reference r = linear_case_refer(&c, with & 1, with & 2);
        linear_case_forward(&c, with & 1 ? c.state_in : NULL, c.state_out);
        linear_case_backward(&c, with & 1 ? c.state_in : NULL, with & 2 ? c.dstate_out : NULL);
        linear_case_check_outputs(&c, &r);
        linear_case_check_gradients(&c, &r);
        linear_case_dismiss(&r);
    }
    linear_case_check_summaries(&c);
    linear_case_destroy(&c);
}
