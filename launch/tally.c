// Differences of the communicators' counters.
#include "launch/tally.h"

const char *canto_lane_name(canto_lane lane)
{
    static const char *const names[CANTO_LANES] = {"schedule", "gradients", "control"};
    return names[lane];
}

void canto_lanes_read(const canto_mesh *mesh, canto_lane_tally out[CANTO_LANES])
{
    const canto_comm *const lanes[CANTO_LANES] = {[CANTO_LANE_SCHEDULE] = mesh->schedule,
                                                  [CANTO_LANE_GRADIENTS] = mesh->gradients,
                                                  [CANTO_LANE_CONTROL] = mesh->control};
    for (int i = 0; i < CANTO_LANES; i++) {
        const canto_comm_counts *counts = &lanes[i]->counts;
        out[i] = (canto_lane_tally){.sent = {counts->messages_sent, counts->bytes_sent},
                                    .collectives = counts->collectives,
                                    .wait_s = counts->wait_s};
    }
}

void canto_lanes_since(const canto_lane_tally before[CANTO_LANES], const canto_mesh *mesh,
                       canto_lane_tally out[CANTO_LANES])
{
    canto_lanes_read(mesh, out);
    for (int i = 0; i < CANTO_LANES; i++) {
        out[i].sent.messages -= before[i].sent.messages;
        out[i].sent.bytes -= before[i].sent.bytes;
        out[i].collectives -= before[i].collectives;
        out[i].wait_s -= before[i].wait_s;
    }
}

void canto_tally_add(canto_tally *tally, const canto_lane_tally step[CANTO_LANES])
{
    for (int i = 0; i < CANTO_LANES; i++) {
        canto_lane_tally *lane = &tally->lanes[i];
        lane->sent = canto_traffic_add(lane->sent, step[i].sent);
        lane->priced = canto_traffic_add(lane->priced, step[i].priced);
        lane->collectives += step[i].collectives;
        lane->wait_s += step[i].wait_s;
    }
}
