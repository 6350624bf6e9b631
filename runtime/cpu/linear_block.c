// Heads, rows and states; see the header.
#include "runtime/cpu/linear_block.h"

int canto_linear_threads(const canto_linear_shape *shape, int64_t tokens)
{
    return canto_linear_is_long(shape, tokens) ? canto_cpu_threads() : 1;
}

canto_linear_head canto_linear_head_make(const canto_linear_shape *shape,
                                         const canto_linear_run *run, int head)
{
    const int group = shape->heads / shape->kv_heads;
    canto_linear_head it = {.shape = shape, .run = run, .head = head};
    it.first = head * group;
    it.last = it.first + group;
    it.columns = canto_linear_columns(shape);
    it.kv_width = canto_linear_kv_width(shape);
    it.key_panels = (shape->key_dim + CANTO_COLUMNS - 1) / CANTO_COLUMNS;
    it.column_panels = (it.columns + CANTO_COLUMNS - 1) / CANTO_COLUMNS;
    return it;
}

canto_left canto_linear_left(const canto_rows *from, const float *rise, bool falls, float *room)
{
    const int columns = from->columns;
    if (!rise && from->dtype == CANTO_F32)
        return (canto_left){(const float *)from->x + from->at, from->stride};
    canto_pack_rows(from, room, columns);
    for (int64_t i = 0; rise && i < (int64_t)from->n * columns; i++)
        room[i] = falls ? room[i] / rise[i] : room[i] * rise[i];
    return (canto_left){room, columns};
}

static int64_t state_at(const canto_linear_head *it)
{
    return (int64_t)it->head * it->shape->key_dim * it->columns;
}

void canto_linear_load_state(const canto_linear_head *it, const float *from, bool turned,
                             float *state)
{
    const int64_t floats = turned ? canto_linear_turned_floats(it) : canto_linear_state_floats(it);
    memset(state, 0, sizeof *state * (size_t)floats);
    if (!from) return;
    const canto_rows rows =
        canto_linear_rows(from + state_at(it), it->columns, 0, it->shape->key_dim, 0, it->columns);
    if (turned)
        canto_pack_transposed(&rows, 1, CANTO_COLUMNS, state, (int64_t)it->columns * CANTO_COLUMNS);
    else
        canto_pack_panels(&rows, NULL, state, (int64_t)it->shape->key_dim * CANTO_COLUMNS);
}

void canto_linear_store_state(const canto_linear_head *it, const float *state, float *to)
{
    const int rows = it->shape->key_dim;
    for (int r = 0; r < rows; r++) {
        float *out = to + state_at(it) + (int64_t)r * it->columns;
        for (int p = 0; p < it->column_panels; p++) {
            const int left = it->columns - p * CANTO_COLUMNS;
            memcpy(out + p * CANTO_COLUMNS, state + ((int64_t)p * rows + r) * CANTO_COLUMNS,
                   sizeof *out * (size_t)(left < CANTO_COLUMNS ? left : CANTO_COLUMNS));
        }
    }
}

void canto_linear_turn(int rows, int columns, const float *from, float *to)
{
    for (int c = 0; c < columns; c += CANTO_COLUMNS) {
        const int left = columns - c;
        const canto_rows panel = {.x = from + (int64_t)c * rows,
                                  .dtype = CANTO_F32,
                                  .stride = CANTO_COLUMNS,
                                  .n = rows,
                                  .columns = left < CANTO_COLUMNS ? left : CANTO_COLUMNS};
        canto_pack_transposed(&panel, 1, CANTO_COLUMNS, to + (int64_t)c * CANTO_COLUMNS,
                              (int64_t)columns * CANTO_COLUMNS);
    }
}

void canto_linear_add_ones(const canto_linear_head *it, int n, float *x)
{
    const int column = it->shape->value_dim;
    float *at = x + column / CANTO_COLUMNS * CANTO_CHUNK * CANTO_COLUMNS + column % CANTO_COLUMNS;
    for (int i = 0; it->shape->ones && i < n; i++) {
        // A panel of its own holds nothing else.
        if (column % CANTO_COLUMNS == 0)
            memset(at + i * CANTO_COLUMNS, 0, sizeof *at * CANTO_COLUMNS);
        at[i * CANTO_COLUMNS] = 1;
    }
}
