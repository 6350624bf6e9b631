// Every column of every kind: name, no help, then softmax, feature, normaliser by default, decay by
// default, norm and gate of the output, queries scaled, gated state, positions by default, what
// divides key_dim, what multiplies value_dim.
#include "tests/ref/mixers.h"

#include <stddef.h>
#include <string.h>

const canto_mixer_kind canto_ref_mixer_kinds[] = {
    // softmax(q k^T / sqrt(d)) v, rotary: arXiv 1706.03762, 2104.09864. The scale is the kernel's.
    {"softmax", NULL, true, CANTO_FEATURE_IDENTITY, false, CANTO_DECAY_NONE, CANTO_OUTPUT_NORM_NONE,
     CANTO_OUTPUT_GATE_NONE, false, false, true, 0, 0},
    // 1 + elu, sum over sum of weights, q / sqrt(d); without the sum a norm of each head: arXiv
    // 2006.16236, 2502.07563.
    {"basic", NULL, false, CANTO_FEATURE_ELU1, true, CANTO_DECAY_NONE, CANTO_OUTPUT_NORM_HEAD,
     CANTO_OUTPUT_GATE_NONE, true, false, false, 0, 0},
    // silu of q and k, no scale, geometric decay that ends with the last layer, norm over the full
    // width, gate without an activation: arXiv 2307.14995, 2405.17381.
    {"lightning", NULL, false, CANTO_FEATURE_SILU, false, CANTO_DECAY_ALIBI_LAYERED,
     CANTO_OUTPUT_NORM_FULL, CANTO_OUTPUT_GATE_LINEAR, false, false, false, 0, 0},
    // q / sqrt(d), rotary, 1 - 2^(-5-h), values twice as wide, norm of each head, swish: arXiv
    // 2307.08621.
    {"retention", NULL, false, CANTO_FEATURE_IDENTITY, false, CANTO_DECAY_RETENTION,
     CANTO_OUTPUT_NORM_HEAD, CANTO_OUTPUT_GATE_SWISH, true, false, true, 0, 2},
    // A gate for each key dim, q / sqrt(d), no positions, keys half as wide, norm of each head,
    // swish: arXiv 2312.06635.
    {"gla", NULL, false, CANTO_FEATURE_IDENTITY, false, CANTO_DECAY_NONE, CANTO_OUTPUT_NORM_HEAD,
     CANTO_OUTPUT_GATE_SWISH, true, true, false, 2, 0},
    {.name = NULL},
};

const canto_mixer_kind *canto_ref_mixer_kind(const char *name)
{
    for (const canto_mixer_kind *kind = canto_ref_mixer_kinds; kind->name; kind++) {
        if (strcmp(kind->name, name) == 0) return kind;
    }
    return NULL;
}
