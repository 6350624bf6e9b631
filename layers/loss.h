// The end of the model: norm, head, cross-entropy. The head is fused with the loss, so that logits
// exist only for a block of tokens and a tile of the vocabulary at a time. Internal to layers/.
#ifndef CANTO_LAYERS_LOSS_H
#define CANTO_LAYERS_LOSS_H

#include "layers/norm.h"

// Most tokens and most of the vocabulary in one tile of logits: 64 MB, with their gradients as bf16
// numbers where products are of those.
enum { CANTO_LOSS_TOKENS = 256, CANTO_LOSS_COLUMNS = 65536, CANTO_LOSS_COLUMNS_BF16 = 43520 };

typedef struct canto_head {
    canto_norm norm;
    int id; // of the head's matrix, [vocab, d_model]
    int64_t vocab;
    int64_t tokens, columns; // of one tile
    float *normed, *dnormed; // [tokens, d_model]
    float *drows;            // [tokens, d_model]
    float *logits;           // [tokens, columns]
    uint16_t *half_normed;   // [tokens, d_model]; NULL in fp32, as is the next one
    uint16_t *half_logits;   // [tokens, columns], for their gradients
    float *lse, *picked;     // [tokens]
    int32_t *targets;        // [tokens of a run]
    double *sum;             // [1]
} canto_head;

// `embedding` is the parameter that a tied head shares.
canto_status canto_head_create(const canto_builder *builder, int embedding, canto_head *head);

// *loss_sum = sum over targets other than -1 of -log softmax(head(norm(x)))[target], in nats.
// dx NULL, or [tokens, d_model]: gradient of scale * loss_sum, which may take the place of x; then
// the parameters' gradients +=.
// targets are of the host. Local.
canto_status canto_head_loss(const canto_context *context, const canto_head *head, int64_t tokens,
                             const float *x, const int32_t *targets, float scale, float *dx,
                             double *loss_sum);
// logits [vocab], of the host, of one row x. Local.
canto_status canto_head_logits(const canto_context *context, const canto_head *head, const float *x,
                               float *logits);

#endif
