// Decoding on one rank: the same weights, layers and kernels as in training, with caches and states
// in the place of the sequence. A prompt is fed in chunks. Sends nothing.
#include "layers/model.h"
#include "layers/stack.h"

#include <stdlib.h>

struct canto_decoder {
    canto_stack stack;
    int64_t capacity, chunk;
    int64_t position; // tokens fed so far
};

canto_status canto_decoder_create(canto_arenas *arenas, const canto_model_config *config,
                                  const canto_device *device, int64_t capacity, int64_t chunk,
                                  canto_decoder **out)
{
    CANTO_CHECK(capacity > 0 && chunk > 0, "decoder: capacity %lld and chunk %lld must be positive",
                (long long)capacity, (long long)chunk);
    const canto_stack_desc desc = {
        .config = config, .device = device, .tokens = chunk, .capacity = capacity};
    canto_decoder *decoder = calloc(1, sizeof *decoder);
    if (!decoder) CANTO_FAIL(CANTO_ERROR_MEMORY, "decoder: no memory for its description");
    decoder->capacity = capacity;
    decoder->chunk = chunk;
    canto_status status = canto_stack_create(arenas, &desc, &decoder->stack);
    if (status != CANTO_OK) canto_decoder_destroy(&decoder);
    *out = decoder;
    return status;
}

void canto_decoder_destroy(canto_decoder **decoder)
{
    if (!*decoder) return;
    canto_stack_destroy(&(*decoder)->stack);
    free(*decoder);
    *decoder = NULL;
}

canto_params *canto_decoder_params(canto_decoder *decoder)
{
    return &decoder->stack.params;
}

void canto_decoder_reset(canto_decoder *decoder)
{
    decoder->position = 0;
}

static canto_status feed_chunk(canto_decoder *decoder, int64_t tokens_n, const int32_t *tokens)
{
    canto_stack *stack = &decoder->stack;
    CANTO_TRY(canto_stack_embed(stack, tokens_n, tokens));
    for (int i = 0; i < stack->config.layers; i++)
        CANTO_TRY(canto_block_decode(&stack->blocks[i], decoder->position, tokens_n));
    decoder->position += tokens_n;
    return CANTO_OK;
}

canto_status canto_decoder_feed(canto_decoder *decoder, int64_t tokens_n, const int32_t *tokens,
                                float *logits)
{
    const canto_stack *stack = &decoder->stack;
    CANTO_CHECK(tokens_n > 0, "decoder: nothing to feed");
    if (tokens_n > decoder->capacity - decoder->position)
        CANTO_FAIL(CANTO_ERROR_CAPACITY,
                   "decoder: %lld tokens after %lld exceed the capacity of %lld",
                   (long long)tokens_n, (long long)decoder->position, (long long)decoder->capacity);
    int64_t last = 0;
    for (int64_t t = 0; t < tokens_n; t += last) {
        last = tokens_n - t < decoder->chunk ? tokens_n - t : decoder->chunk;
        CANTO_TRY(feed_chunk(decoder, last, tokens + t));
    }
    return canto_head_logits(&stack->context, &stack->head,
                             stack->out + (last - 1) * stack->config.d_model, logits);
}
