// Every rank writes the pieces that its share of the optimizer owns, so that all ranks write
// equally much; any number of ranks reads them.
#include "launch/checkpoint.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_BYTES = 128 };

static const char *const prefixes[] = {"param/", "adam.first/", "adam.second/"};

void canto_checkpoint_dir(const char *run, char path[CANTO_TEXT_MAX + 16])
{
    snprintf(path, CANTO_TEXT_MAX + 16, "%s/checkpoints", run);
}

static void tensor_name(char name[NAME_BYTES], int which, const canto_param *param)
{
    snprintf(name, NAME_BYTES, "%s%s", prefixes[which], param->name);
}

// What goes between the store, which reads and writes the host's memory, and a device.
typedef struct transfer {
    const canto_device *device; // borrowed
    canto_store_writer *writer; // one of the two is set
    canto_store_reader *reader;
    float *staging; // owned, of the largest piece; NULL: the device's memory is the host's
} transfer;

static canto_status open_transfer(const canto_device *device, int64_t largest, transfer *out)
{
    out->device = device;
    if (device->backend->host_memory) return CANTO_OK;
    out->staging = malloc(sizeof *out->staging * (size_t)largest);
    if (!out->staging && largest > 0)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "checkpoint: no memory for %lld numbers on their way",
                   (long long)largest);
    return CANTO_OK;
}

static int64_t largest_param(const canto_params *params)
{
    int64_t largest = 0;
    for (int i = 0; i < params->n; i++) {
        if (params->list[i].count > largest) largest = params->list[i].count;
    }
    return largest;
}

static canto_status write_tensor(const transfer *t, const char *name, const canto_param *param,
                                 int64_t begin, int64_t count, const float *data)
{
    if (t->staging) {
        CANTO_TRY(canto_device_download(t->device, t->staging, data, sizeof *data * (size_t)count));
        data = t->staging;
    }
    return canto_store_write(t->writer, name, CANTO_F32, param->dims_n, param->dims, begin, count,
                             data);
}

static canto_status read_tensor(const transfer *t, const char *name, const canto_param *param,
                                int64_t begin, int64_t count, float *data)
{
    float *to = t->staging ? t->staging : data;
    CANTO_TRY(
        canto_store_read(t->reader, name, CANTO_F32, param->dims_n, param->dims, begin, count, to));
    if (to == data) return CANTO_OK;
    return canto_device_upload(t->device, data, to, sizeof *data * (size_t)count);
}

static canto_status write_piece(void *context, const canto_param *param, int64_t begin,
                                int64_t count, float *value, float *first, float *second)
{
    const float *const data[] = {value, first, second};
    for (int i = 0; i < 3; i++) {
        char name[NAME_BYTES];
        tensor_name(name, i, param);
        CANTO_TRY(write_tensor(context, name, param, begin, count, data[i]));
    }
    return CANTO_OK;
}

static canto_status count_piece(void *context, const canto_param *param, int64_t begin,
                                int64_t count, float *value, float *first, float *second)
{
    (void)param, (void)begin;
    *(int64_t *)context += count * (int64_t)(sizeof *value + sizeof *first + sizeof *second);
    return CANTO_OK;
}

canto_status canto_checkpoint_bytes(canto_trainer *trainer, int64_t *bytes)
{
    *bytes = 0;
    return canto_optimizer_pieces(&trainer->optimizer, count_piece, bytes);
}

static canto_status write_texts(canto_store_writer *writer, const canto_trainer *trainer,
                                int64_t step)
{
    const canto_config *config = trainer->config;
    char *text = canto_config_text(config);
    if (!text) CANTO_FAIL(CANTO_ERROR_MEMORY, "checkpoint: no memory for the configuration's text");
    canto_status status = canto_store_write_text(writer, "config", text);
    free(text);
    CANTO_TRY(status);
    char state[128];
    snprintf(state, sizeof state,
             "{\"step\": %lld, \"samples\": %lld, \"text\": %s, \"data\": \"%016llx\"}",
             (long long)step, (long long)(step * config->train.batch * config->train.accumulate),
             trainer->data.corpus.text ? "true" : "false",
             (unsigned long long)trainer->data_digest);
    return canto_store_write_text(writer, "state", state);
}

