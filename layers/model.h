// A language model: embedding, blocks (norm, mixer, add, norm, SwiGLU, add) named by a pattern
// string, norm, head.
//
// A layer sees its own tokens, a plan (parallel/plan.h) and no ranks. Parameters are the same on
// every rank. All activations live in the step arena at addresses fixed by canto_model_create;
// nothing is allocated afterwards.
#ifndef CANTO_LAYERS_MODEL_H
#define CANTO_LAYERS_MODEL_H

#include "layers/arenas.h"
#include "layers/mixer.h"
#include "layers/params.h"
#include "layers/recompute.h"
#include "parallel/grad.h"
#include "parallel/plan.h"
#include "parallel/traffic.h"

enum { CANTO_PATTERN_MAX = 256, CANTO_MIXERS_MAX = 16, CANTO_LAYERS_MAX = 1024 };

_Static_assert((int)CANTO_MIXERS_MAX <= (int)CANTO_PLAN_MASKS_MAX,
               "every mixer may have its own window");

typedef struct canto_model_config {
    char pattern[CANTO_PATTERN_MAX]; // repeated over the layers: "LLLS"
    int layers;
    int d_model;
    int d_mlp;           // width of the SwiGLU; 0: 8/3 d_model rounded up to a multiple of 32
    int heads, kv_heads; // kv_heads 0: heads
    int vocab;
    bool tied; // the head is the embedding
    double norm_eps;
    double rope_base;
    double init_std;
    int mixers_n;
    canto_mixer_config
        mixers[CANTO_MIXERS_MAX]; // every letter of the pattern is here, predefined ones included
    // Of the operands of matrix products in training and evaluation: fp32, or bf16. Everything else
    // is fp32: results of products, activations, attention, states, norms, parameters and their
    // gradients, the optimizer, the loss. Decoding is fp32.
    canto_dtype dtype;
    canto_recompute recompute; // for training: changes memory and time, and no bit of a result
} canto_model_config;

// Resolves defaults in place (heads, dims, d_mlp) and refuses what cannot be, in a sentence that
// names the key.
canto_status canto_model_config_resolve(canto_model_config *config);
// The mixer of layer `layer`. Config must be resolved.
const canto_mixer_config *canto_model_mixer(const canto_model_config *config, int layer);
// Floats of the largest linear state of any layer with its transition
// (canto_plan_desc.state_count_max).
int64_t canto_model_state_count_max(const canto_model_config *config);

typedef struct canto_model canto_model;

// With gradients false only what evaluation needs is made. Registers the layers' masks in the plan,
// so the plan must be new; the plan's tables for them go to arenas->tables. Run it on measuring
// arenas first, then on real ones. Values are zero until canto_params_init or a checkpoint.
canto_status canto_model_create(canto_arenas *arenas, const canto_model_config *config,
                                canto_plan *plan, const canto_device *device, bool gradients,
                                canto_model **out);
void canto_model_destroy(canto_model **model); // what lies outside the arenas
canto_params *canto_model_params(canto_model *model);

// tokens [plan->tokens] are mine, in shard order, in host memory, as are targets. Collective on the
// context group. Keeps what the backward pass needs. `grad` NULL, or the reducer whose gather of
// the parameters is awaited block by block.
canto_status canto_model_forward(canto_model *model, const int32_t *tokens, canto_grad *grad);
// targets [plan->tokens], -1: not counted. *loss_sum = sum of -log p over my targets (nats). With
// gradients, also starts the backward pass: gradients of scale * loss_sum are added to the head's
// and take the place of the last block's output, so that this is done once after a forward run.
// Local.
canto_status canto_model_loss(canto_model *model, const int32_t *targets, float scale,
                              bool gradients, double *loss_sum);
// Adds all gradients of the last forward run to params->grads. `grad` NULL, or the reducer whose
// buckets start as they become final. Collective on the context group.
canto_status canto_model_backward(canto_model *model, canto_grad *grad);
void canto_model_zero_grads(canto_model *model);
// What the layers send from this rank in one forward, or one backward, run under the plan's
// documents. Pure, local.
canto_traffic canto_model_traffic(const canto_model *model, bool backward);

// --- decoding: one rank, one sequence ---

typedef struct canto_decoder canto_decoder;
// capacity: tokens that the caches hold; chunk: most tokens fed at once.
// Weights in arenas->params, caches and states in arenas->step, scratch in arenas->work. Run it on
// measuring arenas first, then on real ones.
canto_status canto_decoder_create(canto_arenas *arenas, const canto_model_config *config,
                                  const canto_device *device, int64_t capacity, int64_t chunk,
                                  canto_decoder **out);
void canto_decoder_destroy(canto_decoder **decoder);
canto_params *canto_decoder_params(canto_decoder *decoder);
// Appends tokens_n >= 1 tokens to the sequence, any number; logits [vocab] of the last one (both in
// host memory).
// CANTO_ERROR_CAPACITY when the cache is full; then nothing has changed.
canto_status canto_decoder_feed(canto_decoder *decoder, int64_t tokens_n, const int32_t *tokens,
                                float *logits);
// Forgets the sequence.
void canto_decoder_reset(canto_decoder *decoder);

#endif
