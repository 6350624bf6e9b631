// Every rank writes the pieces that its share of the optimizer owns, so that all ranks write
// equally much; any number of ranks reads them.
#include "launch/checkpoint.h"

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

static canto_status write_piece(void *context, const canto_param *param, int64_t begin,
                                int64_t count, float *value, float *first, float *second)
{
    const float *const data[] = {value, first, second};
    for (int i = 0; i < 3; i++) {
        char name[NAME_BYTES];
        tensor_name(name, i, param);
        CANTO_TRY(canto_store_write(context, name, CANTO_F32, param->dims_n, param->dims, begin,
                                    count, data[i]));
    }
    return CANTO_OK;
}

static canto_status write_texts(canto_store_writer *writer, const canto_config *config,
                                int64_t step)
{
    char *text = canto_config_text(config);
    if (!text) CANTO_FAIL(CANTO_ERROR_MEMORY, "checkpoint: no memory for the configuration's text");
    canto_status status = canto_store_write_text(writer, "config", text);
    free(text);
    CANTO_TRY(status);
    char state[128];
    snprintf(state, sizeof state, "{\"step\": %lld, \"samples\": %lld}", (long long)step,
             (long long)(step * config->train.batch * config->train.accumulate));
    return canto_store_write_text(writer, "state", state);
}

static canto_status write_all(canto_trainer *trainer, canto_store_writer *writer, int64_t step)
{
    CANTO_TRY(write_texts(writer, trainer->config, step));
    return canto_optimizer_pieces(&trainer->optimizer, write_piece, writer);
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

static void note_damage(void *context, const char *sentence)
{
    canto_log_line(context, "%s", sentence);
}

canto_status canto_checkpoint_open(canto_job *job, const char *run, int64_t step,
                                   canto_store_reader **reader)
{
    char dir[CANTO_TEXT_MAX + 16];
    canto_checkpoint_dir(run, dir);
    return canto_store_open(job->mesh.control, dir, step, note_damage, &job->log, reader);
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

canto_status canto_checkpoint_read_params(canto_store_reader *reader, canto_params *params)
{
    for (int i = 0; i < params->n; i++) {
        const canto_param *param = &params->list[i];
        char name[NAME_BYTES];
        tensor_name(name, 0, param);
        CANTO_TRY(canto_store_read(reader, name, CANTO_F32, param->dims_n, param->dims, 0,
                                   param->count, params->values + param->begin));
    }
    return CANTO_OK;
}

static canto_status read_piece(void *context, const canto_param *param, int64_t begin,
                               int64_t count, float *value, float *first, float *second)
{
    (void)value;
    float *const data[] = {NULL, first, second};
    for (int i = 1; i < 3; i++) {
        char name[NAME_BYTES];
        tensor_name(name, i, param);
        CANTO_TRY(canto_store_read(context, name, CANTO_F32, param->dims_n, param->dims, begin,
                                   count, data[i]));
    }
    return CANTO_OK;
}

canto_status canto_checkpoint_restore(canto_trainer *trainer, canto_store_reader *reader)
{
    canto_status status = canto_checkpoint_read_params(reader, canto_model_params(trainer->model));
    if (status == CANTO_OK)
        status = canto_optimizer_pieces(&trainer->optimizer, read_piece, reader);
    return canto_comm_agree(trainer->job->mesh.control, status);
}
