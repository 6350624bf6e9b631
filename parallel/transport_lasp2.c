// LASP-2: an all-gather. Every summary goes to every other rank that holds segments, all at once,
// the nearest following rank first; then each rank folds by itself, in order of position.
// Price (W ranks, contiguous): W(W-1) messages of one summary in one step; a buffer a segment.
// Sun et al., "LASP-2", arXiv 2502.07563.
#include "parallel/scan.h"

static void bound(int segments, int mine, int size, int *ops, int *buffers)
{
    *ops = mine * (size - 1) + 2 * segments; // sends; receives, joins
    *buffers = segments; // summaries of others; a running state on the way to each of mine
}

static void generate(canto_fold *fold)
{
    for (int distance = 1; distance < fold->size; distance++) {
        for (int s = 0; s < fold->segments; s++) {
            int to = (fold->owner[s] + distance) % fold->size;
            if (fold->last[to] >= 0) canto_fold_move(fold, 0, fold->owner[s], to, s, s + 1);
        }
    }
    for (int rank = 0; rank < fold->size; rank++) {
        for (int s = 2; s <= fold->last[rank]; s++) canto_fold_join(fold, 1, rank, 0, s - 1, s);
    }
}

const canto_transport canto_transport_lasp2 = {
    .name = "lasp2",
    .price = "W(W-1) messages of one summary, at once",
    .bound = bound,
    .generate = generate,
};
