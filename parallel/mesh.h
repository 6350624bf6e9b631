// The ranks as a grid: data-parallel replicas x context-parallel groups, and the lanes that work
// needs. Rank r of the world is context rank r % cp of replica r / cp, so a context group is a run
// of neighbouring ranks.
#ifndef CANTO_PARALLEL_MESH_H
#define CANTO_PARALLEL_MESH_H

#include "runtime/comm.h"

typedef struct canto_mesh {
    int dp, cp;            // dp * cp = ranks of the world
    int dp_rank, cp_rank;  // my place
    canto_comm *world;     // borrowed
    canto_comm *schedule;  // owned: the context group; key/value parts, gradient sums, states
    canto_comm *gradients; // owned: the world; gradient reduction
    canto_comm *control;   // owned: the world; loss, agreement
} canto_mesh;

// Collective on world. dp or cp 0: whatever the other leaves. CANTO_ERROR_CONFIG if dp * cp is not
// the number of ranks.
canto_status canto_mesh_create(canto_comm *world, int dp, int cp, canto_mesh *out);
// Local. The same for a world from canto_comm_planned_open.
canto_status canto_mesh_planned(canto_comm *world, int dp, int cp, canto_mesh *out);
void canto_mesh_destroy(canto_mesh *mesh); // collective; also of a zeroed mesh

#endif
