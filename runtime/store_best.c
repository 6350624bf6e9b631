// Which committed steps did best on held-out text: one small file beside them, replaced whole.
//
//     best-1                         format
//     evaluated 200                  newest step that was evaluated
//     100 2.3450000000000002 57345   step, loss, bytes that the loss is a mean over; best first
//     xxh3 <32 hexadecimal digits>   of everything before this line
//
// A step in it that is not committed any more counts as not being in it.
#define _GNU_SOURCE
#include "runtime/store.h"
#include "runtime/store_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_BYTES = 96, FILE_MAX = (CANTO_STORE_MARKS_MAX + 4) * LINE_BYTES };

// --- reading ---

static canto_status damaged(const canto_path *path)
{
    CANTO_FAIL(CANTO_ERROR_CHECKPOINT,
               "%s is damaged: no checkpoint is removed while it is there; remove the file to have "
               "the next evaluations choose anew",
               path->text);
}

// The checksum line, and nothing after it.
static bool is_whole(char *text, size_t bytes)
{
    enum { TAIL = 5 + CANTO_HASH_HEX }; // "xxh3 ", the digits and a line end
    if (bytes <= TAIL || strlen(text) != bytes || text[bytes - 1] != '\n') return false;
    char *tail = text + bytes - TAIL;
    canto_hash stored;
    tail[TAIL - 1] = '\0';
    if (strncmp(tail, "xxh3 ", 5) != 0 || !canto_hash_parse(tail + 5, &stored)) return false;
    const canto_hash actual = canto_hash_of(text, (size_t)(tail - text));
    *tail = '\0';
    return canto_hash_equal(&stored, &actual);
}

static bool parse(char *text, canto_store_marks *out)
{
    char *line = strtok(text, "\n");
    if (!line || strcmp(line, "best-1") != 0) return false;
    line = strtok(NULL, "\n");
    if (!line || sscanf(line, "evaluated %" SCNd64, &out->evaluated) != 1) return false;
    while ((line = strtok(NULL, "\n"))) {
        canto_store_mark *mark = &out->list[out->n];
        if (out->n == CANTO_STORE_MARKS_MAX) return false;
        if (sscanf(line, "%" SCNd64 " %lf %" SCNd64, &mark->step, &mark->loss, &mark->bytes) != 3)
            return false;
        out->n++;
    }
    return true;
}

static canto_status read_marks(const char *dir, canto_store_marks *out)
{
    canto_path path;
    void *data;
    size_t bytes;
    *out = (canto_store_marks){.evaluated = -1};
    CANTO_TRY(canto_path_join(dir, "best", &path));
    if (access(path.text, F_OK) != 0 && errno == ENOENT) return CANTO_OK;
    CANTO_TRY(canto_file_read(path.text, -1, FILE_MAX, &data, &bytes));
    const bool good = is_whole(data, bytes) && parse(data, out);
    free(data);
    if (!good) *out = (canto_store_marks){.evaluated = -1};
    return good ? CANTO_OK : damaged(&path);
}

static bool is_in(const int64_t *steps, int count, int64_t step)
{
    for (int i = 0; i < count; i++) {
        if (steps[i] == step) return true;
    }
    return false;
}

canto_status canto_store_best(const char *dir, canto_store_marks *out)
{
    int64_t *steps;
    int count, kept = 0;
    CANTO_TRY(read_marks(dir, out));
    CANTO_TRY(canto_steps_list(dir, &steps, &count));
    for (int i = 0; i < out->n; i++) {
        if (is_in(steps, count, out->list[i].step)) out->list[kept++] = out->list[i];
    }
    free(steps);
    out->n = kept;
    return CANTO_OK;
}

// --- writing ---

