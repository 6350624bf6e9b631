// Tokens are sorted by (logit, token), so that equal logits are always cut and drawn alike.
#include "launch/sample.h"

#include "runtime/rng.h"

#include <math.h>
#include <stdlib.h>

static int by_logit(const void *a, const void *b)
{
    const canto_choice *x = a, *y = b;
    if (x->logit != y->logit) return x->logit < y->logit ? 1 : -1;
    return x->token < y->token ? -1 : 1;
}

int32_t canto_sample(const canto_sampling *how, uint64_t index, int vocab, const float *logits,
                     canto_choice *choices)
{
    for (int32_t i = 0; i < vocab; i++) choices[i] = (canto_choice){.logit = logits[i], .token = i};
    qsort(choices, (size_t)vocab, sizeof *choices, by_logit);
    if (how->temperature == 0) return choices[0].token;
    int n = how->top_k > 0 && how->top_k < vocab ? how->top_k : vocab;
    double total = 0;
    for (int i = 0; i < n; i++)
        total += exp((choices[i].logit - choices[0].logit) / how->temperature);
    double left = canto_rng_uniform(how->seed, CANTO_RNG_SAMPLE, index) * total;
    for (int i = 0; i < n; i++) {
        left -= exp((choices[i].logit - choices[0].logit) / how->temperature);
        if (left < 0) return choices[i].token;
    }
    return choices[n - 1].token;
}
