// What is in the files of a corpus is found out once, from sizes and headers; tokens go through one
// buffer. Nothing is sent.
#define _GNU_SOURCE
#include "launch/corpus.h"

#include "launch/corpus_view.h"
#include "parallel/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_BYTES = 1024 };
static const int64_t corpus_max = (int64_t)1 << 53; // so that JSON carries every count exactly

static const struct {
    int64_t magic, version;
    int width;
} formats[] = {{20240520, 1, 2}, {20240801, 7, 4}};
enum { FORMATS = sizeof formats / sizeof *formats };

static int64_t header_field(const uint8_t *header, int index)
{
    const uint8_t *at = header + 4 * index;
    const uint32_t bits =
        (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
    return (int32_t)bits;
}

static int find_format(const uint8_t *header, int64_t bytes)
{
    for (int i = 0; bytes >= 4 && i < FORMATS; i++) {
        if (header_field(header, 0) == formats[i].magic) return i;
    }
    return -1;
}

static bool is_named_bin(const char *name)
{
    size_t length = strlen(name);
    return length >= 4 && strcmp(name + length - 4, ".bin") == 0;
}

// `file` has its size; the header is what its first bytes are.
static canto_status check_shard(const canto_corpus *corpus, int format, const uint8_t *header,
                                canto_corpus_file *file)
{
    canto_corpus_name name = canto_corpus_file_name(corpus, file);
    if (format < 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "%s: %s does not begin as an llm.c shard does (magic 20240520 or 20240801); "
                   "convert it, or rename it if it is text",
                   corpus->desc.key, name.text);
    if (file->bytes < HEADER_BYTES)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "%s: %s is cut off within its header, after %lld bytes",
                   corpus->desc.key, name.text, (long long)file->bytes);
    const int64_t version = header_field(header, 1), tokens = header_field(header, 2);
    if (version != formats[format].version)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "%s: %s is a shard of version %lld; with magic %lld only version %lld is known",
                   corpus->desc.key, name.text, (long long)version,
                   (long long)formats[format].magic, (long long)formats[format].version);
    file->width = formats[format].width;
    file->offset = HEADER_BYTES;
    if (tokens < 0 || file->bytes - HEADER_BYTES != tokens * file->width)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "%s: the header of %s tells %lld tokens of %d bytes, but %lld bytes follow it; "
                   "the file is damaged or not all there",
                   corpus->desc.key, name.text, (long long)tokens, file->width,
                   (long long)(file->bytes - HEADER_BYTES));
    return CANTO_OK;
}

static canto_status look_at(const canto_corpus *corpus, canto_corpus_file *file)
{
    uint8_t header[HEADER_BYTES] = {0};
    CANTO_TRY(canto_corpus_view_head(corpus, file, HEADER_BYTES, header));
    const int format = find_format(header, file->bytes);
    file->width = 1;
    file->offset = 0;
    const bool shard = format >= 0 || is_named_bin(file->name);
    return shard ? check_shard(corpus, format, header, file) : CANTO_OK;
}

static int64_t tokens_of(const canto_corpus_file *file)
{
    return (file->bytes - file->offset) / file->width;
}

static canto_status add_file(canto_corpus *corpus, const char *name)
{
    canto_corpus_file *file = &corpus->files[corpus->files_n];
    *file = (canto_corpus_file){.name = name, .begin = corpus->tokens};
    CANTO_TRY(look_at(corpus, file));
    const int64_t tokens = tokens_of(file);
    if (tokens == 0) return CANTO_OK;
    if (tokens > corpus_max - corpus->tokens)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "%s: %s holds more than 2^53 tokens", corpus->desc.key,
                   corpus->desc.path);
    const bool text = file->width == 1;
    if (corpus->files_n > 0 && text != corpus->text) {
        const char *first = corpus->files[0].name;
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "%s: %s holds both text (%s) and shards of tokens (%s); keep one kind in a "
                   "directory",
                   corpus->desc.key, corpus->desc.path, text ? name : first, text ? first : name);
    }
    corpus->text = text;
    corpus->tokens += tokens;
    corpus->files_n++;
    return CANTO_OK;
}

