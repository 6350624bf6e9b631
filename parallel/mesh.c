// The grid of ranks. Making it splits the world three times; nothing is sent afterwards.
#include "parallel/mesh.h"

static canto_status shape(int ranks, int dp, int cp, canto_mesh *out)
{
    const bool one = dp >= 0 && cp >= 0 && (dp == 0) != (cp == 0); // the other follows
    if (one && ranks % (dp + cp) != 0)
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "%d rank%s cannot be divided by parallel.%s %d; set it to 0 or start a multiple "
                   "of %d",
                   ranks, ranks == 1 ? "" : "s", dp > 0 ? "dp" : "cp", dp + cp, dp + cp);
    if (dp >= 0 && cp >= 0) {
        if (cp == 0) cp = dp == 0 ? ranks : ranks / dp;
        if (dp == 0 && cp > 0) dp = ranks / cp;
    }
    if (dp < 1 || cp < 1 || dp * (int64_t)cp != ranks) {
        CANTO_FAIL(CANTO_ERROR_CONFIG,
                   "parallel.dp %d x parallel.cp %d is not the number of ranks, %d; set one of "
                   "them to 0 or start another number",
                   out->dp, out->cp, ranks);
    }
    out->dp = dp;
    out->cp = cp;
    return CANTO_OK;
}

static canto_status device_lane(canto_comm *world, const canto_device *device, const char *name,
                                int color, canto_comm **out)
{
    canto_comm *host;
    CANTO_TRY(canto_comm_split(world, name, color, &host));
    return canto_device_lane(device, host, out);
}

static canto_status split(canto_mesh *mesh, const canto_device *device)
{
    canto_comm *world = mesh->world;
    CANTO_TRY(device_lane(world, device, "schedule", mesh->dp_rank, &mesh->schedule));
    CANTO_TRY(device_lane(world, device, "gradients", 0, &mesh->gradients));
    canto_comm *host;
    CANTO_TRY(canto_comm_split(world, "control", 0, &host));
    return canto_device_host_lane(device, host, &mesh->control);
}

// A planned world knows no colours but its own.
static canto_status open_planned(canto_mesh *mesh, const canto_device *device)
{
    (void)device; // nothing is sent
    const canto_comm *world = mesh->world;
    CANTO_TRY(canto_comm_planned_open("schedule", mesh->cp_rank, mesh->cp, &mesh->schedule));
    CANTO_TRY(canto_comm_planned_open("gradients", world->rank, world->size, &mesh->gradients));
    return canto_comm_planned_open("control", world->rank, world->size, &mesh->control);
}

static canto_status create(canto_comm *world, const canto_device *device, int dp, int cp,
                           canto_status (*open_lanes)(canto_mesh *, const canto_device *),
                           canto_mesh *out)
{
    *out = (canto_mesh){.dp = dp, .cp = cp, .world = world};
    // The same numbers on every rank, so all fail here or none does.
    CANTO_TRY(shape(world->size, dp, cp, out));
    out->dp_rank = world->rank / out->cp;
    out->cp_rank = world->rank % out->cp;
    const canto_status status = open_lanes(out, device);
    if (status != CANTO_OK) canto_mesh_destroy(out);
    return status;
}

canto_status canto_mesh_create(canto_comm *world, const canto_device *device, int dp, int cp,
                               canto_mesh *out)
{
    return create(world, device, dp, cp, split, out);
}

canto_status canto_mesh_planned(canto_comm *world, int dp, int cp, canto_mesh *out)
{
    return create(world, NULL, dp, cp, open_planned, out);
}

void canto_mesh_destroy(canto_mesh *mesh)
{
    canto_comm_destroy(&mesh->control);
    canto_comm_destroy(&mesh->gradients);
    canto_comm_destroy(&mesh->schedule);
    *mesh = (canto_mesh){0};
}
