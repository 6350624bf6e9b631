// Softmax attention of a few queries, forward; internal to runtime/cpu/.
#ifndef CANTO_RUNTIME_CPU_ATTENTION_FEW_H
#define CANTO_RUNTIME_CPU_ATTENTION_FEW_H

#include "runtime/cpu/attention_block.h"

#define canto_attention_is_few CANTO_CPU(attention_is_few)
#define canto_attention_few    CANTO_CPU(attention_few)

// Lanes that share a key and a value head: with more, packing is worth its time.
enum { CANTO_FEW_LANES = 8 };

bool canto_attention_is_few(const canto_attention_shape *shape, const canto_band *tile);
// As the slot attention_forward.
void canto_attention_few(const canto_attention_shape *shape, const canto_band *tile, const float *q,
                         const float *kv, float *o, float *lse);

#endif
