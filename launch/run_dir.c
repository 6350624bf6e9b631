// Directories, the lock and config.yaml.
#define _GNU_SOURCE
#include "launch/run_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static canto_status make_dirs(const char *path)
{
    char partial[CANTO_TEXT_MAX];
    snprintf(partial, sizeof partial, "%s", path);
    for (char *slash = strchr(partial + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(partial, 0777) != 0 && errno != EEXIST)
            CANTO_FAIL(CANTO_ERROR_IO, "run.dir: cannot make %s: %s", partial, strerror(errno));
        *slash = '/';
    }
    if (mkdir(partial, 0777) != 0 && errno != EEXIST)
        CANTO_FAIL(CANTO_ERROR_IO, "run.dir: cannot make %s: %s", partial, strerror(errno));
    struct stat info;
    if (stat(partial, &info) != 0 || !S_ISDIR(info.st_mode))
        CANTO_FAIL(CANTO_ERROR_IO, "run.dir: %s is not a directory", partial);
    return CANTO_OK;
}

static canto_status open_on_rank_0(const canto_config *config, canto_job *job, canto_lock *lock)
{
    char takeover[CANTO_MESSAGE_MAX];
    CANTO_TRY(make_dirs(config->run.dir));
    CANTO_TRY(canto_lock_acquire(config->run.dir, lock, takeover));
    if (takeover[0]) canto_log_line(&job->log, "%s", takeover);
    return CANTO_OK;
}

canto_status canto_run_dir_open(const canto_config *config, canto_job *job, canto_lock *lock)
{
    *lock = (canto_lock){0};
    canto_status status = job->world->rank == 0 ? open_on_rank_0(config, job, lock) : CANTO_OK;
    return canto_comm_agree(job->mesh.control, status);
}

// The nearest directory above a path that exists, in place.
static void shorten_to_existing(char *path)
{
    while (access(path, F_OK) != 0) {
        char *slash = strrchr(path, '/');
        if (!slash) strcpy(path, ".");
        if (!slash) return;
        slash[slash == path] = '\0'; // keeps the root
    }
}

canto_status canto_run_dir_look(const canto_config *config)
{
    char path[CANTO_TEXT_MAX];
    struct stat info;
    snprintf(path, sizeof path, "%s", config->run.dir);
    shorten_to_existing(path);
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        CANTO_FAIL(CANTO_ERROR_IO, "run.dir: %s is not a directory", path);
    if (access(path, W_OK | X_OK) != 0)
        CANTO_FAIL(CANTO_ERROR_IO, "run.dir: cannot write in %s: %s", path, strerror(errno));
    return strcmp(path, config->run.dir) == 0 ? canto_lock_look(path) : CANTO_OK;
}

// Contents of a small file, or NULL. Caller frees.
static char *read_file(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file) return NULL;
    char *text = NULL;
    size_t capacity = 0;
    if (getdelim(&text, &capacity, '\0', file) < 0) {
        free(text);
        text = NULL;
    }
    fclose(file);
    return text;
}

static canto_status keep_earlier(const char *dir, const char *path)
{
    char kept[CANTO_TEXT_MAX + 32];
    for (int n = 1; n < 10000; n++) {
        snprintf(kept, sizeof kept, "%s/config.%d.yaml", dir, n);
        if (link(path, kept) == 0) return CANTO_OK;
        if (errno != EEXIST) break;
    }
    CANTO_FAIL(CANTO_ERROR_IO, "%s: cannot keep it as %s: %s", path, kept, strerror(errno));
}

static canto_status write_text(const char *path, const char *text)
{
    char fresh[CANTO_TEXT_MAX + 32];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    FILE *file = fopen(fresh, "we");
    bool good = file && fputs(text, file) >= 0;
    if (file) good = fclose(file) == 0 && good;
    if (!good || rename(fresh, path) != 0)
        CANTO_FAIL(CANTO_ERROR_IO, "%s: cannot write: %s", path, strerror(errno));
    return CANTO_OK;
}

canto_status canto_run_dir_write_config(const canto_config *config)
{
    char path[CANTO_TEXT_MAX + 16];
    snprintf(path, sizeof path, "%s/config.yaml", config->run.dir);
    char *text = canto_config_text(config);
    if (!text) CANTO_FAIL(CANTO_ERROR_MEMORY, "config.yaml: no memory for its text");
    bool exists = access(path, F_OK) == 0;
    char *earlier = read_file(path); // NULL: whatever it is, it is kept unread
    canto_status status = CANTO_OK;
    if (!earlier || strcmp(earlier, text) != 0) {
        if (exists) status = keep_earlier(config->run.dir, path);
        if (status == CANTO_OK) status = write_text(path, text);
    }
    free(earlier);
    free(text);
    return status;
}
