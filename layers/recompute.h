// What a block's backward pass computes again from the block's input instead of keeping it. Never
// made again is what took messages: outputs and log-sum-exp of softmax attention, incoming states
// of linear attention. So every choice sends the same and gives the same bits.
#ifndef CANTO_LAYERS_RECOMPUTE_H
#define CANTO_LAYERS_RECOMPUTE_H

// In growing order: each computes again what those before it do.
typedef enum canto_recompute {
    CANTO_RECOMPUTE_NONE,
    CANTO_RECOMPUTE_ATTENTION, // projections, gates and local passes of the mixer
    CANTO_RECOMPUTE_BLOCK      // the middle of the block and the mlp's hidden arrays, too
} canto_recompute;

// Of the choice with this number, NULL after the last.
const char *canto_recompute_name(int index);
const char *canto_recompute_help(int index);

#endif
