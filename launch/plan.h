// Planning a rank of a job that does not run.
#ifndef CANTO_LAUNCH_PLAN_H
#define CANTO_LAUNCH_PLAN_H

#include "launch/plan_report.h"

enum { CANTO_PLAN_RANKS_MAX = 8 }; // whose memory is told; of more ranks some

// Local. Fills `report` for `ranks` ranks that need not exist: prices of a step, and with `memory`
// [CANTO_PLAN_RANKS_MAX] the memory of some ranks: all, or first, middle and last.
canto_status canto_plan_make(const canto_config *config, int ranks, canto_memory *memory,
                             canto_plan_report *report);

#endif
