// Files are opened when they are first read and stay open until another one takes their place among
// 16; a file that changed its size since is refused, because what is read would not be what the
// corpus was measured as.
#define _GNU_SOURCE
#include "launch/corpus_view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OPEN_MAX = 16, VIEW_BYTES = 1 << 16, VIEW_LEAST = 512, PATH_BYTES = 4096 };

typedef struct {
    const canto_corpus_file *file; // NULL: free
    int descriptor;
} opened;

struct canto_corpus_view {
    int root; // -1: not a directory
    opened files[OPEN_MAX];
    const canto_corpus_file *file; // whose bytes are in the buffer; NULL: none
    int64_t offset, bytes;
    uint8_t buffer[VIEW_BYTES];
};

canto_corpus_name canto_corpus_file_name(const canto_corpus *corpus, const canto_corpus_file *file)
{
    char full[2 * PATH_BYTES];
    canto_corpus_name name;
    const bool below = corpus->is_directory;
    snprintf(full, sizeof full, "%s%s%s", below ? corpus->desc.path : "", below ? "/" : "",
             file->name);
    const size_t length = strlen(full), room = sizeof name.text - 4;
    snprintf(name.text, sizeof name.text, "%s%.251s", length > room ? "..." : "",
             full + (length > room ? length - room : 0));
    return name;
}

canto_status canto_corpus_view_open(canto_corpus *corpus)
{
    struct canto_corpus_view *view = calloc(1, sizeof *view);
    if (!view)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "%s: no memory for a buffer of %zu bytes", corpus->desc.key,
                   sizeof *view);
    view->root = -1;
    corpus->view = view;
    if (!corpus->is_directory) return CANTO_OK;
    view->root = open(corpus->desc.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (view->root < 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "%s: cannot open %s: %s", corpus->desc.key,
                   corpus->desc.path, strerror(errno));
    return CANTO_OK;
}

void canto_corpus_view_close(canto_corpus *corpus)
{
    struct canto_corpus_view *view = corpus->view;
    if (!view) return;
    for (int i = 0; i < OPEN_MAX; i++) {
        if (view->files[i].file) close(view->files[i].descriptor);
    }
    if (view->root >= 0) close(view->root);
    free(view);
    corpus->view = NULL;
}

int canto_corpus_view_root(const canto_corpus *corpus)
{
    return corpus->view->root;
}

static canto_status fail_file(const canto_corpus *corpus, canto_status code,
                              const canto_corpus_file *file, const char *why)
{
    canto_corpus_name name = canto_corpus_file_name(corpus, file);
    CANTO_FAIL(code, "%s: cannot read %s: %s", corpus->desc.key, name.text, why);
}

static int open_file(const canto_corpus *corpus, const canto_corpus_file *file)
{
    const int root = corpus->is_directory ? corpus->view->root : AT_FDCWD;
    return openat(root, file->name, O_RDONLY | O_CLOEXEC);
}

static canto_status read_at(const canto_corpus *corpus, canto_status code,
                            const canto_corpus_file *file, int descriptor, int64_t offset,
                            int64_t bytes, uint8_t *out)
{
    for (int64_t done = 0; done < bytes;) {
        ssize_t got = pread(descriptor, out + done, (size_t)(bytes - done), offset + done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_file(corpus, code, file, strerror(errno));
        if (got == 0) return fail_file(corpus, code, file, "it has become shorter");
        done += got;
    }
    return CANTO_OK;
}

canto_status canto_corpus_view_head(const canto_corpus *corpus, canto_corpus_file *file,
                                    int64_t bytes, uint8_t *head)
{
    int descriptor = open_file(corpus, file);
    if (descriptor < 0) return fail_file(corpus, CANTO_ERROR_CONFIG, file, strerror(errno));
    struct stat info;
    canto_status status = CANTO_OK;
    if (fstat(descriptor, &info) != 0) {
        status = fail_file(corpus, CANTO_ERROR_CONFIG, file, strerror(errno));
    } else {
        file->bytes = info.st_size;
        status = read_at(corpus, CANTO_ERROR_CONFIG, file, descriptor, 0,
                         bytes < file->bytes ? bytes : file->bytes, head);
    }
    close(descriptor);
    return status;
}

static canto_status descriptor_of(const canto_corpus *corpus, const canto_corpus_file *file,
                                  int *out)
{
    opened *slot = &corpus->view->files[(file - corpus->files) % OPEN_MAX];
    *out = slot->descriptor;
    if (slot->file == file) return CANTO_OK;
    if (slot->file) close(slot->descriptor);
    slot->file = NULL;
    int descriptor = open_file(corpus, file);
    if (descriptor < 0) return fail_file(corpus, CANTO_ERROR_IO, file, strerror(errno));
    struct stat info;
    if (fstat(descriptor, &info) != 0 || info.st_size != file->bytes) {
        close(descriptor);
        return fail_file(corpus, CANTO_ERROR_IO, file, "its size has changed since the start");
    }
    *slot = (opened){file, descriptor};
    *out = descriptor;
    return CANTO_OK;
}

static int64_t min64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

canto_status canto_corpus_view_bytes(const canto_corpus *corpus, const canto_corpus_file *file,
                                     int64_t offset, int64_t want, const uint8_t **at,
                                     int64_t *bytes)
{
    struct canto_corpus_view *view = corpus->view;
    const bool inside = view->file == file && offset >= view->offset;
    int64_t have = inside ? view->offset + view->bytes - offset : 0;
    want = min64(want, VIEW_BYTES);
    if (have < min64(want, VIEW_LEAST)) {
        int descriptor;
        view->file = NULL;
        CANTO_TRY(descriptor_of(corpus, file, &descriptor));
        CANTO_TRY(read_at(corpus, CANTO_ERROR_IO, file, descriptor, offset, want, view->buffer));
        view->file = file;
        view->offset = offset;
        view->bytes = have = want;
    }
    *at = view->buffer + (offset - view->offset);
    *bytes = min64(have, want);
    return CANTO_OK;
}
