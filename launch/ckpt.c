// canto ckpt: what checkpoints a run has, and whether every byte of them is as it was written.
#define _GNU_SOURCE
#include "launch/arguments.h"
#include "launch/checkpoint.h"
#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/json_print.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES_MAX = 4096 };

typedef struct {
    char dir[CANTO_TEXT_MAX + 16];
    int n;
    canto_store_entry *entries; // owned, [ENTRIES_MAX]
    canto_store_marks marks;
    canto_status damage; // of the marks: told when all else is
    char told[CANTO_MESSAGE_MAX];
} listing;

// The steps of a run, or of them the one asked for.
static canto_status read_listing(const canto_arguments *a, listing *out)
{
    const char *run = a->positional[0];
    if (access(run, F_OK) != 0)
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s holds no run: %s", run, strerror(errno));
    canto_checkpoint_dir(run, out->dir);
    if (access(out->dir, F_OK) != 0) return canto_checkpoint_none(run);
    out->entries = calloc(ENTRIES_MAX, sizeof *out->entries);
    if (!out->entries) CANTO_FAIL(CANTO_ERROR_MEMORY, "ckpt: no memory");
    CANTO_TRY(canto_store_list(out->dir, ENTRIES_MAX, out->entries, &out->n));
    out->damage = canto_store_best(out->dir, &out->marks);
    if (out->damage != CANTO_OK) snprintf(out->told, sizeof out->told, "%s", canto_error_message());
    canto_error_clear();
    const int64_t best = out->marks.n > 0 ? out->marks.list[0].step : CANTO_STEP_BEST;
    const int64_t wanted = a->step == CANTO_STEP_BEST ? best : a->step;
    const int all = out->n < ENTRIES_MAX ? out->n : ENTRIES_MAX;
    out->n = 0;
    for (int i = 0; i < all; i++) {
        if (wanted == CANTO_STEP_NEWEST || wanted == out->entries[i].step)
            out->entries[out->n++] = out->entries[i];
    }
    return CANTO_OK;
}

// Place among the best, from 1; 0: not marked.
static int place_of(const listing *l, int64_t step)
{
    for (int i = 0; i < l->marks.n; i++) {
        if (l->marks.list[i].step == step) return i + 1;
    }
    return 0;
}

static json_t *entry_json(const listing *l, const canto_store_entry *e)
{
    const int place = place_of(l, e->step);
    json_t *object =
        json_pack("{s:I, s:i, s:i, s:I, s:s}", "step", (json_int_t)e->step, "shards", e->shards,
                  "tensors", e->tensors, "bytes", (json_int_t)e->bytes, "time", e->time);
    if (place > 0)
        json_object_update_new(object, json_pack("{s:i, s:f}", "best", place, "held_out_loss",
                                                 l->marks.list[place - 1].loss));
    return object;
}

static canto_status list(const listing *l, const canto_arguments *a)
{
    if (a->json) {
        json_t *array = json_array();
        for (int i = 0; i < l->n; i++) json_array_append_new(array, entry_json(l, &l->entries[i]));
        canto_json_print(array, stdout);
        return CANTO_OK;
    }
    printf("%10s %7s %8s %12s  %s\n", "step", "shards", "tensors", "bytes", "written (UTC)");
    for (int i = 0; i < l->n; i++) {
        const canto_store_entry *e = &l->entries[i];
        const int place = place_of(l, e->step);
        printf("%10lld %7d %8d %12lld  %-20s", (long long)e->step, e->shards, e->tensors,
               (long long)e->bytes, e->time);
        if (place > 0) printf("  best %d, loss %.4f nats", place, l->marks.list[place - 1].loss);
        putchar('\n');
    }
    return CANTO_OK;
}

// Their own sentences were told.
static canto_status damaged(const listing *l, int bad, canto_status status)
{
    char sentence[CANTO_MESSAGE_MAX];
    snprintf(sentence, sizeof sentence,
             "of %d checked in %.300s, not good: %d; a run continues from its newest good one",
             l->n, l->dir, bad);
    canto_error_adopt(sentence);
    return status;
}

// Every chosen step is checked and told of; the status is that of the first bad one.
static canto_status verify(const listing *l, const canto_arguments *a)
{
    canto_status worst = CANTO_OK;
    int bad = 0;
    json_t *array = json_array();
    for (int i = 0; i < l->n; i++) {
        int64_t step = l->entries[i].step;
        canto_status status = canto_store_verify(l->dir, step);
        const char *verdict = status == CANTO_OK ? "good" : canto_error_message();
        if (!a->json) printf("%10lld  %s\n", (long long)step, verdict);
        json_array_append_new(array, json_pack("{s:I, s:b, s:s}", "step", (json_int_t)step, "good",
                                               status == CANTO_OK, "verdict", verdict));
        if (status != CANTO_OK && worst == CANTO_OK) worst = status;
        bad += status != CANTO_OK;
        canto_error_clear();
    }
    if (a->json)
        canto_json_print(array, stdout);
    else
        json_decref(array);
    if (l->n == 0) CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s holds no such checkpoint", l->dir);
    return bad > 0 ? damaged(l, bad, worst) : CANTO_OK;
}

static int for_listing(const canto_arguments *a,
                       canto_status (*tell)(const listing *, const canto_arguments *))
{
    listing l = {0};
    canto_status status = read_listing(a, &l);
    if (status == CANTO_OK) status = tell(&l, a);
    if (status == CANTO_OK && l.damage != CANTO_OK) {
        canto_error_adopt(l.told);
        status = l.damage;
    }
    free(l.entries);
    return status == CANTO_OK ? CANTO_EXIT_DONE : canto_job_refuse(status);
}

int canto_command_ckpt_ls(const canto_arguments *arguments)
{
    return for_listing(arguments, list);
}

int canto_command_ckpt_verify(const canto_arguments *arguments)
{
    return for_listing(arguments, verify);
}
