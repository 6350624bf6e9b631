// What every layer of a model has in common: how it is made, run forward and backward, and run for
// decoding. Internal to layers/.
//
// A layer maps rows of d_model to rows of d_model. It is made once, either for training (with a
// plan: its tokens are the plan's) or for decoding (without: up to `tokens` rows at a time, a
// sequence of up to `capacity`). What the backward pass needs is kept in the step arena, all else
// lies in the work arena, which layers share: whoever makes a layer marks the work arena before
// and releases it afterwards.
#ifndef CANTO_LAYERS_LAYER_H
#define CANTO_LAYERS_LAYER_H

#include "layers/model.h"

// Tokens that what looks at one token at a time runs over together: its scratch is no longer than
// that, and is still in a cache when the next operation reads it.
enum { CANTO_LAYER_ROWS = 1024 };

static inline int64_t canto_layer_rows(int64_t tokens)
{
    return tokens < CANTO_LAYER_ROWS ? tokens : CANTO_LAYER_ROWS;
}

// What layers use while they run.
typedef struct canto_context {
    const canto_device *device; // borrowed: where tensors lie
    canto_params *params;       // borrowed: the model's
    canto_plan *plan;           // borrowed; NULL for decoding
    bool gradients;             // a backward pass follows
    float eps;                  // of norms
    canto_dtype dtype;          // of operands of products
    uint16_t *left, *right;     // operands of a product in bf16, CANTO_LAYER_ROWS rows; or NULL
} canto_context;

// Rotary tables, one for each width of head in use.
typedef struct canto_ropes {
    int n;
    int dims[CANTO_MIXERS_MAX];
    float *tables[CANTO_MIXERS_MAX]; // [tokens or capacity, dim / 2, 2]: cos, sin
} canto_ropes;

// What layers are made with.
typedef struct canto_builder {
    const canto_context *context;     // borrowed, outlives the layers
    const canto_model_config *config; // borrowed, resolved
    canto_arenas *arenas;             // borrowed
    canto_ropes *ropes;               // borrowed, filled on demand
    int64_t tokens;                   // rows of one run at most
    int64_t capacity;                 // tokens of a decoded sequence at most; 0 for training
    int layer;    // which of config->layers; their number for what surrounds the blocks
    bool forgets; // what recall computes again is not kept
} canto_builder;

typedef struct canto_layer canto_layer;

typedef struct canto_layer_ops {
    const char *name;
    // Declares parameters, takes memory. May measure. The layer is freed by free().
    canto_status (*create)(const canto_builder *builder, canto_layer **out);
    // y = layer(x); x, y: [plan->tokens, d_model]. Collective on the context group, as is backward.
    canto_status (*forward)(canto_layer *layer, const float *x, float *y);
    // dx = gradient of x; parameters' gradients +=. x is that of the forward run.
    canto_status (*backward)(canto_layer *layer, const float *x, const float *dy, float *dx);
    // Fills what a builder that forgets did not keep with the same bits as forward did, from its x
    // and what is kept. Local, as is output.
    canto_status (*recall)(canto_layer *layer, const float *x);
    // The last part of forward: y from x and what is kept and recalled.
    void (*output)(canto_layer *layer, const float *x, float *y);
    // y = layer(x) for `tokens` rows that follow `position` earlier ones. Local.
    canto_status (*decode)(canto_layer *layer, int64_t position, int64_t tokens, const float *x,
                           float *y);
    // What one forward, or one backward, sends from this rank under the plan's documents. Pure.
    // NULL: nothing, ever.
    canto_traffic (*traffic)(const canto_layer *layer, bool backward);
} canto_layer_ops;

// Layers embed this as their first member.
struct canto_layer {
    const canto_layer_ops *ops;
    const canto_context *context; // borrowed
    size_t recalled; // mark of the work arena: what recall fills lies before it, scratch behind
};

// The slots, each as a span of the plan's trace.
canto_status canto_layer_forward(canto_layer *layer, const float *x, float *y);
canto_status canto_layer_backward(canto_layer *layer, const float *x, const float *dy, float *dx);
canto_status canto_layer_recall(canto_layer *layer, const float *x);

extern const canto_layer_ops canto_layer_softmax, canto_layer_linear;

// Declares "blocks.LAYER.NAME", or "NAME" around the blocks, in the bucket of the builder's layer.
canto_status canto_builder_param(const canto_builder *builder, const char *name,
                                 const canto_param *how, int *id);
// Floats that the backward pass needs (step arena), or that only this layer's forward pass needs
// when no backward pass follows (work arena).
canto_status canto_builder_keep(const canto_builder *builder, const char *what, int64_t count,
                                float **out);
// The same for what recall can fill: in the work arena when the builder forgets.
canto_status canto_builder_recall(const canto_builder *builder, const char *what, int64_t count,
                                  float **out);
// Floats for the duration of a run (work arena).
canto_status canto_builder_scratch(const canto_builder *builder, const char *what, int64_t count,
                                   float **out);
// Floats that stay from run to run (step arena).
canto_status canto_builder_hold(const canto_builder *builder, const char *what, int64_t count,
                                float **out);
// The rotary table for heads of `dim`, over the plan's positions or 0 .. capacity - 1.
canto_status canto_builder_rope(const canto_builder *builder, int dim, const float **out);

#endif
