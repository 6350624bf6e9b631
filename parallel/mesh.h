// The ranks as a grid: data-parallel replicas x context-parallel groups, and the lanes that work
// needs. Rank r of the world is context rank r % cp of replica r / cp, so a context group is a run
// of neighbouring ranks.
#ifndef CANTO_PARALLEL_MESH_H
#define CANTO_PARALLEL_MESH_H

#include "runtime/device.h"

typedef struct canto_mesh {
    int dp, cp;            // dp * cp = ranks of the world
    int dp_rank, cp_rank;  // my place
    canto_comm *world;     // borrowed
    canto_comm *schedule;  // owned: the context group, of the device; key/value parts, sums, states
    canto_comm *gradients; // owned: the world, of the device; gradient reduction
    canto_comm *control;   // owned: the world, of the host; loss, agreement
} canto_mesh;

// Collective on world. `device` is where tensors lie. dp or cp 0: whatever the other leaves.
// CANTO_ERROR_CONFIG if dp * cp is not the number of ranks.
canto_status canto_mesh_create(canto_comm *world, const canto_device *device, int dp, int cp,
                               canto_mesh *out);
// Local. The same for a world from canto_comm_planned_open.
canto_status canto_mesh_planned(canto_comm *world, int dp, int cp, canto_mesh *out);
void canto_mesh_destroy(canto_mesh *mesh); // collective; also of a zeroed mesh

#endif
