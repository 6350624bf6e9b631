// What tests of data share: a directory of files that is removed again, texts and llm.c shards in
// it.
#ifndef CANTO_TESTS_LAUNCH_CORPORA_H
#define CANTO_TESTS_LAUNCH_CORPORA_H

#include "launch/corpus.h"

// A new directory under /tmp; remove it with corpora_remove.
void corpora_make(char root[64]);
void corpora_remove(const char *root);

// Writes root/name and the directories on its way.
void corpora_write(const char *root, const char *name, const void *bytes, int64_t n);
void corpora_text(const char *root, const char *name, const char *text);
// A shard of n tokens of `width` 2 or 4 bytes.
void corpora_shard(const char *root, const char *name, int width, int64_t n, const int32_t *tokens);
// The bytes of a shard's header; `fields` magic, version and tokens.
void corpora_header(const int64_t fields[3], uint8_t header[1024]);

// Opens root/name ("": root itself) as data.path.
canto_status corpora_open(const char *root, const char *name, int vocab, const char *separator,
                          int64_t eot, canto_corpus *out);

#endif
