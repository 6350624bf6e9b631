// One reading of the clock for each change of phase.
#include "launch/phases.h"

#include "runtime/clock.h"

#include <stddef.h>

static const struct {
    const char *name;
    int lane;
} table[CANTO_PHASES] = {
    [CANTO_PHASE_OTHER] = {"other", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_CLEAR] = {"clear", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_DATA] = {"data", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_PLAN] = {"plan", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_FORWARD] = {"forward", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_LOSS] = {"loss", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_BACKWARD] = {"backward", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_REDUCE] = {"reduce", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_UPDATE] = {"update", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_EXCHANGE] = {"exchange", CANTO_TRACE_COMPUTE},
    [CANTO_PHASE_CHECKPOINT] = {"checkpoint", CANTO_TRACE_IO},
    [CANTO_PHASE_EVALUATION] = {"evaluation", CANTO_TRACE_COMPUTE},
};

const char *canto_phase_name(canto_phase phase)
{
    return table[phase].name;
}

static void count_time(canto_phases *phases)
{
    const double now_s = canto_clock_s();
    const canto_phase counted = phases->held ? phases->held : phases->now;
    if (phases->since_s > 0) phases->seconds[counted] += now_s - phases->since_s;
    phases->since_s = now_s;
}

void canto_phases_enter(canto_phases *phases, canto_phase phase)
{
    count_time(phases);
    if (phases->now != CANTO_PHASE_OTHER) canto_trace_end(phases->trace);
    phases->now = phase;
    if (phase != CANTO_PHASE_OTHER)
        canto_trace_begin(phases->trace, table[phase].lane, table[phase].name, NULL, 0);
}

void canto_phases_hold(canto_phases *phases, canto_phase phase)
{
    count_time(phases);
    phases->held = phase;
    canto_trace_begin(phases->trace, table[phase].lane, table[phase].name, NULL, 0);
}

void canto_phases_release(canto_phases *phases)
{
    canto_phases_enter(phases, CANTO_PHASE_OTHER); // after a failure some phase runs still
    phases->held = CANTO_PHASE_OTHER;
    canto_trace_end(phases->trace);
}
