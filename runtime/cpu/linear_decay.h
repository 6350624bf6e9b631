// What is left of a number some tokens later: the decays of a chunk, for every kind of gate.
//
// With a_t the decay of token t as a logarithm, and sums over tokens of the chunk that begins at 0:
//
//     one number a head (constant or gate):    D_ij = exp(a_{j+1} + .. + a_i),  f_i = exp(a_0 + ..
//     + a_i),
//                                              e_j = exp(a_{j+1} + .. + a_{n-1}),  w = f_{n-1}
//     a number a key dim:                      P_i = a_1 + .. + a_i,  u_i = exp(P_i) q_i,
//                                              v_j = exp(-P_j) k_j,  b = exp(a_0),  a =
//                                              exp(P_{n-1})
//
// and what is not named is 1 (b, a, u = q, v = k for the first; D, f, e, w for the second). The
// second kind's exp(-P_j) is bounded because a chunk ends before P falls below -CANTO_DECAY_RANGE
// in any key dim: nothing overflows and no product of u and v loses digits, whatever the gates are.
// Where they are strong, chunks are short, down to single tokens. Where a chunk ends depends on no
// token after it, so that no bit of an output depends on later tokens.
#ifndef CANTO_RUNTIME_CPU_LINEAR_DECAY_H
#define CANTO_RUNTIME_CPU_LINEAR_DECAY_H

#include "runtime/cpu/linear_block.h"

#define canto_decay_begin   CANTO_CPU(decay_begin)
#define canto_decay_chunk   CANTO_CPU(decay_chunk)
#define canto_decay_total   CANTO_CPU(decay_total)
#define canto_decay_state   CANTO_CPU(decay_state)
#define canto_decay_turned  CANTO_CPU(decay_turned)
#define canto_decay_is_gone CANTO_CPU(decay_is_gone)

enum { CANTO_DECAY_RANGE = 60 };

// Powers of a head's constant decay, for all chunks of a run.
typedef struct canto_linear_powers {
    float start[CANTO_CHUNK];   // [k]: k + 1 tokens later
    float falling[CANTO_CHUNK]; // [CANTO_CHUNK - 1 - k]: k tokens later
} canto_linear_powers;

typedef struct canto_linear_decay {
    // Of the chunk at hand; NULL: 1.
    int n;              // its tokens
    const float *pairs; // D: row i is at pairs + i * pairs_row
    int pairs_row;
    const float *from_start; // f [n]
    const float *to_end;     // e [n]
    float whole;             // w
    const float *rise;       // exp(P) [n, key_dim]
    const float *before;     // b [key_dim]
    const float *after;      // a [key_dim]
    // What the chunk's tokens sum to: a_0 + .. + a_{n-1}, one number or [key_dim].
    double sum[CANTO_HEAD_DIM_MAX];
    // Where the arrays lie.
    float pairs_room[CANTO_CHUNK * CANTO_CHUNK];
    float start_room[CANTO_CHUNK], end_room[CANTO_CHUNK];
    float rise_room[CANTO_CHUNK * CANTO_HEAD_DIM_MAX], before_room[CANTO_HEAD_DIM_MAX];
} canto_linear_decay;

// For a head of a run.
void canto_decay_begin(const canto_linear_head *it, canto_linear_powers *powers);
// The chunk that begins at token t of it.
void canto_decay_chunk(const canto_linear_head *it, const canto_linear_powers *powers, int64_t t,
                       canto_linear_decay *decay);

// total [key_dim, or 1] += what the chunk sums to.
void canto_decay_total(const canto_linear_head *it, const canto_linear_decay *decay, double *total);
// Row r of a state is multiplied by factors[r] (NULL: nothing is done).
void canto_decay_state(const canto_linear_head *it, const float *factors, float *state);
// The same for a turned one.
void canto_decay_turned(const canto_linear_head *it, const float *factors, float *turned);
// factors [key_dim] = exp(total), 0 below 1e-30; whether all are 0.
bool canto_decay_is_gone(const canto_linear_head *it, const double *total, float *factors);

#endif
