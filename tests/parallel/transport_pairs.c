// Singles to their neighbours, pairs to everybody, then each rank folds pairs.
#include "tests/parallel/transport_pairs.h"

static void bound(int segments, int mine, int size, int *ops, int *buffers)
{
    *ops = mine * (size + 2) + 3 * segments; // sends, own pairs, singles; receives, joins
    *buffers = 3 * segments;
}

static void generate(canto_fold *fold)
{
    const int *owner = fold->owner;
    const int n = fold->segments;
    for (int s = 1; s < n; s += 2) canto_fold_move(fold, 0, owner[s - 1], owner[s], s - 1, s);
    for (int s = 1; s < n; s += 2) canto_fold_join(fold, 1, owner[s], s - 1, s, s + 1);
    for (int s = 1; s < n; s += 2) {
        for (int rank = 0; rank < fold->size; rank++) {
            if (fold->last[rank] >= 0) canto_fold_move(fold, 2, owner[s], rank, s - 1, s + 1);
        }
    }
    for (int rank = 0; rank < fold->size; rank++) {
        for (int s = 4; s <= fold->last[rank]; s += 2) canto_fold_join(fold, 3, rank, 0, s - 2, s);
        for (int s = 3; s <= fold->last[rank]; s += 2) {
            if (owner[s] == rank) canto_fold_join(fold, 3, rank, 0, s - 1, s);
        }
    }
}

const canto_transport transport_pairs = {
    .name = "pairs",
    .price = "for tests",
    .prunes = true,
    .bound = bound,
    .generate = generate,
};
