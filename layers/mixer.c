// The table of mixers and the conventions for constant decays.
#include "layers/mixer.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

const canto_mixer_kind canto_mixer_kinds[] = {
    {.name = "softmax",
     .help = "softmax attention with grouped heads, optional window (Vaswani et al., arXiv "
             "1706.03762)",
     .softmax = true,
     .rope = true},
    {.name = "basic",
     .help = "linear attention with 1 + elu features, divided by the sum of weights (Katharopoulos "
             "et al., arXiv 2006.16236)",
     .feature = CANTO_FEATURE_ELU1,
     .ones = true,
     .decay = CANTO_DECAY_NONE,
     .output_norm = CANTO_OUTPUT_NORM_HEAD,
     .scale_q = true},
    {.name = "lightning",
     .help =
         "linear attention with silu features, constant decay, norm and gate (Qin et al., arXiv "
         "2307.14995, 2405.17381)",
     .feature = CANTO_FEATURE_SILU,
     .decay = CANTO_DECAY_ALIBI_LAYERED,
     .output_norm = CANTO_OUTPUT_NORM_FULL,
     .gate = CANTO_OUTPUT_GATE_LINEAR},
    {.name = "retention",
     .help = "linear attention with rotary positions, constant decay 1 - 2^(-5-h), values twice as "
             "wide as keys, norm of each head and swish gate (Sun et al., arXiv 2307.08621)",
     .feature = CANTO_FEATURE_IDENTITY,
     .decay = CANTO_DECAY_RETENTION,
     .output_norm = CANTO_OUTPUT_NORM_HEAD,
     .gate = CANTO_OUTPUT_GATE_SWISH,
     .scale_q = true,
     .rope = true,
     .value_factor = 2},
    {.name = "gla",
     .help = "gated linear attention: each key dim decays as the input decides, keys half as wide "
             "as values, norm of each head and swish gate (Yang et al., arXiv 2312.06635)",
     .feature = CANTO_FEATURE_IDENTITY,
     .decay = CANTO_DECAY_NONE,
     .output_norm = CANTO_OUTPUT_NORM_HEAD,
     .gate = CANTO_OUTPUT_GATE_SWISH,
     .scale_q = true,
     .gated = true,
     .key_parts = 2},
    {.name = NULL},
};

const canto_mixer_kind *canto_mixer_kind_find(const char *name)
{
    for (const canto_mixer_kind *kind = canto_mixer_kinds; kind->name; kind++) {
        if (strcmp(kind->name, name) == 0) return kind;
    }
    return NULL;
}

float canto_decay_slope(canto_decay decay, int head, int heads, int layer, int layers)
{
    const double alibi = exp2(-8.0 * (head + 1) / heads);
    const double depth = layers > 1 ? (double)layer / (layers - 1) : 0;
    switch (decay) {
    case CANTO_DECAY_NONE:
        break;
    case CANTO_DECAY_ALIBI:
        return (float)alibi;
    case CANTO_DECAY_ALIBI_LAYERED:
        return (float)(alibi * (1 - depth + 1e-5));
    case CANTO_DECAY_LINEAR_LAYERED:
        return (float)(8.0 / heads * (1 - (double)layer / layers) * head);
    case CANTO_DECAY_RETENTION:
        return (float)-log1p(-exp2(-5.0 - head));
    }
    return 0;
}
