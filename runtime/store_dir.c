// Names and life of checkpoint directories: prepared, published by rename, trashed by rename.
#define _GNU_SOURCE
#include "runtime/store_dir.h"

#include "runtime/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

// --- names ---

canto_status canto_store_make_id(char id[CANTO_STORE_ID])
{
    uint64_t bits;
    if (getrandom(&bits, sizeof bits, 0) != (ssize_t)sizeof bits) {
        CANTO_FAIL(CANTO_ERROR_IO, "the system gives no random number: %s", strerror(errno));
    }
    snprintf(id, CANTO_STORE_ID, "%016llx", (unsigned long long)bits);
    return CANTO_OK;
}

void canto_step_name(int64_t step, char name[CANTO_STEP_NAME])
{
    snprintf(name, CANTO_STEP_NAME, "step-%08lld", (long long)step);
}

void canto_step_temporary_name(int64_t step, const char *id, char name[CANTO_STEP_NAME])
{
    snprintf(name, CANTO_STEP_NAME, "step-%08lld.tmp.%s", (long long)step, id);
}

static void trash_name(int64_t step, const char *id, char name[CANTO_STEP_NAME])
{
    snprintf(name, CANTO_STEP_NAME, ".trash-step-%08lld.%s", (long long)step, id);
}

static void latest_temporary_name(const char *id, char name[CANTO_STEP_NAME])
{
    snprintf(name, CANTO_STEP_NAME, "latest.tmp.%s", id);
}

// "step-" and a number as canto_step_name writes it; *rest is what follows.
static bool parse_step(const char *name, int64_t *step, const char **rest)
{
    char again[CANTO_STEP_NAME];
    if (strncmp(name, "step-", 5) != 0) return false;
    size_t digits = strspn(name + 5, "0123456789");
    if (digits < 8 || digits > 18) return false;
    *step = strtoll(name + 5, NULL, 10);
    canto_step_name(*step, again);
    *rest = name + 5 + digits;
    return strncmp(again, name, 5 + digits) == 0 && strlen(again) == 5 + digits;
}

bool canto_step_parse(const char *name, int64_t *step)
{
    const char *rest;
    return parse_step(name, step, &rest) && *rest == '\0';
}

static bool is_id(const char *text)
{
    return strlen(text) == CANTO_STORE_ID - 1 &&
           strspn(text, "0123456789abcdef") == CANTO_STORE_ID - 1;
}

static bool is_left_over(const char *name)
{
    const char *rest;
    int64_t step;
    if (strncmp(name, "latest.tmp.", 11) == 0) return is_id(name + 11);
    if (strncmp(name, "best.tmp.", 9) == 0) return is_id(name + 9);
    if (strncmp(name, ".trash-", 7) == 0)
        return parse_step(name + 7, &step, &rest) && rest[0] == '.' && is_id(rest + 1);
    return parse_step(name, &step, &rest) && strncmp(rest, ".tmp.", 5) == 0 && is_id(rest + 5);
}

// --- listing ---

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static canto_status collect_steps(DIR *entries, const char *dir, int64_t **steps, int *count)
{
    int room = 0;
    errno = 0;
    for (const struct dirent *entry; (entry = readdir(entries)); errno = 0) {
        int64_t step;
        if (!canto_step_parse(entry->d_name, &step)) continue;
        if (*count == room) {
            room = room ? 2 * room : 16;
            int64_t *larger = realloc(*steps, (size_t)room * sizeof **steps);
            if (!larger) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory to list %s", dir);
            *steps = larger;
        }
        (*steps)[(*count)++] = step;
    }
    if (errno != 0) CANTO_FAIL(CANTO_ERROR_IO, "cannot list %s: %s", dir, strerror(errno));
    return CANTO_OK;
}

canto_status canto_steps_list(const char *dir, int64_t **steps, int *count)
{
    *steps = NULL;
    *count = 0;
    DIR *entries = opendir(dir);
    if (!entries) {
        if (errno == ENOENT) return CANTO_OK;
        CANTO_FAIL(CANTO_ERROR_IO, "cannot list %s: %s", dir, strerror(errno));
    }
    canto_status status = collect_steps(entries, dir, steps, count);
    closedir(entries);
    if (status != CANTO_OK) {
        free(*steps);
        *steps = NULL;
        *count = 0;
        return status;
    }
    if (*count > 0) qsort(*steps, (size_t)*count, sizeof **steps, ascending);
    return CANTO_OK;
}

