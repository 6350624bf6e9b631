// The tokens that a run reads, as they lie in files: a text, an llm.c shard, or all files below a
// directory, one after the other, sorted by the bytes of their path. A text's tokens are its bytes.
// A shard has a header of 256 little-endian int32, of which the first three are magic, version and
// number of tokens:
//
//     magic 20240520, version 1    uint16 tokens
//     magic 20240801, version 7    uint32 tokens
//
// A file is a shard if its name ends in .bin or it begins with such a magic. Files are untrusted:
// what a header says is compared with the file's size, and every token that is read with the
// vocabulary.
//
// Nothing is kept in memory but names and sizes of files and one buffer of 64 KiB, however long the
// corpus is; tokens are read when they are asked for. All functions are local. Reading allocates
// nothing; a corpus is read by one thread.
#ifndef CANTO_LAUNCH_CORPUS_H
#define CANTO_LAUNCH_CORPUS_H

#include "launch/file_list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct canto_corpus_desc {
    const char *key; // stands in sentences: "data.path"
    const char *path;
    int vocab;
    const char *separator; // text: bytes after which a document ends; "": none
    int64_t eot;           // shards: token after which a document ends; -1: none
} canto_corpus_desc;

typedef struct canto_corpus_file {
    const char *name; // borrowed from the list
    int64_t begin;    // number of its first token in the corpus
    int64_t bytes;    // its size
    int offset;       // bytes before its first token
    int width;        // bytes of a token: 1, 2 or 4
} canto_corpus_file;

typedef struct canto_corpus {
    canto_corpus_desc desc;   // borrowed strings
    bool text;                // tokens are bytes
    bool is_directory;        // names of files are below desc.path; else the file is desc.path
    int64_t tokens;           // in all files
    int files_n;              // files with tokens; empty ones are left out
    canto_corpus_file *files; // owned
    canto_file_list names;    // owned
    struct canto_corpus_view *view; // owned: descriptors and the buffer
} canto_corpus;

// CANTO_ERROR_CONFIG in a sentence with key and file: no such file, nothing in it, a header or size
// that is wrong, text and shards in one directory, a separator for shards or an eot for text, a
// vocabulary too small for bytes.
canto_status canto_corpus_open(const canto_corpus_desc *desc, canto_corpus *out);
void canto_corpus_close(canto_corpus *corpus); // also of a zeroed one

// Tokens [begin, begin + n) of the corpus into out. CANTO_ERROR_CONFIG naming file and index for a
// token outside of the vocabulary, CANTO_ERROR_IO if a file is not what it was; out is then filled
// up with 0.
canto_status canto_corpus_read(const canto_corpus *corpus, int64_t begin, int64_t n, int32_t *out);
// The first start of a document in (from, end), or end: the place after a separator or eot that
// lies in [from, end), or the first token of a file. Reads only if there is a separator or eot.
canto_status canto_corpus_next(const canto_corpus *corpus, int64_t from, int64_t end, int64_t *out);
bool canto_corpus_starts_file(const canto_corpus *corpus, int64_t token);
// Whether a document can start elsewhere than at a file's first token.
bool canto_corpus_has_separator(const canto_corpus *corpus);

// Of names, sizes and 4096 tokens spread evenly: tells two corpora apart, not every change.
canto_status canto_corpus_digest(const canto_corpus *corpus, uint64_t *out);

#endif
