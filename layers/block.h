// A block of the model: mid = x + mixer(norm(x)), out = mid + mlp(norm(mid)). Internal to layers/.
#ifndef CANTO_LAYERS_BLOCK_H
#define CANTO_LAYERS_BLOCK_H

#include "layers/mlp.h"
#include "layers/norm.h"

typedef struct canto_block {
    canto_norm norm1, norm2;
    canto_layer *mixer; // owned
    canto_mlp mlp;
    canto_recompute recompute;
    float *x, *mid, *out;    // [T, d_model]; x is borrowed
    float *normed, *dnormed; // [T, d_model], scratch; the second is of no use before mid is of none
    float *drows;            // [rows, d_model], scratch
} canto_block;

// The builder's layer names the block. `x` is where its input will lie. When no backward pass
// follows, out is x again and mid is `spare`; otherwise both are new.
canto_status canto_block_create(const canto_builder *builder, float *x, float *spare,
                                canto_block *block);
void canto_block_destroy(canto_block *block); // also of a zeroed block

// Collective on the context group. dstream: the gradient of out, which becomes that of x.
canto_status canto_block_forward(canto_block *block);
canto_status canto_block_backward(canto_block *block, float *dstream);
// Local.
canto_status canto_block_decode(canto_block *block, int64_t position, int64_t tokens);

#endif
