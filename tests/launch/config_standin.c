// Stand-ins for registries that have not landed; weak, so that the real ones win.
#include "layers/model.h"
#include "parallel/scan.h"
#include "parallel/strategy.h"
#include <string.h>
#define WEAK __attribute__((weak))
WEAK const canto_strategy canto_strategy_serial = {.name = "serial"},
                          canto_strategy_ring = {.name = "ring"},
                          canto_strategy_gather = {.name = "gather"};
WEAK const canto_strategy *const canto_strategies[] = {&canto_strategy_serial, &canto_strategy_ring,
                                                       &canto_strategy_gather, NULL};
WEAK const canto_transport canto_transport_lasp1 = {.name = "lasp1"},
                           canto_transport_lasp2 = {.name = "lasp2"};
WEAK const canto_transport *const canto_transports[] = {&canto_transport_lasp1,
                                                        &canto_transport_lasp2, NULL};
WEAK const canto_mixer_kind canto_mixer_kinds[] = {
    {.name = "softmax", .softmax = true},
    {.name = "basic", .ones = true},
    {.name = "lightning", .decay = CANTO_DECAY_ALIBI_LAYERED},
    {.name = NULL}};
WEAK canto_status canto_model_config_resolve(canto_model_config *c)
{
    if (c->kv_heads == 0) c->kv_heads = c->heads;
    if (c->heads % c->kv_heads)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "model.kv_heads: %d does not divide model.heads %d",
                   c->kv_heads, c->heads);
    if (c->d_model % c->heads)
        CANTO_FAIL(CANTO_ERROR_CONFIG, "model.d_model: %d is not a multiple of model.heads %d",
                   c->d_model, c->heads);
    if (c->d_mlp == 0) c->d_mlp = (8 * c->d_model / 3 + 31) / 32 * 32;
    for (int i = 0; i < c->mixers_n; i++) {
        canto_mixer_config *m = &c->mixers[i];
        if (m->heads == 0) m->heads = c->heads;
        if (m->kv_heads == 0) m->kv_heads = c->kv_heads;
        if (m->key_dim == 0) m->key_dim = c->d_model / c->heads;
        if (m->value_dim == 0) m->value_dim = c->d_model / c->heads;
        if (m->heads % m->kv_heads)
            CANTO_FAIL(CANTO_ERROR_CONFIG, "model.mixers: mixer %c: %d does not divide %d",
                       m->letter, m->kv_heads, m->heads);
    }
    return CANTO_OK;
}
WEAK canto_status canto_layout_parse(const char *name, canto_layout *out)
{
    *out = !strcmp(name, "contiguous") ? CANTO_LAYOUT_CONTIGUOUS
           : !strcmp(name, "zigzag")   ? CANTO_LAYOUT_ZIGZAG
                                       : CANTO_LAYOUT_UNEVEN;
    return CANTO_OK;
}
