// Embedding, blocks and head: what training and decoding have in common. Internal to layers/.
#ifndef CANTO_LAYERS_STACK_H
#define CANTO_LAYERS_STACK_H

#include "layers/block.h"
#include "layers/loss.h"

typedef struct canto_stack {
    canto_model_config config;
    canto_context context;
    canto_params params;
    canto_ropes ropes;
    int embedding;       // its parameter, [vocab, d_model]
    canto_block *blocks; // owned, [config.layers]
    canto_head head;
    int32_t *tokens; // [tokens], on the device
    float *x;        // [tokens, d_model]: embedded tokens
    float *out;      // [tokens, d_model]: the last block's output
} canto_stack;

typedef struct canto_stack_desc {
    const canto_model_config *config; // resolved
    const canto_device *device;       // borrowed
    canto_plan *plan;                 // borrowed; NULL for decoding
    bool gradients;
    int64_t tokens;   // rows of one run at most
    int64_t capacity; // for decoding
} canto_stack_desc;

// A stack must not move afterwards: its layers point to its context.
canto_status canto_stack_create(canto_arenas *arenas, const canto_stack_desc *desc,
                                canto_stack *stack);
void canto_stack_destroy(canto_stack *stack); // also of a zeroed or half-made one

// x = embedding of tokens (host memory). CANTO_ERROR_ARGUMENT for a token outside of the
// vocabulary. Local.
canto_status canto_stack_embed(canto_stack *stack, int64_t tokens_n, const int32_t *tokens);

#endif