static canto_status write_all(canto_trainer *trainer, canto_store_writer *writer, int64_t step)
{
    transfer t = {.writer = writer};
    CANTO_TRY(write_texts(writer, trainer, step));
    canto_status status =
        open_transfer(trainer->job->device, largest_param(canto_model_params(trainer->model)), &t);
    if (status == CANTO_OK) status = canto_optimizer_pieces(&trainer->optimizer, write_piece, &t);
    free(t.staging);
    return status;
}

canto_status canto_checkpoint_save(canto_trainer *trainer, int64_t step)
{
    char dir[CANTO_TEXT_MAX + 16];
    canto_checkpoint_dir(trainer->config->run.dir, dir);
    canto_comm *control = trainer->job->mesh.control;
    canto_store_writer *writer = NULL;
    CANTO_TRY(canto_store_begin(control, dir, step, &writer));
    canto_status status = canto_comm_agree(control, write_all(trainer, writer, step));
    if (status != CANTO_OK) canto_store_abandon(&writer);
    CANTO_TRY(status);
    return canto_store_commit(&writer, trainer->config->store.keep_last);
}

bool canto_step_read(const char *text, int64_t *step)
{
    const size_t digits = strspn(text, "0123456789");
    if (strcmp(text, "best") == 0) {
        *step = CANTO_STEP_BEST;
        return true;
    }
    if (digits == 0 || digits > 15 || text[digits] != '\0') return false;
    *step = strtoll(text, NULL, 10);
    return true;
}

canto_status canto_checkpoint_mark(canto_trainer *trainer, int64_t step, double loss, int64_t bytes,
                                   bool *best)
{
    const canto_config *config = trainer->config;
    canto_comm *control = trainer->job->mesh.control;
    const canto_store_mark mark = {.step = step, .loss = loss, .bytes = bytes};
    char dir[CANTO_TEXT_MAX + 16];
    canto_status status = CANTO_OK;
    canto_checkpoint_dir(config->run.dir, dir);
    *best = false;
    if (control->rank == 0)
        status = canto_store_mark_best(dir, &mark, config->store.keep_best, config->store.keep_last,
                                       best);
    return canto_comm_agree(control, status);
}

// Rank 0 looks, all learn.
static canto_status share_marks(canto_comm *control, const char *run, int64_t out[2])
{
    canto_store_marks marks = {.evaluated = -1};
    char dir[CANTO_TEXT_MAX + 16];
    canto_checkpoint_dir(run, dir);
    canto_status status = control->rank == 0 ? canto_store_best(dir, &marks) : CANTO_OK;
    CANTO_TRY(canto_comm_agree(control, status));
    out[0] = marks.evaluated;
    out[1] = marks.n > 0 ? marks.list[0].step : -1;
    return canto_comm_bcast(control, 0, canto_tensor_vector(CANTO_I64, out, 2));
}

canto_status canto_checkpoint_evaluated(canto_job *job, const canto_config *config, int64_t *step)
{
    int64_t marks[2] = {-1, -1};
    if (config->store.keep_best > 0)
        CANTO_TRY(share_marks(job->mesh.control, config->run.dir, marks));
    *step = marks[0];
    return CANTO_OK;
}

static canto_status find_best(canto_job *job, const char *run, int64_t *step)
{
    int64_t marks[2];
    CANTO_TRY(share_marks(job->mesh.control, run, marks));
    *step = marks[1];
    if (*step >= 0) return CANTO_OK;
    CANTO_FAIL(CANTO_ERROR_CHECKPOINT,
               "%s has no best checkpoint: set train.eval_every, and store.keep_best above 0", run);
}

static void note_damage(void *context, const char *sentence)
{
    canto_log_line(context, "%s", sentence);
}

canto_status canto_checkpoint_open(canto_job *job, const char *run, int64_t step,
                                   canto_store_reader **reader)
{
    char dir[CANTO_TEXT_MAX + 16];
    canto_checkpoint_dir(run, dir);
    if (step == CANTO_STEP_BEST) CANTO_TRY(find_best(job, run, &step));
    return canto_store_open(job->mesh.control, dir, step, note_damage, &job->log, reader);
}

