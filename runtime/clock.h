// The clock that waits and steps are measured with. Local.
#ifndef CANTO_RUNTIME_CLOCK_H
#define CANTO_RUNTIME_CLOCK_H

// Seconds of a clock that never goes back.
double canto_clock_s(void);

#endif
