// LASP-1: a chain. Each owner adds its segment to the state it received and hands it on.
// Price (W ranks, contiguous): W-1 messages of one state, one after the other; one buffer a
// segment. Sun et al., "Linear Attention Sequence Parallelism", arXiv 2404.02882.
#include "parallel/scan.h"

static void bound(int segments, int mine, int size, int *ops, int *buffers)
{
    (void)segments, (void)size;
    *ops = 3 * mine; // receive, join, send on
    *buffers = mine; // states on their way to the next owner
}

static void generate(canto_fold *fold)
{
    for (int s = 1; s < fold->segments; s++) {
        int holder = fold->owner[s - 1];
        if (s > 1) canto_fold_join(fold, s, holder, 0, s - 1, s);
        canto_fold_move(fold, s, holder, fold->owner[s], 0, s);
    }
}

const canto_transport canto_transport_lasp1 = {
    .name = "lasp1",
    .price = "W-1 messages of one state, in sequence",
    .prunes = true,
    .bound = bound,
    .generate = generate,
};
