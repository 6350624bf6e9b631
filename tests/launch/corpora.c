#define _GNU_SOURCE
#include "tests/launch/corpora.h"

#include "tests/canto_test.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void corpora_make(char root[64])
{
    strcpy(root, "/tmp/canto_corpora_XXXXXX");
    assert_non_null(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)walk;
    if (kind == FTW_DNR) chmod(path, 0700);
    return remove(path);
}

void corpora_remove(const char *root)
{
    assert_int_equal(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void corpora_write(const char *root, const char *name, const void *bytes, int64_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, (size_t)n, file), n);
    assert_int_equal(fclose(file), 0);
}

void corpora_text(const char *root, const char *name, const char *text)
{
    corpora_write(root, name, text, (int64_t)strlen(text));
}

static void put(uint8_t *at, int width, int64_t value)
{
    for (int i = 0; i < width; i++) at[i] = (uint8_t)(value >> 8 * i);
}

void corpora_header(const int64_t fields[3], uint8_t header[1024])
{
    memset(header, 0, 1024);
    for (int i = 0; i < 3; i++) put(header + 4 * i, 4, fields[i]);
}

void corpora_shard(const char *root, const char *name, int width, int64_t n, const int32_t *tokens)
{
    const int64_t narrow[] = {20240520, 1, n}, wide[] = {20240801, 7, n};
    uint8_t *bytes = malloc(1024 + (size_t)(n * width));
    assert_non_null(bytes);
    corpora_header(width == 2 ? narrow : wide, bytes);
    for (int64_t i = 0; i < n; i++) put(bytes + 1024 + i * width, width, tokens[i]);
    corpora_write(root, name, bytes, 1024 + n * width);
    free(bytes);
}

canto_status corpora_open(const char *root, const char *name, int vocab, const char *separator,
                          int64_t eot, canto_corpus *out)
{
    static char paths[8][512]; // borrowed by the corpora that are open at a time
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s%s%s", root, name[0] ? "/" : "", name);
    const canto_corpus_desc desc = {
        .key = "data.path", .path = path, .vocab = vocab, .separator = separator, .eot = eot};
    return canto_corpus_open(&desc, out);
}
