// Gated linear attention, backward, in two walks over chunks (see gated_block.h). What a query asks
// of needs the states before it, what a key is asked needs G, the gradient of the states after it:
// so one walk goes forward with the state and one goes back with G, and no state is stored between.
//
//     forward    du_i = T dy_i + sum_{j <= i} (dy_i . x_j) v_j
//     back       H = diag(exp(P_{n-1})) G
//                dv_j = H x_j + sum_{i >= j} (dy_i . x_j) u_i
//                dx_j = H' v_j + sum_{i >= j} (u_i . v_j) dy_i
//                G   <- diag(exp(g_0)) (H + sum_i u_i dy_i')
//
// The gates' gradient costs nothing more, because scaling a row of the state scales what is read
// from it: dg_t = rowsum(S_end * dS_end) + sum_{s >= t} (q_s * dq_s - k_s * dk_s), summed in
// double. States and G are kept transposed, [columns, key_dim], which is how dq and dk read them; a
// copy of H the other way round serves dx. Keeps one chunk on the stack and two states in `work`.
#include "runtime/cpu/gated_block.h"

#include <stdalign.h>

enum { DIM = CANTO_HEAD_DIM_MAX, COLUMNS = CANTO_LINEAR_COLUMNS_MAX, CHUNK = CANTO_CHUNK };

typedef struct space {
    alignas(CANTO_TILE_ALIGN) float rise[CHUNK * DIM];            // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float v[CHUNK * DIM];               // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float v_columns[DIM * CHUNK];       // [key_dim, padded n]
    alignas(CANTO_TILE_ALIGN) float x[CHUNK * COLUMNS];           // [n, column_ld]
    alignas(CANTO_TILE_ALIGN) float x_columns[COLUMNS * CHUNK];   // [columns, padded n]
    alignas(CANTO_TILE_ALIGN) float u[CHUNK * DIM];               // [n, key_ld]
    alignas(CANTO_TILE_ALIGN) float dy[CHUNK * COLUMNS];          // [n, column_ld]
    alignas(CANTO_TILE_ALIGN) float scores[CHUNK * CHUNK];        // u_i . v_j
    alignas(CANTO_TILE_ALIGN) float slopes[CHUNK * CHUNK];        // dy_i . x_j
    alignas(CANTO_TILE_ALIGN) float dkeys[CHUNK * DIM];           // [n, key_ld]: dv, or du
    alignas(CANTO_TILE_ALIGN) float dx[CHUNK * COLUMNS];          // [n, column_ld]
    int zeros[CHUNK], diagonal[CHUNK], after[CHUNK], ends[CHUNK]; // 0, i, i + 1, n
    double sum[DIM], total[DIM];                                  // [key_dim]
    float factors[DIM];                                           // [key_ld]
} space;

_Static_assert(sizeof(space) <= CANTO_KERNEL_STACK, "threads have room for it");

static int64_t columns_count(const canto_linear_head *it)
{
    return (int64_t)it->columns * it->key_ld;
}

int64_t canto_gated_work_count(const canto_linear_head *it)
{
    return columns_count(it) + (int64_t)it->shape->key_dim * it->column_ld;
}

// to [columns, key_ld] = head's part of a state array, transposed (NULL: zero).
static void load_transposed(const canto_linear_head *it, const float *from, float *to)
{
    memset(to, 0, (size_t)columns_count(it) * sizeof *to);
    if (from)
        canto_tile_transpose(it->shape->key_dim, it->columns, 1, from + canto_linear_state_at(it),
                             it->columns, to, it->key_ld);
}

static void load_chunk(const canto_linear_head *it, int64_t t, int n, const float *kv, space *s)
{
    canto_linear_pack(it, t, n, kv, s->v, s->x);
    canto_gated_fall(it, n, s->rise, s->v);
    canto_linear_columns_of(n, it->columns, s->x, it->column_ld, s->x_columns);
    for (int i = 0; i < n; i++) {
        s->zeros[i] = 0;
        s->diagonal[i] = i;
        s->after[i] = i + 1;
        s->ends[i] = n;
    }
}

static void load_queries(const canto_linear_head *it, int64_t t, int n, int h,
                         const canto_gated_arrays *a, space *s)
{
    canto_linear_pack_queries(it, t, n, h, a->q, a->dy, s->u, s->dy);
    canto_gated_rise(it, n, s->rise, s->u);
}