static canto_status list_files(canto_corpus *corpus)
{
    const canto_corpus_desc *desc = &corpus->desc;
    struct stat info;
    if (stat(desc->path, &info) != 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "%s: cannot open %s: %s", desc->key, desc->path,
                   strerror(errno));
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))
        CANTO_FAIL(CANTO_ERROR_CONFIG, "%s: %s is neither a file nor a directory", desc->key,
                   desc->path);
    corpus->is_directory = S_ISDIR(info.st_mode);
    CANTO_TRY(canto_corpus_view_open(corpus));
    if (!corpus->is_directory) return canto_file_list_add(&corpus->names, desc->path);
    return canto_file_list_make(desc->key, desc->path, canto_corpus_view_root(corpus),
                                &corpus->names);
}

static canto_status check_desc(const canto_corpus *corpus)
{
    const canto_corpus_desc *desc = &corpus->desc;
    if (corpus->text && desc->eot >= 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.eot: %s holds text, whose documents end at data.separator; set data.eot "
                   "to -1",
                   desc->path);
    if (!corpus->text && desc->separator[0] != '\0')
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "data.separator: %s holds tokens, whose documents end at data.eot; leave "
                   "data.separator empty",
                   desc->path);
    if (corpus->text && desc->vocab < 256)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "model.vocab: %d is too small for bytes; use 256 or more",
                   desc->vocab);
    return CANTO_OK;
}

static canto_status open_files(canto_corpus *corpus)
{
    CANTO_TRY(list_files(corpus));
    corpus->files = calloc((size_t)corpus->names.n + 1, sizeof *corpus->files);
    if (!corpus->files)
        CANTO_FAIL(CANTO_ERROR_MEMORY, "%s: no memory for a list of %d files", corpus->desc.key,
                   corpus->names.n);
    for (int i = 0; i < corpus->names.n; i++) CANTO_TRY(add_file(corpus, corpus->names.names[i]));
    if (corpus->tokens == 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "%s: there is nothing to read in %s", corpus->desc.key,
                   corpus->desc.path);
    return check_desc(corpus);
}

canto_status canto_corpus_open(const canto_corpus_desc *desc, canto_corpus *out)
{
    *out = (canto_corpus){.desc = *desc};
    canto_status status = open_files(out);
    if (status != CANTO_OK) canto_corpus_close(out);
    return status;
}

void canto_corpus_close(canto_corpus *corpus)
{
    canto_corpus_view_close(corpus);
    free(corpus->files);
    canto_file_list_free(&corpus->names);
    *corpus = (canto_corpus){0};
}

// --- reading ---

static const canto_corpus_file *file_of(const canto_corpus *corpus, int64_t token)
{
    int low = 0, high = corpus->files_n; // files[low].begin <= token < files[high].begin
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (corpus->files[middle].begin <= token)
            low = middle;
        else
            high = middle;
    }
    return &corpus->files[low];
}

static int64_t token_at(const uint8_t *at, int width)
{
    if (width == 1) return at[0];
    if (width == 2) return at[0] | at[1] << 8;
    return at[0] | at[1] << 8 | at[2] << 16 | (int64_t)at[3] << 24;
}

static canto_status fail_token(const canto_corpus *corpus, const canto_corpus_file *file,
                               int64_t index, int64_t token)
{
    canto_corpus_name name = canto_corpus_file_name(corpus, file);
    CANTO_FAIL(
        CANTO_ERROR_CONFIG,
        "%s: token %lld of %s is %lld, outside of model.vocab %d; set model.vocab to what the "
        "shard was made with",
        corpus->desc.key, (long long)index, name.text, (long long)token, corpus->desc.vocab);
}

// As many of the n tokens from `begin` as one view of one file has: *got.
static canto_status read_some(const canto_corpus *corpus, int64_t begin, int64_t n, int32_t *out,
                              int64_t *got)
{
    const canto_corpus_file *file = file_of(corpus, begin);
    const int64_t first = begin - file->begin, left = tokens_of(file) - first;
    const uint8_t *at;
    int64_t bytes;
    CANTO_TRY(canto_corpus_view_bytes(corpus, file, file->offset + first * file->width,
                                      (n < left ? n : left) * file->width, &at, &bytes));
    *got = bytes / file->width;
    for (int64_t i = 0; i < *got; i++) {
        const int64_t token = token_at(at + i * file->width, file->width);
        if (token >= corpus->desc.vocab) return fail_token(corpus, file, first + i, token);
        out[i] = (int32_t)token;
    }
    return CANTO_OK;
}

