// A walk that remembers the directories it is in: meeting one of them again is a loop of links.
#define _GNU_SOURCE
#include "launch/file_list.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct walk {
    const char *key, *root;
    canto_file_list *list;
} walk;

typedef struct place {
    const struct place *above;
    const char *name; // below the root; "": the root itself
    dev_t device;
    ino_t node;
} place;

static canto_status walk_directory(const walk *w, int directory, const place *here);

static bool leads_back(const place *here, const struct stat *info)
{
    for (; here; here = here->above) {
        if (here->device == info->st_dev && here->node == info->st_ino) return true;
    }
    return false;
}

static canto_status fail(const walk *w, const char *name)
{
    CANTO_FAIL(CANTO_ERROR_CONFIG, "%s: cannot read %s/%s: %s", w->key, w->root, name,
               strerror(errno));
}

static canto_status visit_directory(const walk *w, int directory, const char *leaf,
                                    const place *above, const char *name, const struct stat *info)
{
    if (leads_back(above, info))
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "%s: %s/%s is a link that leads back to a directory above it; remove it", w->key,
                   w->root, name);
    int below = openat(directory, leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (below < 0) return fail(w, name);
    const place here = {above, name, info->st_dev, info->st_ino};
    return walk_directory(w, below, &here);
}

static canto_status visit(const walk *w, int directory, const char *leaf, const place *above)
{
    char *name;
    struct stat info;
    if (asprintf(&name, "%s%s%s", above->name, above->name[0] ? "/" : "", leaf) < 0)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "%s: no memory for the names of files", w->key);
    canto_status status = CANTO_OK;
    if (fstatat(directory, leaf, &info, 0) != 0)
        status = fail(w, name);
    else if (S_ISDIR(info.st_mode))
        status = visit_directory(w, directory, leaf, above, name, &info);
    else if (S_ISREG(info.st_mode))
        status = canto_file_list_add(w->list, name);
    free(name);
    return status;
}

// Takes over the descriptor.
static canto_status walk_directory(const walk *w, int directory, const place *here)
{
    DIR *stream = fdopendir(directory);
    if (!stream) {
        close(directory);
        return fail(w, here->name);
    }
    canto_status status = CANTO_OK;
    struct dirent *entry;
    errno = 0;
    while (status == CANTO_OK && (entry = readdir(stream))) {
        if (entry->d_name[0] != '.') status = visit(w, directory, entry->d_name, here);
        errno = 0;
    }
    if (status == CANTO_OK && errno != 0) status = fail(w, here->name);
    closedir(stream);
    return status;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

canto_status canto_file_list_make(const char *key, const char *root, int directory,
                                  canto_file_list *out)
{
    *out = (canto_file_list){0};
    const walk w = {key, root, out};
    struct stat info;
    int again = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (again < 0 || fstat(again, &info) != 0) {
        if (again >= 0) close(again);
        return fail(&w, "");
    }
    const place top = {NULL, "", info.st_dev, info.st_ino};
    CANTO_TRY(walk_directory(&w, again, &top));
    if (out->n > 1) qsort(out->names, (size_t)out->n, sizeof *out->names, by_bytes);
    return CANTO_OK;
}

canto_status canto_file_list_add(canto_file_list *list, const char *name)
{
    if (list->n == list->capacity) {
        int capacity = list->capacity ? 2 * list->capacity : 16;
        char **names = realloc(list->names, sizeof *names * (size_t)capacity);
        if (!names) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for the names of %d files", capacity);
        list->names = names;
        list->capacity = capacity;
    }
    char *copy = strdup(name);
    if (!copy) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for the name of a file");
    list->names[list->n++] = copy;
    return CANTO_OK;
}

void canto_file_list_free(canto_file_list *list)
{
    for (int i = 0; i < list->n; i++) free(list->names[i]);
    free(list->names);
    *list = (canto_file_list){0};
}