// --- an attempt ---

static void remove_left_overs(const char *dir)
{
    DIR *entries = opendir(dir);
    if (!entries) return;
    for (const struct dirent *entry; (entry = readdir(entries));) {
        char path[4096 + 256 + 2];
        if (!is_left_over(entry->d_name)) continue;
        snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
        canto_file_discard(path);
    }
    closedir(entries);
}

static canto_status make_parent(const char *dir)
{
    struct stat info;
    if (stat(dir, &info) == 0) return CANTO_OK;
    canto_path parent;
    CANTO_TRY(canto_path_join(dir, "..", &parent));
    CANTO_TRY(canto_directory_create(dir));
    return canto_directory_sync(parent.text);
}

static canto_status refuse_existing(const char *dir, int64_t step, canto_path *final)
{
    char name[CANTO_STEP_NAME];
    struct stat info;
    canto_step_name(step, name);
    CANTO_TRY(canto_path_join(dir, name, final));
    if (lstat(final->text, &info) == 0) {
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT,
                   "%s exists already, and checkpoints are never replaced: move it away first",
                   final->text);
    }
    return CANTO_OK;
}

canto_status canto_step_prepare(const char *dir, int64_t step, const char *id)
{
    char name[CANTO_STEP_NAME];
    canto_path path;
    CANTO_TRY(make_parent(dir));
    CANTO_TRY(refuse_existing(dir, step, &path));
    remove_left_overs(dir);
    canto_step_temporary_name(step, id, name);
    CANTO_TRY(canto_path_join(dir, name, &path));
    return canto_directory_create(path.text);
}

