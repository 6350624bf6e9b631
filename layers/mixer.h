// The token mixers of a model: a table of kinds, each a row of parameters over shared kernels, and
// what a configuration may say about one.
#ifndef CANTO_LAYERS_MIXER_H
#define CANTO_LAYERS_MIXER_H

#include "runtime/backend.h"

// How a constant decay is chosen, log_decay = -slope; heads h = 0..H-1 of layer l of L:
//     none             0
//     alibi            2^(-8 (h+1) / H)
//     alibi_layered    2^(-8 (h+1) / H) * (1 - l / (L-1) + 1e-5); for L = 1 the factor is 1 + 1e-5
//     linear_layered   (8 / H) * (1 - l / L) * h
//     retention        -log(1 - 2^(-5-h))
// alibi_layered is the convention of TransNormerLLM's released code: the last layer hardly decays.
// linear_layered is the other one in use: head 0 does not decay. retention is that of RetNet. Heads
// are key/value heads.
typedef enum canto_decay {
    CANTO_DECAY_NONE,
    CANTO_DECAY_ALIBI,
    CANTO_DECAY_ALIBI_LAYERED,
    CANTO_DECAY_LINEAR_LAYERED,
    CANTO_DECAY_RETENTION
} canto_decay;

// Slope of one head, >= 0.
float canto_decay_slope(canto_decay decay, int head, int heads, int layer, int layers);

// What follows the linear read: nothing; RMSNorm of each head without weight; RMSNorm over all
// heads together without weight.
typedef enum canto_output_norm {
    CANTO_OUTPUT_NORM_NONE,
    CANTO_OUTPUT_NORM_HEAD,
    CANTO_OUTPUT_NORM_FULL
} canto_output_norm;

// What the output is multiplied by: nothing, x Wgate, silu(x Wgate).
typedef enum canto_output_gate {
    CANTO_OUTPUT_GATE_NONE,
    CANTO_OUTPUT_GATE_LINEAR,
    CANTO_OUTPUT_GATE_SWISH
} canto_output_gate;

// A row of the table of kinds. Softmax has no further parameters; linear kinds differ only in
// these.
typedef struct canto_mixer_kind {
    const char *name; // as in model.mixers: "softmax", "lightning"
    const char *help; // one line, with the paper
    bool softmax;
    canto_feature feature;         // of q and k
    bool ones;                     // normaliser column by default
    canto_decay decay;             // by default
    canto_output_norm output_norm; // when the normaliser column is off
    canto_output_gate gate;
    bool scale_q;     // q divided by sqrt(key_dim)
    bool gated;       // each key dim of the state decays by a gate of the data's own
    bool rope;        // by default
    int key_parts;    // key_dim by default: d_model / heads, divided by this; 0: 1
    int value_factor; // value_dim by default: key_dim times this; 0: d_model / heads
} canto_mixer_kind;

extern const canto_mixer_kind canto_mixer_kinds[]; // ended by name NULL
const canto_mixer_kind *canto_mixer_kind_find(const char *name);

// One entry of model.mixers.
typedef struct canto_mixer_config {
    char letter; // as used in the pattern
    const canto_mixer_kind *kind;
    int heads, kv_heads;    // 0: those of the model
    int key_dim, value_dim; // 0: as the kind says, mostly d_model / heads
    int64_t window;    // softmax: a token sees itself and window-1 before it; 0: everything before
    canto_decay decay; // linear
    bool normaliser;   // linear: divide by the sum of weights (a column of ones)
    bool rope;         // rotate q and k by global positions
} canto_mixer_config;

// Floats of the state of a linear mixer, all heads together; dims must be resolved.
int64_t canto_mixer_state_count(const canto_mixer_config *mixer);
// Floats of its transition where the data decide it (runtime/backend.h); 0 otherwise.
int64_t canto_mixer_transition_count(const canto_mixer_config *mixer);

#endif