static void compute_slopes(const canto_linear_head *it, int n, space *s)
{
    const int width = canto_tile_pad(n);
    canto_tile_product(n, width, it->columns, (canto_tile_factor){s->dy, it->column_ld, 1},
                       s->x_columns, width, false, s->slopes, width);
}

// --- forward: dq, and q * dq in the place of dgates ---

// dkeys = du of the loaded head.
static void query_gradient(const canto_linear_head *it, int n, const float *state, space *s)
{
    const canto_tile_factor slopes = {s->slopes, canto_tile_pad(n), 1};
    canto_tile_product(n, it->key_ld, it->columns, (canto_tile_factor){s->dy, it->column_ld, 1},
                       state, it->key_ld, false, s->dkeys, it->key_ld);
    canto_tile_band_product(n, it->key_ld, (canto_tile_ranges){s->zeros, s->after}, slopes, s->v,
                            it->key_ld, s->dkeys, it->key_ld);
}

// dgates (+)= u * du, which is q * dq.
static void query_gates(const canto_linear_head *it, int64_t t, int n, bool add, const space *s,
                        float *dgates)
{
    for (int i = 0; i < n; i++) {
        float *row = dgates + (t + i) * it->shape->kv_heads * it->shape->key_dim +
                     (int64_t)it->head * it->shape->key_dim;
        const float *u = s->u + i * it->key_ld, *du = s->dkeys + i * it->key_ld;
        for (int d = 0; d < it->shape->key_dim; d++) row[d] = (add ? row[d] : 0) + u[d] * du[d];
    }
}

static void walk_forward(const canto_linear_head *it, int64_t tokens, const canto_gated_arrays *a,
                         float *state, space *s)
{
    const int64_t heads = it->shape->heads, dim = it->shape->key_dim;
    load_transposed(it, a->state_in, state);
    for (int64_t t = 0, n; t < tokens; t += n) {
        n = canto_gated_chunk(it, a->gates, tokens, t, s->rise, s->sum);
        canto_gated_factors(it, a->gates, t, NULL, s->factors);
        canto_gated_scale_columns(it, s->factors, state);
        load_chunk(it, t, (int)n, a->kv, s);
        for (int h = it->first; h < it->last; h++) {
            load_queries(it, t, (int)n, h, a, s);
            compute_slopes(it, (int)n, s);
            query_gradient(it, (int)n, state, s);
            query_gates(it, t, (int)n, h > it->first, s, a->dgates);
            canto_gated_rise(it, (int)n, s->rise, s->dkeys);
            canto_tile_store((int)n, (int)dim, s->dkeys, it->key_ld, a->dq + (t * heads + h) * dim,
                             heads * dim);
        }
        canto_tile_product(it->columns, it->key_ld, (int)n,
                           (canto_tile_factor){s->x, 1, it->column_ld}, s->v, it->key_ld, true,
                           state, it->key_ld);
        canto_gated_scale_columns(it, s->rise + (n - 1) * it->key_ld, state);
    }
}

// total [key_dim] = rowsum(S_end * dS_end)
static void begin_total(const canto_linear_head *it, const float *state, const float *dstate_out,
                        double *total)
{
    const float *gradient = dstate_out ? dstate_out + canto_linear_state_at(it) : NULL;
    for (int d = 0; d < it->shape->key_dim; d++) {
        total[d] = 0;
        for (int c = 0; gradient && c < it->columns; c++)
            total[d] += (double)state[(int64_t)c * it->key_ld + d] *
                        (double)gradient[(int64_t)d * it->columns + c];
    }
}

// --- back: dk, dv and the sums of dgates ---

// dkeys and dx = what the tokens after the chunk ask of it, through H.
static void receive_gradient(const canto_linear_head *it, int n, const float *gradient_columns,
                             float *gradient, space *s)
{
    canto_tile_transpose(it->columns, it->shape->key_dim, 1, gradient_columns, it->key_ld, gradient,
                         it->column_ld);
    canto_tile_product(n, it->key_ld, it->columns, (canto_tile_factor){s->x, it->column_ld, 1},
                       gradient_columns, it->key_ld, false, s->dkeys, it->key_ld);
    canto_tile_product(n, it->column_ld, it->shape->key_dim,
                       (canto_tile_factor){s->v, it->key_ld, 1}, gradient, it->column_ld, false,
                       s->dx, it->column_ld);
}

