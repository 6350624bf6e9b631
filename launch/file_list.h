// The files below a directory, in an order that is the same everywhere. Local.
#ifndef CANTO_LAUNCH_FILE_LIST_H
#define CANTO_LAUNCH_FILE_LIST_H

#include "runtime/status.h"

typedef struct canto_file_list {
    int n, capacity;
    char **names; // owned, and each name: path below the directory
} canto_file_list;

// All regular files below the open directory, sorted by the bytes of their path below it. Files and
// directories whose name begins with '.' are left out, as is what is neither. Symbolic links are
// followed; one that leads nowhere or back to a directory above it, and what cannot be read, is
// CANTO_ERROR_CONFIG naming `key` and the path below `root`. The list must be freed also then.
canto_status canto_file_list_make(const char *key, const char *root, int directory,
                                  canto_file_list *out);
// Takes a copy of the name; CANTO_ERROR_MEMORY.
canto_status canto_file_list_add(canto_file_list *list, const char *name);
void canto_file_list_free(canto_file_list *list); // also of a zeroed one

#endif
