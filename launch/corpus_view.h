// How a corpus reads its files: a few open descriptors and one buffer. Private to launch/corpus*.c.
#ifndef CANTO_LAUNCH_CORPUS_VIEW_H
#define CANTO_LAUNCH_CORPUS_VIEW_H

#include "launch/corpus.h"

// A file's whole path, for sentences; a long one loses its beginning.
typedef struct canto_corpus_name {
    char text[256];
} canto_corpus_name;
canto_corpus_name canto_corpus_file_name(const canto_corpus *corpus, const canto_corpus_file *file);

canto_status canto_corpus_view_open(canto_corpus *corpus);
void canto_corpus_view_close(canto_corpus *corpus);     // also of one without
int canto_corpus_view_root(const canto_corpus *corpus); // the open directory
// Sets the file's size and reads its first bytes, `bytes` at most.
canto_status canto_corpus_view_head(const canto_corpus *corpus, canto_corpus_file *file,
                                    int64_t bytes, uint8_t *head);
// Bytes of an opened file from `offset` on: `want` > 0 of them, or fewer, but never fewer than 512
// of those wanted. *at is valid until the next call.
canto_status canto_corpus_view_bytes(const canto_corpus *corpus, const canto_corpus_file *file,
                                     int64_t offset, int64_t want, const uint8_t **at,
                                     int64_t *bytes);

#endif
