// What a core can do at most, for `canto bench`: loops that do one thing only, at one level of
// instructions. Local, on the calling thread but where
// threads are named.
#ifndef CANTO_RUNTIME_CPU_ROOFS_H
#define CANTO_RUNTIME_CPU_ROOFS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct canto_cpu_roofs {
    // Multiplies and adds in registers, `rounds` times `fma_flops` operations; returns a number
    // that depends on all of them.
    float (*fma)(int64_t rounds);
    int fma_flops;
    // The same on so many threads at once, `rounds` each.
    float (*fma_on)(int threads, int64_t rounds);
    float (*read)(int64_t n, const float *x); // n a multiple of 256
    // c = a + s b
    void (*triad)(int64_t n, const float *a, const float *b, float s, float *c);
    // c [m, n] = a [m, k] b, or b' with b [n, k]: one call of the library that does the products of
    // this build, and one of OpenBLAS.
    void (*sgemm)(bool trans_b, int m, int n, int k, const float *a, const float *b, float *c);
    void (*openblas)(bool trans_b, int m, int n, int k, const float *a, const float *b, float *c);
} canto_cpu_roofs;

#endif
