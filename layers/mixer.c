// The table of mixers and the two conventions for constant decays.
#include "layers/mixer.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

const canto_mixer_kind canto_mixer_kinds[] = {
    {.name = "softmax",
     .help = "softmax attention with grouped heads, optional window (Vaswani et al., arXiv "
             "1706.03762)",
     .softmax = true},
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
     .gate = true},
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
    }
    return 0;
}
