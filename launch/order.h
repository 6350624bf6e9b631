// The order in which the documents of a corpus are read: another permutation in every epoch, each a
// pure function of (seed, epoch). Two readings of it:
//
// packed  All documents in the epoch's order, one after the other, and epoch after epoch: one
// endless
//         stream, whose position p is looked up. Every token stands in it once an epoch.
// cut     A document of length L >= n, the length of a sequence, is cut into ceil((L - 1) / n)
// pieces
//         of n tokens; the last one begins at L - n and so repeats tokens of the one before, for
//         context. Pieces of all documents in the epoch's order. Shorter documents are left out.
//
// Memory is 8 bytes a document and two tables of 1/8 byte a document. Local.
#ifndef CANTO_LAUNCH_ORDER_H
#define CANTO_LAUNCH_ORDER_H

#include "launch/config.h"
#include "launch/corpus.h"
#include "launch/permutation.h"

typedef struct canto_order {
    canto_data_order kind;
    uint64_t seed;
    int64_t seq_len;
    int64_t documents;
    int64_t *starts;                   // owned, [documents + 1]: in the corpus
    int64_t pieces;                    // cut: in an epoch
    int64_t left_out, left_out_tokens; // cut: documents shorter than a sequence
    struct canto_order_epoch *epochs;  // owned: tables of the two epochs read last
} canto_order;

// Reads tokens [0, tokens) of the corpus once, from beginning to end, if it has separators.
// CANTO_ERROR_CONFIG if no document is long enough to be cut. A `kind` of windows has no order and
// reads nothing.
canto_status canto_order_open(const canto_corpus *corpus, int64_t tokens, canto_data_order kind,
                              int64_t seed, int64_t seq_len, canto_order *out);
void canto_order_close(canto_order *order); // also of a zeroed one

// A place in the packed stream.
typedef struct canto_order_place {
    int64_t epoch, number; // the epoch's document number `number`
    int64_t document, offset;
} canto_order_place;
void canto_order_find(const canto_order *order, int64_t position, canto_order_place *out);
void canto_order_advance(const canto_order *order,
                         canto_order_place *place); // to the next document

// Piece `index` of all epochs: tokens [begin, begin + n) of the document are read, those from
// begin + `fresh` on were in no piece before.
typedef struct canto_order_piece {
    int64_t document, begin, fresh;
} canto_order_piece;
void canto_order_find_piece(const canto_order *order, int64_t index, canto_order_piece *out);

int64_t canto_order_length(const canto_order *order, int64_t document); // in tokens
uint64_t canto_order_digest(const canto_order *order);

#endif
