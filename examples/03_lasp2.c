// 3. LASP-2: linear attention over a divided sequence costs one small state a rank, however long
// the sequence is.
//
//     mpirun -n 4 build/examples/03_lasp2
//
// The same model of one head with a constant decay runs on N and on 4N tokens; the outputs are
// compared with the token-by-token recurrence in double, and the bytes sent with each other.
#include "examples/example.h"
#include "parallel/recur.h"

#include <math.h>
#include <string.h>

enum { DIM = 8, ROW = 2 * DIM };

static const float log_decay[] = {-0.05f};

// S = exp(log_decay) S + k v',  y = S' q  (key_dim x value_dim), for the whole sequence; fills y
// [N, DIM] for every token.
static void reference(int64_t n, double *y)
{
    double state[DIM][DIM] = {{0}};
    const double decay = exp(log_decay[0]);
    for (int64_t t = 0; t < n; t++) {
        for (int i = 0; i < DIM; i++) {
            for (int j = 0; j < DIM; j++) {
                state[i][j] = decay * state[i][j] + (double)example_number("kv", t * ROW + i) *
                                                        example_number("kv", t * ROW + DIM + j);
            }
        }
        for (int j = 0; j < DIM; j++) {
            y[t * DIM + j] = 0;
            for (int i = 0; i < DIM; i++)
                y[t * DIM + j] += state[i][j] * example_number("q", t * DIM + i);
        }
    }
}

static canto_status attend(canto_plan *plan, canto_arena *arena, double *error)
{
    const canto_linear_shape shape = {
        .heads = 1, .kv_heads = 1, .key_dim = DIM, .value_dim = DIM, .log_decay = log_decay};
    const int64_t n = plan->desc.sequence_length;
    float *q, *kv, *y, *states;
    double *expected;
    void *work;
    CANTO_TRY(canto_arena_array(arena, "q", plan->tokens * DIM, sizeof *q, (void **)&q));
    CANTO_TRY(canto_arena_array(arena, "kv", plan->tokens * ROW, sizeof *kv, (void **)&kv));
    CANTO_TRY(canto_arena_array(arena, "y", plan->tokens * DIM, sizeof *y, (void **)&y));
    CANTO_TRY(canto_arena_array(arena, "states", canto_recur_states_count(plan, &shape),
                                sizeof *states, (void **)&states));
    CANTO_TRY(canto_arena_array(arena, "expected", n * DIM, sizeof *expected, (void **)&expected));
    CANTO_TRY(canto_arena_take(arena, "work", canto_recur_work_bytes(plan, &shape), &work));

    for (int64_t t = 0; t < plan->tokens; t++) {
        for (int c = 0; c < DIM; c++)
            q[t * DIM + c] = example_number("q", canto_plan_position(plan, t) * DIM + c);
        for (int c = 0; c < ROW; c++)
            kv[t * ROW + c] = example_number("kv", canto_plan_position(plan, t) * ROW + c);
    }
    // Summaries of my segments, one all-gather of states under the local pass, then what the
    // incoming state adds.
    CANTO_TRY(canto_recur_forward(plan, &shape, q, kv, NULL, y, states, work));

    reference(n, expected);
    double largest = 0;
    *error = 0;
    for (int64_t t = 0; t < plan->tokens; t++) {
        for (int c = 0; c < DIM; c++)
            *error = fmax(*error,
                          fabs(y[t * DIM + c] - expected[canto_plan_position(plan, t) * DIM + c]));
    }
    for (int64_t i = 0; i < n * DIM; i++) largest = fmax(largest, fabs(expected[i]));
    *error /= largest;
    return CANTO_OK;
}

static canto_status measure(canto_comm *world, const canto_mesh *mesh, canto_arena *arena,
                            int64_t tokens, double *bytes)
{
    canto_plan plan;
    const canto_plan_desc desc = {.mesh = mesh,
                                  .device = canto_device_cpu(),
                                  .layout = CANTO_LAYOUT_CONTIGUOUS,
                                  .softmax = canto_strategy_find(mesh->cp > 1 ? "ring" : "serial"),
                                  .linear = canto_transport_find("lasp2"),
                                  .sequences_n = 1,
                                  .sequence_length = tokens,
                                  .documents_max = 1,
                                  .state_count_max = DIM * DIM};
    const canto_documents one = {.n = 1, .starts = (int64_t[]){0, tokens}};
    const int64_t before = mesh->schedule->counts.bytes_sent;
    double error;
    CANTO_TRY(canto_plan_create(arena, arena, &desc, &plan));
    CANTO_TRY(canto_plan_update(&plan, &one));
    CANTO_TRY(attend(&plan, arena, &error));
    canto_plan_destroy(&plan);
    char what[64];
    snprintf(what, sizeof what, "output of %lld tokens", (long long)tokens);
    CANTO_TRY(example_check(world, what, error, 1e-5));
    *bytes = (double)(mesh->schedule->counts.bytes_sent - before);
    return canto_comm_sum_small(world, 1, bytes);
}

static canto_status run(canto_comm *world, canto_arena *arena)
{
    canto_mesh mesh;
    double shorter, longer;
    CANTO_TRY(canto_mesh_create(world, canto_device_cpu(), 1, 0, &mesh));
    CANTO_TRY(measure(world, &mesh, arena, 256, &shorter));
    CANTO_TRY(measure(world, &mesh, arena, 1024, &longer));
    canto_mesh_destroy(&mesh);
    const double expected = world->size * (world->size - 1.0) * DIM * DIM * sizeof(float);
    CANTO_TRY(example_check(world, "bytes sent, beside W(W-1) states", fabs(longer - expected), 0));
    CANTO_TRY(example_check(world, "bytes at 1024 tokens, beside those at 256",
                            fabs(longer - shorter), 0));
    if (world->rank == 0)
        printf("%d ranks: %.0f bytes for 256 tokens, %.0f for 1024\n", world->size, shorter,
               longer);
    return CANTO_OK;
}

int main(void)
{
    return example_main(run);
}
