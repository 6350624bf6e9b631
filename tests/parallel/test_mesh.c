// The grid of ranks: places, sizes and lanes, for every way to divide the ranks.
#include "tests/canto_test.h"

#include "parallel/mesh.h"

#include <stdio.h>

static void check_place(const canto_mesh *mesh, int dp, int cp)
{
    const int rank = canto_test_world->rank;
    assert_int_equal(mesh->dp, dp);
    assert_int_equal(mesh->cp, cp);
    assert_int_equal(mesh->dp_rank * cp + mesh->cp_rank, rank);
    assert_true(mesh->cp_rank >= 0 && mesh->cp_rank < cp);
    assert_int_equal(mesh->schedule->size, cp);
    assert_int_equal(mesh->schedule->rank, mesh->cp_rank);
    assert_int_equal(mesh->gradients->size, dp * cp);
    assert_int_equal(mesh->control->rank, rank);
    assert_string_equal(mesh->schedule->lane, "schedule");
    assert_string_equal(mesh->gradients->lane, "gradients");
    assert_string_equal(mesh->control->lane, "control");
}

// A context group is a run of neighbouring ranks.
static void check_group(const canto_mesh *mesh)
{
    int all[64];
    const int me = canto_test_world->rank;
    CANTO_TEST_OK(canto_comm_gather_small(mesh->schedule, sizeof me, &me, all));
    for (int r = 0; r < mesh->cp; r++) assert_int_equal(all[r], mesh->dp_rank * mesh->cp + r);
}

static void test_every_grid(void **state)
{
    (void)state;
    const int ranks = canto_test_world->size;
    for (int dp = 1; dp <= ranks; dp++) {
        if (ranks % dp != 0) continue;
        const int cp = ranks / dp;
        const int asked[][2] = {{dp, cp}, {dp, 0}, {0, cp}};
        for (int i = 0; i < 3; i++) {
            canto_mesh mesh;
            CANTO_TEST_OK(canto_mesh_create(canto_test_world, canto_test_device, asked[i][0],
                                            asked[i][1], &mesh));
            check_place(&mesh, dp, cp);
            check_group(&mesh);
            canto_mesh_destroy(&mesh);
            assert_null(mesh.schedule);
        }
    }
}

static void test_defaults_and_refusals(void **state)
{
    (void)state;
    const int ranks = canto_test_world->size;
    canto_mesh mesh;
    CANTO_TEST_OK(canto_mesh_create(canto_test_world, canto_test_device, 0, 0, &mesh));
    check_place(&mesh, 1, ranks);
    canto_mesh_destroy(&mesh);
    const int wrong[][2] = {{ranks + 1, 1}, {ranks, 2}, {-1, 1}, {0, -2}, {1 << 30, 1 << 30}};
    const int alone[][2] = {{ranks + 1, 0}, {0, ranks + 1}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, "is not the number of ranks",
                         canto_mesh_create(canto_test_world, canto_test_device, wrong[i][0],
                                           wrong[i][1], &mesh));
        canto_mesh_destroy(&mesh);
    }
    for (int i = 0; i < 2; i++) {
        char words[64];
        snprintf(words, sizeof words, "cannot be divided by parallel.%s %d; set it to 0",
                 i == 0 ? "dp" : "cp", ranks + 1);
        CANTO_TEST_FAILS(CANTO_ERROR_CONFIG, words,
                         canto_mesh_create(canto_test_world, canto_test_device, alone[i][0],
                                           alone[i][1], &mesh));
        canto_mesh_destroy(&mesh);
    }
}

static void check_small_collectives(canto_comm *lane)
{
    int64_t told = 100 + lane->rank;
    double sum = lane->rank;
    const int root = lane->size - 1;
    CANTO_TEST_OK(canto_comm_bcast(lane, root, canto_tensor_vector(CANTO_I64, &told, 1)));
    assert_int_equal(told, 100 + root);
    CANTO_TEST_OK(canto_comm_sum_small(lane, 1, &sum));
    assert_true(sum == lane->size * (lane->size - 1) / 2.0);
    assert_int_equal(lane->counts.collectives, 2);
}

// Messages of a device's lane are about the device's memory, small collectives about the host's.
static void test_small_collectives(void **state)
{
    (void)state;
    canto_mesh mesh;
    canto_comm *part;
    CANTO_TEST_OK(canto_mesh_create(canto_test_world, canto_test_device, 0, 0, &mesh));
    check_small_collectives(mesh.gradients);
    CANTO_TEST_OK(canto_comm_split(mesh.gradients, "part", mesh.cp_rank % 2, &part));
    check_small_collectives(part);
    canto_comm_destroy(&part);
    canto_mesh_destroy(&mesh);
}

// Who meets an error for a lane of a checked world tells all ranks, whatever the device.
static void test_failures_are_told(void **state)
{
    (void)state;
    canto_mesh mesh;
    canto_comm *plain, *world;
    canto_comm_checks checks = {.timeout_s = 5};
    CANTO_TEST_OK(canto_comm_mpi_open(&plain));
    CANTO_TEST_OK(canto_comm_checked_open(plain, checks, &world));
    CANTO_TEST_OK(canto_mesh_create(world, canto_test_device, 0, 0, &mesh));
    canto_comm *const lanes[] = {mesh.gradients, mesh.control};
    CANTO_TEST_OK(canto_comm_agree(canto_test_world, CANTO_OK)); // all have opened
    canto_status met = CANTO_OK;
    if (world->rank == 0)
        met = canto_error_raise(CANTO_ERROR_DEVICE, __FILE__, __LINE__, "the device is gone");
    for (int i = 0; i < 2; i++) {
        met = world->rank == 0 ? canto_comm_fail(lanes[i], met) : CANTO_OK;
        if (world->rank > 0) met = canto_comm_agree(lanes[i], CANTO_OK);
        if (i == 0) CANTO_TEST_FAILS(CANTO_ERROR_DEVICE, "the device is gone", met);
        assert_int_equal(met, CANTO_ERROR_DEVICE);
    }
    canto_mesh_destroy(&mesh);
    canto_comm_destroy(&world);
    canto_error_clear();
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_failures_are_told),
    cmocka_unit_test(test_every_grid),
    cmocka_unit_test(test_small_collectives),
    cmocka_unit_test(test_defaults_and_refusals),
};

const canto_test_module test_mesh = {"mesh", tests, sizeof tests / sizeof *tests};