// dkeys and dx += what the chunk's own tokens ask of it.
static void key_gradient(const canto_linear_head *it, int n, space *s)
{
    const int width = canto_tile_pad(n);
    const canto_tile_ranges later = {s->diagonal, s->ends};
    canto_tile_product(n, width, it->shape->key_dim, (canto_tile_factor){s->u, it->key_ld, 1},
                       s->v_columns, width, false, s->scores, width);
    canto_tile_band_product(n, it->key_ld, later, (canto_tile_factor){s->slopes, 1, width}, s->u,
                            it->key_ld, s->dkeys, it->key_ld);
    canto_tile_band_product(n, it->column_ld, later, (canto_tile_factor){s->scores, 1, width},
                            s->dy, it->column_ld, s->dx, it->column_ld);
}

// dgates = total, which takes in q * dq - k * dk token by token.
static void sum_gates(const canto_linear_head *it, int64_t t, int n, space *s, float *dgates)
{
    for (int i = n - 1; i >= 0; i--) {
        float *row = dgates + (t + i) * it->shape->kv_heads * it->shape->key_dim +
                     (int64_t)it->head * it->shape->key_dim;
        const float *v = s->v + i * it->key_ld, *dv = s->dkeys + i * it->key_ld;
        for (int d = 0; d < it->shape->key_dim; d++) {
            s->total[d] += (double)row[d] - (double)v[d] * (double)dv[d];
            row[d] = (float)s->total[d];
        }
    }
}

static void chunk_back(const canto_linear_head *it, int64_t t, int n, const canto_gated_arrays *a,
                       float *gradient_columns, float *gradient, space *s)
{
    const int64_t stride = canto_linear_kv_width(it->shape);
    canto_gated_scale_columns(it, s->rise + (n - 1) * it->key_ld, gradient_columns);
    load_chunk(it, t, n, a->kv, s);
    canto_linear_columns_of(n, it->shape->key_dim, s->v, it->key_ld, s->v_columns);
    receive_gradient(it, n, gradient_columns, gradient, s);
    for (int h = it->first; h < it->last; h++) {
        load_queries(it, t, n, h, a, s);
        compute_slopes(it, n, s);
        key_gradient(it, n, s);
        canto_tile_product(it->columns, it->key_ld, n, (canto_tile_factor){s->dy, 1, it->column_ld},
                           s->u, it->key_ld, true, gradient_columns, it->key_ld);
    }
    sum_gates(it, t, n, s, a->dgates);
    canto_gated_fall(it, n, s->rise, s->dkeys);
    canto_tile_store(n, it->shape->key_dim, s->dkeys, it->key_ld,
                     a->dkv + canto_linear_key_at(it, t), stride);
    canto_tile_store(n, it->shape->value_dim, s->dx, it->column_ld,
                     a->dkv + canto_linear_value_at(it, t), stride);
    canto_gated_factors(it, a->gates, t, NULL, s->factors);
    canto_gated_scale_columns(it, s->factors, gradient_columns);
}

// Beginnings of the chunks of the block that begins at t, and its end; returns their number. Leaves
// the rise of the last one.
static int cut_block(const canto_linear_head *it, int64_t tokens, int64_t t, const float *gates,
                     space *s, int64_t *begin)
{
    const int64_t end = t + canto_chunk_length(tokens, t);
    int count = 0;
    for (; t < end; t += canto_gated_chunk(it, gates, tokens, t, s->rise, s->sum))
        begin[count++] = t;
    begin[count] = end;
    return count;
}

void canto_gated_backward_head(const canto_linear_head *it, int64_t tokens,
                               const canto_gated_arrays *a, float *work)
{
    space s;
    float *columns = work, *rows = work + columns_count(it);
    walk_forward(it, tokens, a, columns, &s);
    begin_total(it, columns, a->dstate_out, s.total);
    load_transposed(it, a->dstate_out, columns);
    memset(rows, 0, (size_t)it->shape->key_dim * (size_t)it->column_ld * sizeof *rows);
    for (int64_t block = canto_chunk_count(tokens) - 1; block >= 0; block--) {
        int64_t begin[CHUNK + 1];
        const int count = cut_block(it, tokens, block * CHUNK, a->gates, &s, begin);
        for (int c = count - 1; c >= 0; c--) {
            if (c < count - 1) canto_gated_chunk(it, a->gates, tokens, begin[c], s.rise, s.sum);
            chunk_back(it, begin[c], (int)(begin[c + 1] - begin[c]), a, columns, rows, &s);
        }
    }
}
