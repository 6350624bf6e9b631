// First fit over lifetimes, from alternating ends. Keeps the live slots in order of their rows;
// taking one costs the number of slots that are live at that time.
#include "parallel/slots.h"

#include <string.h>

canto_status canto_slots_create(canto_arena *arena, int64_t rows, int capacity, canto_slots *out)
{
    *out = (canto_slots){.rows = rows, .capacity = capacity};
    return canto_arena_array(arena, "slots", capacity, sizeof *out->live, (void **)&out->live);
}

void canto_slots_reset(canto_slots *slots)
{
    slots->live_n = 0;
    slots->peak = 0;
}

// Forgets what ended before `step`; returns the rows still taken.
static int64_t expire(canto_slots *slots, int step)
{
    int kept = 0;
    int64_t rows = 0;
    for (int i = 0; i < slots->live_n; i++) {
        if (slots->live[i].last < step) continue;
        slots->live[kept] = slots->live[i];
        rows += slots->live[kept].end - slots->live[kept].begin;
        kept++;
    }
    slots->live_n = kept;
    return rows;
}

// Rows of the gap before live slot i (i = live_n: before the end of the buffer).
static int64_t gap(const canto_slots *slots, int i, int64_t *begin, int64_t *end)
{
    *begin = i == 0 ? 0 : slots->live[i - 1].end;
    *end = i == slots->live_n ? slots->rows : slots->live[i].begin;
    return *end - *begin;
}

static void insert(canto_slots *slots, int i, canto_slot slot)
{
    memmove(slots->live + i + 1, slots->live + i,
            (size_t)(slots->live_n - i) * sizeof *slots->live);
    slots->live[i] = slot;
    slots->live_n++;
}

canto_status canto_slots_take(canto_slots *slots, const char *what, int first, int last,
                              int64_t rows, int64_t *row)
{
    const int64_t taken = expire(slots, first);
    if (slots->live_n == slots->capacity)
        CANTO_FAIL(CANTO_ERROR_CAPACITY, "compile: more than %d %s at once in step %d",
                   slots->capacity, what, first);
    const bool from_top = first % 2 != 0;
    for (int n = 0; n <= slots->live_n; n++) {
        const int i = from_top ? slots->live_n - n : n;
        int64_t begin, end;
        if (gap(slots, i, &begin, &end) < rows) continue;
        *row = from_top ? end - rows : begin;
        insert(slots, i, (canto_slot){*row, *row + rows, last});
        if (taken + rows > slots->peak) slots->peak = taken + rows;
        return CANTO_OK;
    }
    CANTO_FAIL(CANTO_ERROR_CAPACITY,
               "compile: no room for %lld rows of %s in step %d: %lld of %lld rows are taken; this "
               "strategy needs larger buffers than two blocks of parts and four of sums",
               (long long)rows, what, first, (long long)taken, (long long)slots->rows);
}
