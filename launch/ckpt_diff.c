// canto ckpt diff: which keys and tensors differ between two checkpoints. Keeps one run of a tensor
// of each, and while a checkpoint is opened (and verified) one of its shards.
#define _GNU_SOURCE
#include "launch/arguments.h"
#include "launch/checkpoint.h"
#include "launch/command.h"
#include "launch/exit_code.h"
#include "launch/json_print.h"
#include "launch/tensor_diff.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

// A run is read again for each piece of the tensor that it cuts, so it is large.
enum { RUN_BYTES = 64 << 20 };

typedef struct {
    canto_store_reader *readers[2]; // owned
    const char *names[2];           // borrowed from the command line
    char *runs[2];                  // owned, [RUN_BYTES]
    bool json;
    bool differ;   // anything that counts
    int64_t equal; // tensors
    json_t *config, *tensors;
} comparison;

// --- opening ---

// "RUN@STEP", "RUN@best", or "RUN": the newest. Any other '@' belongs to the name.
static canto_status split(const char *argument, char run[CANTO_TEXT_MAX], int64_t *step)
{
    const char *at = strrchr(argument, '@');
    const bool given = at && canto_step_read(at + 1, step);
    const size_t length = given ? (size_t)(at - argument) : strlen(argument);
    if (length == 0 || length >= CANTO_TEXT_MAX)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "'%.80s' names no run", argument);
    if (!given) *step = CANTO_STEP_NEWEST;
    memcpy(run, argument, length);
    run[length] = '\0';
    return CANTO_OK;
}

static canto_status open_one(canto_job *job, const char *argument, canto_store_reader **reader)
{
    char run[CANTO_TEXT_MAX];
    int64_t step;
    CANTO_TRY(split(argument, run, &step));
    return canto_checkpoint_require(job, run, step, reader);
}

static canto_status open_both(canto_job *job, comparison *c)
{
    c->config = json_array();
    c->tensors = json_array();
    for (int i = 0; i < 2; i++) {
        c->runs[i] = malloc(RUN_BYTES);
        if (!c->runs[i]) CANTO_FAIL(CANTO_ERROR_MEMORY, "ckpt diff: no memory");
        CANTO_TRY(open_one(job, c->names[i], &c->readers[i]));
    }
    return CANTO_OK;
}

static void close_both(comparison *c)
{
    for (int i = 0; i < 2; i++) {
        canto_store_close(&c->readers[i]);
        free(c->runs[i]);
    }
    json_decref(c->config);
    json_decref(c->tensors);
}

// --- configuration and position ---

static void note_key(void *context, const char *key, const char *a, const char *b, bool fixed)
{
    comparison *c = context;
    c->differ = c->differ || fixed;
    json_array_append_new(
        c->config, json_pack("{s:s, s:s, s:s, s:b}", "key", key, "a", a, "b", b, "counts", fixed));
    if (!c->json) printf("%-24s %s | %s%s\n", key, a, b, fixed ? "" : "  (free to differ)");
}

// "state" is an object of numbers and words: the fields of one beside those of the other.
static void note_fields(comparison *c, const json_t *from, const json_t *a, const json_t *b,
                        bool all)
{
    const char *name;
    json_t *value; // jansson's walk takes no const
    json_object_foreach((json_t *)from, name, value)
    {
        const json_t *x = json_object_get(a, name), *y = json_object_get(b, name);
        if ((!all && x && y) || (x && y && json_equal(x, y))) continue;
        char *texts[] = {json_dumps(x, JSON_ENCODE_ANY), json_dumps(y, JSON_ENCODE_ANY)};
        char key[64];
        snprintf(key, sizeof key, "state.%.50s", name);
        note_key(c, key, texts[0] ? texts[0] : "none", texts[1] ? texts[1] : "none", true);
        free(texts[0]);
        free(texts[1]);
    }
}

static void compare_states(comparison *c, const char *const texts[2])
{
    if (strcmp(texts[0], texts[1]) == 0) return;
    json_t *a = json_loads(texts[0], 0, NULL), *b = json_loads(texts[1], 0, NULL);
    if (json_is_object(a) && json_is_object(b)) {
        note_fields(c, a, a, b, true);
        note_fields(c, b, a, b, false); // those that only b has
    } else {
        note_key(c, "state", texts[0], texts[1], true);
    }
    json_decref(a);
    json_decref(b);
}

static canto_status compare_config(comparison *c)
{
    canto_config configs[2];
    for (int i = 0; i < 2; i++) CANTO_TRY(canto_checkpoint_config(c->readers[i], &configs[i]));
    CANTO_TRY(canto_config_differences(&configs[0], &configs[1], note_key, c));
    const char *states[2];
    for (int i = 0; i < 2; i++) {
        states[i] = canto_store_text(c->readers[i], "state");
        if (!states[i]) states[i] = "none";
    }
    compare_states(c, states);
    return CANTO_OK;
}

// --- tensors ---

static json_t *note_tensor(comparison *c, const char *name, const char *what)
{
    json_t *object = json_pack("{s:s, s:s}", "name", name, "difference", what);
    json_array_append_new(c->tensors, object);
    c->differ = true;
    return object;
}

static void note_missing(comparison *c, const char *name, int missing)
{
    note_tensor(c, name, missing == 0 ? "only in b" : "only in a");
    if (!c->json) printf("%-36s only in %s\n", name, c->names[1 - missing]);
}

