// See the header.
#include "runtime/cpu/linear_walks.h"

int64_t canto_walk_floats(const canto_linear_head *it, int64_t tokens)
{
    const int64_t turned = canto_linear_turned_floats(it), state = canto_linear_state_floats(it);
    const int64_t blocks = it->shape->erases ? canto_chunk_count(tokens) : 0;
    const int64_t all = 2 * CANTO_HEAD_DIM_MAX + 2 * turned + 2 * state +
                        blocks * (turned + (int64_t)it->column_panels * CANTO_X_PANEL);
    return (all + 15) / 16 * 16;
}

canto_walk_of_head canto_walk_work(const canto_linear_head *it, void *work)
{
    const int64_t turned = canto_linear_turned_floats(it), state = canto_linear_state_floats(it);
    const int64_t blocks = canto_chunk_count(it->run->tokens);
    canto_walk_of_head w;
    float *at = (float *)work + it->head * canto_walk_floats(it, it->run->tokens);
    w.total = (double *)at;
    w.state = at + 2 * CANTO_HEAD_DIM_MAX;
    w.gradient = w.state + turned;
    w.unturned = w.gradient + turned;
    w.ungradient = w.unturned + state;
    w.x = w.ungradient + state;
    w.states = w.x + blocks * it->column_panels * CANTO_X_PANEL;
    return w;
}

bool canto_walk_values(const canto_linear_head *it, int64_t t, int n, float *x)
{
    const canto_rows values = canto_linear_values(it, it->run->kv, t, n);
    const bool finite = canto_pack_panels(&values, NULL, x, CANTO_X_PANEL);
    canto_linear_add_ones(it, n, x);
    return finite;
}

void canto_walk_turn(const canto_linear_head *it, int n, const float *x, canto_walk_space *s)
{
    for (int p = 0; p < it->column_panels; p++) {
        const int left = it->columns - p * CANTO_COLUMNS;
        const canto_rows panel = {.x = x + p * CANTO_X_PANEL,
                                  .dtype = CANTO_F32,
                                  .stride = CANTO_COLUMNS,
                                  .n = n,
                                  .columns = left < CANTO_COLUMNS ? left : CANTO_COLUMNS};
        canto_pack_transposed(&panel, 1, CANTO_COLUMNS,
                              s->turned_x + p * CANTO_COLUMNS * CANTO_COLUMNS,
                              (int64_t)it->columns * CANTO_COLUMNS);
    }
}

canto_left canto_walk_keys(const canto_linear_head *it, int64_t t, canto_walk_space *s)
{
    const canto_rows k = canto_linear_keys(it, it->run->kv, t, s->decay.n);
    return canto_linear_left(&k, s->decay.rise, true, s->key_rows);
}

void canto_walk_store_keys(const canto_linear_head *it, const canto_rows *to, const float *panels,
                           bool falls, const float *rise, float *out)
{
    const int dim = it->shape->key_dim;
    for (int i = 0; i < to->n; i++) {
        float *row = out + to->at + i * to->stride;
        for (int p = 0; p < it->key_panels; p++) {
            const int left = dim - p * CANTO_COLUMNS,
                      n = left < CANTO_COLUMNS ? left : CANTO_COLUMNS;
            const float *from = panels + p * CANTO_X_PANEL + i * CANTO_COLUMNS;
            const float *power = rise ? rise + i * dim + p * CANTO_COLUMNS : NULL;
            for (int c = 0; c < n; c++) {
                const float x = from[c];
                row[p * CANTO_COLUMNS + c] = !power ? x : falls ? x / power[c] : x * power[c];
            }
        }
    }
}

void canto_walk_add_outer(const canto_linear_head *it, int n, const float *left, const float *right,
                          float keep, float *turned)
{
    for (int p = 0; p < it->column_panels; p++) {
        const int columns = it->columns - p * CANTO_COLUMNS;
        const canto_product_of product = {.rows = columns < CANTO_COLUMNS ? columns : CANTO_COLUMNS,
                                          .columns = it->shape->key_dim,
                                          .first = {.a = left + p * CANTO_X_PANEL,
                                                    .row = 1,
                                                    .column = CANTO_COLUMNS,
                                                    .b = right,
                                                    .panel = CANTO_X_PANEL,
                                                    .depth = n},
                                          .keep = keep,
                                          .c = turned + p * CANTO_COLUMNS * CANTO_COLUMNS,
                                          .c_row = CANTO_COLUMNS,
                                          .c_panel = (int64_t)it->columns * CANTO_COLUMNS,
                                          .padded = true};
        canto_product(&product);
    }
}
