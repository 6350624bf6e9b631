// Where a rank's time goes: a stopwatch that always runs in one of a few phases, so that the phases
// add up to the whole. Each phase is a span of the trace as well. Local.
#ifndef CANTO_LAUNCH_PHASES_H
#define CANTO_LAUNCH_PHASES_H

#include "runtime/trace.h"

typedef enum canto_phase {
    CANTO_PHASE_OTHER, // between steps: log, metrics
    CANTO_PHASE_CLEAR, // gradients to zero
    CANTO_PHASE_DATA,
    CANTO_PHASE_PLAN,
    CANTO_PHASE_FORWARD,
    CANTO_PHASE_LOSS,
    CANTO_PHASE_BACKWARD, // reduces the gradients of finished blocks meanwhile
    CANTO_PHASE_REDUCE,   // what is left of that
    CANTO_PHASE_UPDATE,   // norm, optimizer, everybody's parameters
    CANTO_PHASE_EXCHANGE, // records of loss and figures
    CANTO_PHASE_CHECKPOINT,
    CANTO_PHASE_EVALUATION, // with its own data, plans, forward runs and losses
    CANTO_PHASES
} canto_phase;

typedef struct canto_phases {
    canto_trace *trace; // borrowed; NULL: off
    canto_phase now;
    canto_phase held; // CANTO_PHASE_OTHER: none
    double since_s;   // 0: not started
    double seconds[CANTO_PHASES];
} canto_phases;

const char *canto_phase_name(canto_phase phase);

// Ends the phase that runs and begins this one. The first call starts the watch.
void canto_phases_enter(canto_phases *phases, canto_phase phase);
// Until the release all time counts as this phase's, whatever is entered. From CANTO_PHASE_OTHER,
// and back to it.
void canto_phases_hold(canto_phases *phases, canto_phase phase);
void canto_phases_release(canto_phases *phases);

#endif