static void note_shapes(comparison *c, const canto_store_tensor both[2])
{
    char text[2][128];
    for (int i = 0; i < 2; i++) canto_store_tensor_text(&both[i], text[i]);
    json_object_update_new(note_tensor(c, both[0].name, "shape"),
                           json_pack("{s:s, s:s}", "a", text[0], "b", text[1]));
    if (!c->json) printf("%-36s %s | %s\n", both[0].name, text[0], text[1]);
}

static void note_values(comparison *c, const char *name, const canto_tensor_diff *d)
{
    if (d->differing == 0) {
        c->equal++;
        return;
    }
    json_object_update_new(
        note_tensor(c, name, "values"),
        json_pack("{s:I, s:I, s:I, s:I, s:f, s:f}", "elements", (json_int_t)d->count, "differing",
                  (json_int_t)d->differing, "first", (json_int_t)d->first, "not_finite",
                  (json_int_t)d->unmeasured, "max_abs", d->max_abs, "max_rel", d->max_rel));
    if (c->json) return;
    printf("%-36s %lld of %lld elements, first %lld, at most %.3g (relative %.3g)", name,
           (long long)d->differing, (long long)d->count, (long long)d->first, d->max_abs,
           d->max_rel);
    if (d->unmeasured > 0) printf(", %lld not finite", (long long)d->unmeasured);
    putchar('\n');
}

static canto_status compare_values(comparison *c, const canto_store_tensor *tensor)
{
    const int64_t room = RUN_BYTES / (int64_t)canto_dtype_bytes(tensor->dtype);
    canto_tensor_diff diff;
    canto_tensor_diff_init(&diff);
    for (int64_t begin = 0; begin < tensor->count; begin += room) {
        const int64_t left = tensor->count - begin;
        const int64_t count = left < room ? left : room;
        for (int i = 0; i < 2; i++)
            CANTO_TRY(canto_store_read(c->readers[i], tensor->name, tensor->dtype, tensor->dims_n,
                                       tensor->dims, begin, count, c->runs[i]));
        canto_tensor_diff_add(&diff, tensor->dtype, count, c->runs[0], c->runs[1]);
    }
    note_values(c, tensor->name, &diff);
    return CANTO_OK;
}

static bool same_shape(const canto_store_tensor both[2])
{
    return both[0].dtype == both[1].dtype && both[0].dims_n == both[1].dims_n &&
           memcmp(both[0].dims, both[1].dims, sizeof both[0].dims) == 0;
}

// Both lists are in order of names: one walk meets all.
static canto_status compare_tensors(comparison *c)
{
    int64_t at[2] = {0, 0};
    const int64_t n[2] = {canto_store_tensors(c->readers[0]), canto_store_tensors(c->readers[1])};
    while (at[0] < n[0] || at[1] < n[1]) {
        canto_store_tensor both[2] = {{.name = NULL}, {.name = NULL}};
        for (int i = 0; i < 2; i++) {
            if (at[i] < n[i]) both[i] = canto_store_tensor_at(c->readers[i], at[i]);
        }
        const int order = !both[0].name   ? 1
                          : !both[1].name ? -1
                                          : strcmp(both[0].name, both[1].name);
        at[0] += order <= 0;
        at[1] += order >= 0;
        if (order != 0)
            note_missing(c, both[order > 0].name, order > 0 ? 0 : 1);
        else if (!same_shape(both))
            note_shapes(c, both);
        else
            CANTO_TRY(compare_values(c, &both[0]));
    }
    return CANTO_OK;
}

// --- the command ---

static void print_end(const comparison *c)
{
    if (!c->json) {
        printf("%s: step %lld | %lld, %lld tensors of equal bits, %zu that differ\n",
               c->differ ? "different" : "equal", (long long)canto_store_step(c->readers[0]),
               (long long)canto_store_step(c->readers[1]), (long long)c->equal,
               json_array_size(c->tensors));
        return;
    }
    json_t *object = json_pack("{s:b, s:[I, I], s:I, s:O, s:O}", "equal", !c->differ, "steps",
                               (json_int_t)canto_store_step(c->readers[0]),
                               (json_int_t)canto_store_step(c->readers[1]), "tensors_equal",
                               (json_int_t)c->equal, "config", c->config, "tensors", c->tensors);
    canto_json_print(object, stdout);
}

static canto_status compare(canto_job *job, comparison *c)
{
    CANTO_TRY(open_both(job, c));
    CANTO_TRY(compare_config(c));
    CANTO_TRY(compare_tensors(c));
    print_end(c);
    return CANTO_OK;
}

int canto_command_ckpt_diff(const canto_arguments *a)
{
    canto_job job;
    canto_config defaults;
    comparison c = {.names = {a->positional[0], a->positional[1]}, .json = a->json};
    canto_status status = canto_config_read(NULL, 0, NULL, &defaults, NULL);
    if (status == CANTO_OK) status = canto_job_open_alone(&defaults, &job);
    if (status != CANTO_OK) return canto_job_refuse(status);
    status = compare(&job, &c);
    close_both(&c);
    return canto_job_close(&job, status, c.differ ? CANTO_EXIT_FOUND : CANTO_EXIT_DONE);
}
