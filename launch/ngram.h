// Byte n-gram models with interpolated Witten-Bell smoothing (Witten and Bell, IEEE Trans. Inf.
// Theory 37(4), 1991): the yardstick that a trained model's bits per byte are printed beside.
// Local.
//
//     p_k(b | c) = (count(c b) + distinct(c) p_{k-1}(b | c')) / (count(c) + distinct(c))
//     p_{-1}(b)  = 1/256
//
// c = the last k bytes, c' = c without its first byte, distinct(c) = number of different bytes seen
// after c.
#ifndef CANTO_LAUNCH_NGRAM_H
#define CANTO_LAUNCH_NGRAM_H

#include "runtime/status.h"

#include <stdint.h>

enum { CANTO_NGRAM_ORDER_MAX = 6 };

// Trains orders 0..order on train[0, n), then reads test[0, m), which follows it, and returns in
// bits[k] the bits per byte of order k.
canto_status canto_ngram_bits(int order, const uint8_t *train, int64_t n, const uint8_t *test,
                              int64_t m, double bits[CANTO_NGRAM_ORDER_MAX + 1]);

#endif
