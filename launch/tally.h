// What one rank's training steps took so far: messages and bytes of each lane, beside the price
// that the plan names for them. Local; a tally is sent to rank 0 as it is.
#ifndef CANTO_LAUNCH_TALLY_H
#define CANTO_LAUNCH_TALLY_H

#include "parallel/mesh.h"
#include "parallel/traffic.h"

typedef enum canto_lane {
    CANTO_LANE_SCHEDULE,
    CANTO_LANE_GRADIENTS,
    CANTO_LANE_CONTROL,
    CANTO_LANES
} canto_lane;

typedef struct canto_lane_tally {
    canto_traffic sent, priced;
    int64_t collectives;
    double wait_s;
} canto_lane_tally;

typedef struct canto_tally {
    int64_t steps;
    int64_t tokens; // of all ranks
    double step_s;
    canto_lane_tally lanes[CANTO_LANES];
} canto_tally;

const char *canto_lane_name(canto_lane lane);

// What the lanes of a mesh have done since they were made; `priced` is zero.
void canto_lanes_read(const canto_mesh *mesh, canto_lane_tally out[CANTO_LANES]);
// after - before, lane by lane.
void canto_lanes_since(const canto_lane_tally before[CANTO_LANES], const canto_mesh *mesh,
                       canto_lane_tally out[CANTO_LANES]);
// All that was sent, and waited for, on a step's lanes is added to those of the tally.
void canto_tally_add(canto_tally *tally, const canto_lane_tally step[CANTO_LANES]);

#endif
