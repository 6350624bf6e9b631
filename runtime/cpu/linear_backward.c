// Matrix-state attention, backward, in two walks over chunks (see linear_block.h). What a query
// asks of needs the states before it, what a key is asked needs G, the gradient of the states after
// it: so one walk goes forward with the state and one goes back with G. With H = diag(a) G:
//
//     forward    du_i = f_i T dy_i + sum_{j <= i} D_ij (dy_i . x'_j) v_j
//     back       dx'_j = e_j H' v_j + sum_{i >= j} D_ij (u_i . v_j) dy_i
//                dv_j = e_j H x'_j + sum_{i >= j} D_ij (dy_i . x'_j) u_i
//                G <- diag(b) (w H + sum_i f_i u_i dy_i')
//     and with r  dx = (I + A)^-T dx',  A_ij = D_ij (p_i . v_j),  dA_ij = -D_ij (dx_i . x'_j) for j
//     < i,
//                dp_i = -f_i T dx_i + sum_j dA_ij v_j,  dv_j += sum_i dA_ij p_i,
//                G loses diag(b) sum_i f_i p_i dx_i'
//
// The gates' gradient costs nothing more, because scaling a row of the state scales what is read
// from it: dg_t = rowsum(S_end * dS_end) + sum_{s >= t} (q_s * dq_s + r_s * dr_s - k_s * dk_s),
// summed in double. States and G are turned, [columns, key_dim], which is how dq and dk read them.
// Keeps one chunk on the stack and two states in `work`; with r also x' and the state of every
// block of CANTO_CHUNK tokens. Walks of one head, and heads, are independent: no sum depends on the
// number of threads.
#include "runtime/cpu/linear_walks.h"

size_t CANTO_CPU(linear_work_bytes)(const canto_linear_shape *shape, int64_t tokens)
{
    const canto_linear_head it = canto_linear_head_make(shape, NULL, 0);
    return (size_t)(shape->kv_heads * canto_walk_floats(&it, tokens)) * sizeof(float);
}

// --- sums over one row ---

// total [key_dim] += sign * x * dx of one row of keys.
static void add_row(int n, double sign, const float *x, const float *dx, double *total)
{
    for (int d = 0; d < n; d++) total[d] += sign * (double)x[d] * (double)dx[d];
}

// The sum of these over the key dims.
static double dot_row(int n, const float *x, const float *dx)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int d = 0; d < n; d++) sum += (double)x[d] * (double)dx[d];
    return sum;
}

// --- the walks of a group of heads side by side ---

typedef struct group {
    int n;
    canto_linear_head heads[CANTO_GROUP];
    canto_walk_of_head works[CANTO_GROUP];
} group;

static void group_make(const canto_linear_shape *shape, const canto_linear_run *run, int begin,
                       int end, void *work, group *g)
{
    g->n = end - begin;
    for (int i = 0; i < g->n; i++) {
        g->heads[i] = canto_linear_head_make(shape, run, begin + i);
        g->works[i] = canto_walk_work(&g->heads[i], work);
    }
}

// What a block of tokens reads: keys and values, erasers, queries and dy.
static canto_soon ask_for_block(const group *g, const canto_walk_arrays *a, int64_t block)
{
    const canto_linear_head *it = &g->heads[0];
    const int64_t t = block * CANTO_CHUNK, left = it->run->tokens - t;
    const int n = left < CANTO_CHUNK ? (int)left : CANTO_CHUNK, share = it->last - it->first;
    canto_rows blocks[CANTO_SOON_MAX];
    int count = 0;
    if (t < 0 || left <= 0) return (canto_soon){0};
    blocks[count++] = canto_linear_beside(canto_linear_keys(it, it->run->kv, t, n), g->n);
    blocks[count++] = canto_linear_beside(canto_linear_values(it, it->run->kv, t, n), g->n);
    if (it->shape->erases)
        blocks[count++] = canto_linear_beside(canto_linear_erasers(it, it->run->erase, t, n), g->n);
    if (it->run->gates) blocks[count++] = canto_linear_beside(canto_linear_gates(it, t, n), g->n);
    const canto_rows q = canto_linear_queries(it, it->run->q, t, n, it->first);
    const canto_rows dy = canto_linear_outputs(it, a->dy, t, n, it->first);
    blocks[count++] = canto_linear_beside(q, g->n * share);
    blocks[count++] = canto_linear_beside(dy, g->n * share);
    const int turns = CANTO_CHUNK / CANTO_ROWS * share * it->key_panels;
    return canto_soon_make(count, blocks, (int64_t)g->n * turns);
}

