// The clocks of several ranks on one scale. Each rank's clock is compared with rank 0's twice, by
// messages that go there and back; in between its difference is taken to grow evenly.
#ifndef CANTO_RUNTIME_TRACE_CLOCK_H
#define CANTO_RUNTIME_TRACE_CLOCK_H

#include "runtime/comm.h"

// How far this rank's clock is ahead of rank 0's.
typedef struct canto_clock_offset {
    double at_s;     // on this rank's clock
    double offset_s; // 0 if it is smaller than error_s: then nothing tells the clocks apart
    double error_s;  // half the shortest way there and back
} canto_clock_offset;

// Collective on comm. 0 on rank 0.
canto_status canto_clock_compare(canto_comm *comm, canto_clock_offset *out);

// A time of this rank's clock on rank 0's clock, from two comparisons, `first` before `last`. Pure,
// and never turns the order of two times around.
double canto_clock_align(const canto_clock_offset *first, const canto_clock_offset *last,
                         double time_s);

#endif