canto_status canto_corpus_read(const canto_corpus *corpus, int64_t begin, int64_t n, int32_t *out)
{
    CANTO_CHECK(begin >= 0 && n >= 0 && begin + n <= corpus->tokens,
                "corpus: tokens [%lld, %lld) of %lld", (long long)begin, (long long)(begin + n),
                (long long)corpus->tokens);
    for (int64_t done = 0, got; done < n; done += got) {
        canto_status status = read_some(corpus, begin + done, n - done, out + done, &got);
        if (status != CANTO_OK) {
            memset(out + done, 0, (size_t)(n - done) * sizeof *out);
            return status;
        }
    }
    return CANTO_OK;
}

// --- documents ---

bool canto_corpus_has_separator(const canto_corpus *corpus)
{
    return corpus->desc.separator[0] != '\0' || corpus->desc.eot >= 0;
}

bool canto_corpus_starts_file(const canto_corpus *corpus, int64_t token)
{
    return token < corpus->tokens && file_of(corpus, token)->begin == token;
}

// In text[0, bytes): the place after the first separator, or -1.
static int64_t after_separator(const canto_corpus *corpus, const uint8_t *text, int64_t bytes)
{
    const size_t length = strlen(corpus->desc.separator);
    const uint8_t *found = memmem(text, (size_t)bytes, corpus->desc.separator, length);
    return found ? found - text + (int64_t)length : -1;
}

static int64_t after_eot(const canto_corpus *corpus, int width, const uint8_t *tokens,
                         int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += width) {
        if (token_at(tokens + at, width) == corpus->desc.eot) return at + width;
    }
    return -1;
}

// The place after the first separator that lies in [from, end) of one file, or `end`.
static canto_status search_file(const canto_corpus *corpus, const canto_corpus_file *file,
                                int64_t from, int64_t end, int64_t *out)
{
    // A separator may lie across the end of a view: the next one begins a little earlier.
    const int64_t again = corpus->text ? (int64_t)strlen(corpus->desc.separator) - 1 : 0;
    const int64_t begin = file->offset - file->begin * file->width; // byte of the corpus's token 0
    const int64_t last = begin + end * file->width;
    int64_t bytes = 0;
    *out = end;
    for (int64_t at = begin + from * file->width; at < last; at += bytes - again) {
        const uint8_t *view;
        CANTO_TRY(canto_corpus_view_bytes(corpus, file, at, last - at, &view, &bytes));
        const int64_t found = corpus->text ? after_separator(corpus, view, bytes)
                                           : after_eot(corpus, file->width, view, bytes);
        if (found >= 0) {
            *out = (at + found - begin) / file->width;
            return CANTO_OK;
        }
        if (at + bytes == last) return CANTO_OK;
    }
    return CANTO_OK;
}

canto_status canto_corpus_next(const canto_corpus *corpus, int64_t from, int64_t end, int64_t *out)
{
    *out = end;
    if (from >= end) return CANTO_OK;
    const canto_corpus_file *file = file_of(corpus, from);
    const int64_t next = file->begin + tokens_of(file);
    if (next < end) *out = next;
    if (!canto_corpus_has_separator(corpus)) return CANTO_OK;
    return search_file(corpus, file, from, *out, out);
}

// --- digest ---

static void add_name(canto_digest *digest, const char *name)
{
    const int64_t length = (int64_t)strlen(name);
    canto_digest_add(digest, 1, &length);
    for (int64_t i = 0; i < length; i++) {
        const int64_t letter = (uint8_t)name[i];
        canto_digest_add(digest, 1, &letter);
    }
}

canto_status canto_corpus_digest(const canto_corpus *corpus, uint64_t *out)
{
    enum { PROBES = 4096 };
    canto_digest digest;
    canto_digest_init(&digest);
    canto_digest_add(&digest, 2, (int64_t[]){corpus->tokens, corpus->files_n});
    for (int i = 0; i < corpus->files_n; i++) {
        const canto_corpus_file *file = &corpus->files[i];
        if (corpus->is_directory) add_name(&digest, file->name);
        canto_digest_add(&digest, 3, (int64_t[]){file->begin, file->bytes, file->width});
    }
    for (int64_t i = 0; i < PROBES; i++) {
        int32_t token;
        const int64_t at = corpus->tokens / PROBES * i + corpus->tokens % PROBES * i / PROBES;
        CANTO_TRY(canto_corpus_read(corpus, at, 1, &token));
        canto_digest_add(&digest, 1, &(int64_t){token});
    }
    *out = canto_digest_value(&digest);
    return CANTO_OK;
}