static void walk_forward(group *g, const canto_walk_arrays *a)
{
    const int64_t blocks = canto_chunk_count(g->heads[0].run->tokens);
    canto_walk_space s;
    for (int i = 0; i < g->n; i++) canto_walk_forward_begin(&g->heads[i], a, &g->works[i]);
    for (int64_t block = 0; block < blocks; block++) {
        s.soon = ask_for_block(g, a, block + 1);
        for (int i = 0; i < g->n; i++)
            canto_walk_forward_block(&g->heads[i], a, &g->works[i], block, &s);
    }
    for (int i = 0; i < g->n; i++) canto_walk_forward_end(&g->heads[i], a, &g->works[i]);
}

static void walk_back(group *g, const canto_walk_arrays *a)
{
    canto_walk_space s;
    for (int i = 0; i < g->n; i++) canto_walk_back_begin(&g->heads[i], a, &g->works[i]);
    for (int64_t block = canto_chunk_count(g->heads[0].run->tokens) - 1; block >= 0; block--) {
        s.soon = ask_for_block(g, a, block - 1);
        for (int i = 0; i < g->n; i++)
            canto_walk_back_block(&g->heads[i], a, &g->works[i], block, &s);
    }
}

// --- the gates' gradient, when everything else is there ---

// sign * x * dx of one row of keys goes to what the gate is made of: a sum a key dim, or one of
// all.
static void add_keys(const canto_linear_head *it, double sign, const float *x, const float *dx,
                     double *total, double *sum)
{
    if (it->shape->gate == CANTO_GATE_KEY)
        add_row(it->shape->key_dim, sign, x, dx, total);
    else
        *sum += sign * dot_row(it->shape->key_dim, x, dx);
}

// Of token t.
static void gate_of(const canto_linear_head *it, const canto_linear_gradients *d, int64_t t,
                    double *total, double *sum)
{
    const canto_linear_run *run = it->run;
    const bool keyed = it->shape->gate == CANTO_GATE_KEY;
    const int64_t k = canto_linear_keys(it, run->kv, t, 1).at;
    add_keys(it, -1, run->kv + k, d->dkv + k, total, sum);
    if (it->shape->erases) {
        const int64_t r = canto_linear_erasers(it, run->erase, t, 1).at;
        add_keys(it, 1, run->erase + r, d->derase + r, total, sum);
    }
    for (int h = it->first; h < it->last; h++) {
        const int64_t q = canto_linear_queries(it, run->q, t, 1, h).at;
        add_keys(it, 1, run->q + q, d->dq + q, total, sum);
    }
    float *out = d->dgates + canto_linear_gates(it, t, 1).at;
    for (int c = 0; c < canto_linear_gate_width(it->shape); c++)
        out[c] = (float)(keyed ? total[c] : *sum);
}

// Tokens from the last one on, heads side by side.
static void gate_gradient(const group *g, const canto_linear_gradients *d)
{
    double sums[CANTO_GROUP] = {0};
    for (int i = 0; i < g->n; i++) {
        for (int c = 0; c < g->heads[i].shape->key_dim; c++) sums[i] += g->works[i].total[c];
    }
    for (int64_t t = g->heads[0].run->tokens - 1; t >= 0; t--) {
        for (int i = 0; i < g->n; i++) gate_of(&g->heads[i], d, t, g->works[i].total, &sums[i]);
    }
}

// --- the slots ---

void CANTO_CPU(linear_backward)(const canto_device *device, const canto_linear_shape *shape,
                                const canto_linear_run *run, const float *state_in, const float *dy,
                                const float *dstate_out, const canto_linear_gradients *gradients,
                                void *work)
{
    const canto_walk_arrays a = {state_in, dy, dstate_out, gradients};
    const int threads = canto_linear_threads(shape, run->tokens);
    const int walks = shape->erases ? 1 : 2; // that may go side by side
    const int groups = canto_linear_groups(shape, CANTO_GROUP, (threads + walks - 1) / walks);
    if (run->tokens == 0) return;
    for (int first = 0; first < 2; first += walks) {
#pragma omp parallel for schedule(static) if (threads > 1)
        for (int i = 0; i < walks * groups; i++) {
            group g;
            const int at = i % groups;
            group_make(shape, run, shape->kv_heads * at / groups,
                       shape->kv_heads * (at + 1) / groups, work, &g);
            if (first + i / groups == 0)
                walk_forward(&g, &a);
            else
                walk_back(&g, &a);
        }
    }
    if (shape->gate == CANTO_GATE_NONE) return;
    const int all = canto_linear_groups(shape, CANTO_GROUP, threads);
#pragma omp parallel for schedule(static) if (threads > 1)
    for (int i = 0; i < all; i++) {
        group g;
        group_make(shape, run, shape->kv_heads * i / all, shape->kv_heads * (i + 1) / all, work,
                   &g);
        gate_gradient(&g, gradients);
    }
}