static canto_status write_marks(const char *dir, const canto_store_marks *marks)
{
    char text[FILE_MAX], name[CANTO_STEP_NAME], id[CANTO_STORE_ID], hex[CANTO_HASH_HEX];
    canto_path temporary, final;
    CANTO_TRY(canto_store_make_id(id));
    snprintf(name, sizeof name, "best.tmp.%s", id);
    CANTO_TRY(canto_path_join(dir, name, &temporary));
    CANTO_TRY(canto_path_join(dir, "best", &final));
    int n = snprintf(text, sizeof text, "best-1\nevaluated %" PRId64 "\n", marks->evaluated);
    for (int i = 0; i < marks->n; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%" PRId64 " %.17g %" PRId64 "\n",
                      marks->list[i].step, marks->list[i].loss, marks->list[i].bytes);
    const canto_hash hash = canto_hash_of(text, (size_t)n);
    canto_hash_hex(&hash, hex);
    n += snprintf(text + n, sizeof text - (size_t)n, "xxh3 %s\n", hex);
    canto_status status = canto_file_create(temporary.text, text, (size_t)n, NULL);
    if (status == CANTO_OK) status = canto_file_rename(temporary.text, final.text);
    if (status != CANTO_OK) unlink(temporary.text);
    CANTO_TRY(status);
    return canto_directory_sync(dir);
}

static void remove_at(canto_store_marks *marks, int i)
{
    marks->n--;
    memmove(&marks->list[i], &marks->list[i + 1], sizeof *marks->list * (size_t)(marks->n - i));
}

// Losses over other bytes say nothing about this one, and a step has one mark.
static void forget_others(canto_store_marks *marks, const canto_store_mark *mark)
{
    for (int i = marks->n - 1; i >= 0; i--) {
        if (marks->list[i].bytes != mark->bytes || marks->list[i].step == mark->step)
            remove_at(marks, i);
    }
}

// In order of losses; of equal ones the earlier step stays ahead.
static void insert(canto_store_marks *marks, const canto_store_mark *mark, int keep_best)
{
    int at = 0;
    while (at < marks->n && marks->list[at].loss <= mark->loss) at++;
    if (at < CANTO_STORE_MARKS_MAX) {
        if (marks->n == CANTO_STORE_MARKS_MAX) marks->n--; // the worst makes room
        memmove(&marks->list[at + 1], &marks->list[at], sizeof *mark * (size_t)(marks->n - at));
        marks->list[at] = *mark;
        marks->n++;
    }
    if (marks->n > keep_best) marks->n = keep_best;
}

canto_status canto_store_mark_best(const char *dir, const canto_store_mark *mark, int keep_best,
                                   int keep_last, bool *best)
{
    canto_store_marks marks;
    char id[CANTO_STORE_ID];
    *best = false;
    CANTO_CHECK(keep_best >= 0 && keep_best <= CANTO_STORE_MARKS_MAX && keep_last >= 0,
                "cannot keep %d best and %d last checkpoints", keep_best, keep_last);
    CANTO_CHECK(isfinite(mark->loss), "step %lld: a loss of %g marks nothing",
                (long long)mark->step, mark->loss);
    CANTO_TRY(canto_store_best(dir, &marks));
    if (keep_best == 0 && marks.evaluated < 0) return CANTO_OK; // there is no file
    forget_others(&marks, mark);
    insert(&marks, mark, keep_best);
    marks.evaluated = mark->step;
    *best = marks.n > 0 && marks.list[0].step == mark->step;
    CANTO_TRY(canto_store_make_id(id));
    CANTO_TRY(write_marks(dir, &marks));
    canto_steps_retain(dir, mark->step, keep_last, id);
    return CANTO_OK;
}

canto_status canto_store_forget_marks_after(const char *dir, int64_t step)
{
    canto_store_marks marks;
    CANTO_TRY(read_marks(dir, &marks));
    bool changed = marks.evaluated > step;
    if (changed) marks.evaluated = step;
    for (int i = marks.n - 1; i >= 0; i--) {
        if (marks.list[i].step <= step) continue;
        remove_at(&marks, i);
        changed = true;
    }
    return changed ? write_marks(dir, &marks) : CANTO_OK;
}