canto_status canto_checkpoint_require(canto_job *job, const char *run, int64_t step,
                                      canto_store_reader **reader)
{
    CANTO_TRY(canto_checkpoint_open(job, run, step, reader));
    return *reader ? CANTO_OK : canto_checkpoint_none(run);
}

canto_status canto_checkpoint_none(const char *run)
{
    CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "%s holds no checkpoint; train first", run);
}

canto_status canto_checkpoint_set_aside(canto_job *job, const char *run, int64_t step)
{
    char dir[CANTO_TEXT_MAX + 16];
    canto_checkpoint_dir(run, dir);
    return canto_store_set_aside(dir, step, note_damage, &job->log);
}

canto_status canto_checkpoint_config(const canto_store_reader *reader, canto_config *out)
{
    const char *text = canto_store_text(reader, "config");
    if (!text)
        CANTO_FAIL(CANTO_ERROR_CHECKPOINT, "checkpoint of step %lld holds no configuration",
                   (long long)canto_store_step(reader));
    canto_config_source *source = NULL;
    canto_status status =
        canto_config_parse("stored configuration", text, strlen(text), out, &source);
    canto_config_source_destroy(&source);
    return status;
}

static canto_status read_params(const transfer *t, canto_params *params)
{
    for (int i = 0; i < params->n; i++) {
        const canto_param *param = &params->list[i];
        char name[NAME_BYTES];
        tensor_name(name, 0, param);
        CANTO_TRY(read_tensor(t, name, param, 0, param->count, params->values + param->begin));
    }
    return CANTO_OK;
}

// The caller's; NULL: there is none.
static json_t *state_of(const canto_store_reader *reader)
{
    const char *state = canto_store_text(reader, "state");
    return state ? json_loads(state, 0, NULL) : NULL;
}

bool canto_checkpoint_of_text(const canto_store_reader *reader)
{
    json_t *object = state_of(reader);
    const bool text = !json_is_false(json_object_get(object, "text"));
    json_decref(object);
    return text;
}

canto_status canto_checkpoint_read_params(canto_store_reader *reader, canto_params *params)
{
    transfer t = {.reader = reader};
    canto_status status = open_transfer(params->device, largest_param(params), &t);
    if (status == CANTO_OK) status = read_params(&t, params);
    free(t.staging);
    return status;
}

static canto_status read_piece(void *context, const canto_param *param, int64_t begin,
                               int64_t count, float *value, float *first, float *second)
{
    (void)value;
    float *const data[] = {NULL, first, second};
    for (int i = 1; i < 3; i++) {
        char name[NAME_BYTES];
        tensor_name(name, i, param);
        CANTO_TRY(read_tensor(context, name, param, begin, count, data[i]));
    }
    return CANTO_OK;
}

// A sample is a function of the data as well as of its number: other data would be another run.
// Checkpoints of before this was stored are taken as they are.
static canto_status check_data(const canto_trainer *trainer, const canto_store_reader *reader)
{
    char now[32];
    json_t *object = state_of(reader);
    const char *stored = json_string_value(json_object_get(object, "data"));
    snprintf(now, sizeof now, "%016llx", (unsigned long long)trainer->data_digest);
    const bool same = !stored || strcmp(stored, now) == 0;
    json_decref(object);
    if (same) return CANTO_OK;
    CANTO_FAIL(CANTO_ERROR_CONFIG,
               "data.path: %s is not what it was when this run began; put the files back, or start "
               "another run.dir",
               trainer->config->data.path);
}

static canto_status restore(canto_trainer *trainer, canto_store_reader *reader)
{
    CANTO_TRY(check_data(trainer, reader));
    canto_params *params = canto_model_params(trainer->model);
    transfer t = {.reader = reader};
    canto_status status = open_transfer(params->device, largest_param(params), &t);
    if (status == CANTO_OK) status = read_params(&t, params);
    if (status == CANTO_OK) status = canto_optimizer_pieces(&trainer->optimizer, read_piece, &t);
    free(t.staging);
    return status;
}

canto_status canto_checkpoint_restore(canto_trainer *trainer, canto_store_reader *reader)
{
    return canto_comm_agree(trainer->job->mesh.control, restore(trainer, reader));
}