void canto_step_abandon(const char *dir, int64_t step, const char *id)
{
    char name[CANTO_STEP_NAME];
    char path[4096 + CANTO_STEP_NAME + 2];
    canto_step_temporary_name(step, id, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    canto_file_discard(path);
    latest_temporary_name(id, name);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    canto_file_discard(path);
}

typedef struct {
    canto_path temporary, final, latest_temporary, latest;
} publish_paths;

static canto_status make_publish_paths(const char *dir, int64_t step, const char *id,
                                       publish_paths *out)
{
    char name[CANTO_STEP_NAME];
    CANTO_TRY(refuse_existing(dir, step, &out->final));
    canto_step_temporary_name(step, id, name);
    CANTO_TRY(canto_path_join(dir, name, &out->temporary));
    latest_temporary_name(id, name);
    CANTO_TRY(canto_path_join(dir, name, &out->latest_temporary));
    return canto_path_join(dir, "latest", &out->latest);
}

canto_status canto_step_publish(const char *dir, int64_t step, const char *id)
{
    publish_paths paths;
    char line[CANTO_STEP_NAME];
    CANTO_TRY(make_publish_paths(dir, step, id, &paths));
    canto_step_name(step, line);
    strcat(line, "\n");
    // What can run out of space is written before anything becomes visible.
    CANTO_TRY(canto_file_create(paths.latest_temporary.text, line, strlen(line), NULL));
    CANTO_TRY(canto_directory_sync(paths.temporary.text));
    CANTO_TRY(canto_file_rename(paths.temporary.text, paths.final.text));
    // `latest` may name the step only once the step is durable.
    canto_status status = canto_directory_sync(dir);
    bool named = false;
    if (status == CANTO_OK) {
        status = canto_file_rename(paths.latest_temporary.text, paths.latest.text);
        named = status == CANTO_OK;
    }
    if (named) status = canto_directory_sync(dir);
    if (status == CANTO_OK) return CANTO_OK;
    // No `latest` is better than one that names a missing step; readers list the directory.
    if (named) unlink(paths.latest.text);
    rename(paths.final.text, paths.temporary.text);
    return status;
}

// --- retention ---

static bool trash(const char *dir, int64_t step, const char *id)
{
    char name[CANTO_STEP_NAME];
    char from[4096 + CANTO_STEP_NAME + 2], to[4096 + CANTO_STEP_NAME + 2];
    canto_step_name(step, name);
    snprintf(from, sizeof from, "%s/%s", dir, name);
    trash_name(step, id, name);
    snprintf(to, sizeof to, "%s/%s", dir, name);
    if (rename(from, to) != 0) return false;
    canto_file_discard(to);
    return true;
}

static bool is_marked(const canto_store_marks *marks, int64_t step)
{
    for (int i = 0; i < marks->n; i++) {
        if (marks->list[i].step == step) return true;
    }
    return false;
}

void canto_steps_retain(const char *dir, int64_t step, int keep_last, const char *id)
{
    int64_t *steps;
    int count;
    canto_store_marks marks;
    if (keep_last <= 0) return;
    if (canto_store_best(dir, &marks) != CANTO_OK ||
        canto_steps_list(dir, &steps, &count) != CANTO_OK) {
        canto_error_clear();
        return;
    }
    // Newer ones belong to another course of the run: not ours to remove.
    while (count > 0 && steps[count - 1] > step) count--;
    for (int i = 0; i < count - keep_last; i++) {
        if (!is_marked(&marks, steps[i])) trash(dir, steps[i], id);
    }
    free(steps);
}

// --- another course of the run ---

static canto_status point_latest(const char *dir, int64_t step, const char *id)
{
    char name[CANTO_STEP_NAME], line[CANTO_STEP_NAME];
    canto_path temporary, latest;
    latest_temporary_name(id, name);
    CANTO_TRY(canto_path_join(dir, name, &temporary));
    CANTO_TRY(canto_path_join(dir, "latest", &latest));
    canto_step_name(step, line);
    strcat(line, "\n");
    CANTO_TRY(canto_file_create(temporary.text, line, strlen(line), NULL));
    CANTO_TRY(canto_file_rename(temporary.text, latest.text));
    return canto_directory_sync(dir);
}

static canto_status move_aside(const char *dir, int64_t step, const char *id, canto_store_note note,
                               void *context)
{
    char name[CANTO_STEP_NAME], aside[CANTO_STEP_NAME + 32], sentence[CANTO_MESSAGE_MAX];
    canto_path from, to;
    canto_step_name(step, name);
    snprintf(aside, sizeof aside, "%s.aside.%s", name, id);
    CANTO_TRY(canto_path_join(dir, name, &from));
    CANTO_TRY(canto_path_join(dir, aside, &to));
    CANTO_TRY(canto_file_rename(from.text, to.text));
    snprintf(sentence, sizeof sentence, "%s is set aside as %s in %.300s", name, aside, dir);
    if (note) note(context, sentence);
    return CANTO_OK;
}

// Marks that cannot be read do not keep a run from going on.
static canto_status forget_marks(const char *dir, int64_t step, canto_store_note note,
                                 void *context)
{
    canto_status status = canto_store_forget_marks_after(dir, step);
    if (status != CANTO_ERROR_CHECKPOINT) return status;
    if (note) note(context, canto_error_message());
    canto_error_clear();
    return CANTO_OK;
}

canto_status canto_store_set_aside(const char *dir, int64_t step, canto_store_note note,
                                   void *context)
{
    char id[CANTO_STORE_ID];
    int64_t *steps;
    int count;
    CANTO_TRY(canto_store_make_id(id));
    CANTO_TRY(canto_steps_list(dir, &steps, &count));
    int first = 0;
    while (first < count && steps[first] <= step) first++;
    canto_status status = CANTO_OK;
    if (first == 0 || steps[first - 1] != step) {
        status = canto_error_raise(CANTO_ERROR_ARGUMENT, __FILE__, __LINE__,
                                   "there is no committed step %lld in %s", (long long)step, dir);
    }
    if (status == CANTO_OK && first < count) status = forget_marks(dir, step, note, context);
    // `latest` before the steps, so that it never names one that is not there.
    if (status == CANTO_OK && first < count) status = point_latest(dir, step, id);
    for (int i = first; status == CANTO_OK && i < count; i++) {
        status = move_aside(dir, steps[i], id, note, context);
    }
    if (status == CANTO_OK && first < count) status = canto_directory_sync(dir);
    free(steps);
    return status;
}
