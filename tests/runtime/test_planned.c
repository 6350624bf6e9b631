// A communicator that plans says who it is and cannot talk; a ledger tells what an arena holds at
// its highest point.
#include "tests/canto_test.h"

#include "parallel/mesh.h"
#include "runtime/arena.h"

#include <string.h>

static void open_planned(int rank, int size, canto_comm **out)
{
    CANTO_TEST_OK(canto_comm_planned_open("world", rank, size, out));
}

static void test_collectives_answer_as_one(void **state)
{
    (void)state;
    enum { SIZE = 1024, RANK = 700 };
    canto_comm *comm;
    open_planned(RANK, SIZE, &comm);
    assert_int_equal(comm->rank, RANK);
    assert_int_equal(comm->size, SIZE);
    static int64_t all[SIZE];
    const int64_t mine = 42;
    CANTO_TEST_OK(canto_comm_gather_small(comm, sizeof mine, &mine, all));
    for (int r = 0; r < SIZE; r++) assert_int_equal(all[r], mine);
    double sum = 0.5;
    CANTO_TEST_OK(canto_comm_sum_small(comm, 1, &sum));
    assert_true(sum == 0.5 * SIZE);
    int64_t value = 7;
    CANTO_TEST_OK(canto_comm_bcast(comm, 3, canto_tensor_vector(CANTO_I64, &value, 1)));
    assert_int_equal(value, 7);
    CANTO_TEST_OK(canto_comm_agree(comm, CANTO_OK));
    canto_error_raise(CANTO_ERROR_CONFIG, __FILE__, __LINE__, "mine");
    assert_int_equal(canto_comm_agree(comm, CANTO_ERROR_CONFIG), CANTO_ERROR_CONFIG);
    canto_error_clear();
    canto_comm_destroy(&comm);
}

static void test_messages_are_errors(void **state)
{
    (void)state;
    canto_comm *comm;
    float number = 1;
    canto_request request;
    open_planned(1, 3, &comm);
    CANTO_TEST_FAILS(
        CANTO_ERROR_ARGUMENT, "planned rank cannot talk to rank 2",
        canto_comm_send(comm, 2, canto_tensor_vector(CANTO_F32, &number, 1), &request));
    canto_comm_destroy(&comm);
    open_planned(1, 3, &comm);
    CANTO_TEST_FAILS(
        CANTO_ERROR_ARGUMENT, "planned rank cannot talk to rank 0",
        canto_comm_recv(comm, 0, canto_tensor_vector(CANTO_F32, &number, 1), &request));
    canto_comm_destroy(&comm);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no rank 3 of 3",
                     canto_comm_planned_open("world", 3, 3, &comm));
}

static void test_mesh(void **state)
{
    (void)state;
    canto_comm *world;
    canto_mesh mesh;
    open_planned(700, 1024, &world);
    CANTO_TEST_OK(canto_mesh_planned(world, 0, 64, &mesh));
    assert_int_equal(mesh.dp, 16);
    assert_int_equal(mesh.dp_rank, 700 / 64);
    assert_int_equal(mesh.cp_rank, 700 % 64);
    assert_int_equal(mesh.schedule->rank, 700 % 64);
    assert_int_equal(mesh.schedule->size, 64);
    assert_int_equal(mesh.gradients->rank, 700);
    assert_int_equal(mesh.gradients->size, 1024);
    canto_mesh_destroy(&mesh);
    CANTO_TEST_FAILS(CANTO_ERROR_CONFIG,
                     "1024 ranks cannot be divided by parallel.dp 3; set it to 0 or",
                     canto_mesh_planned(world, 3, 0, &mesh));
    canto_comm_destroy(&world);
}

// --- the ledger ---

static size_t bytes_of(const canto_ledger *ledger, const char *what)
{
    int n;
    size_t sum = 0;
    const canto_ledger_entry *entries = canto_ledger_entries(ledger, &n);
    for (int i = 0; i < n; i++) {
        if (!what || strcmp(entries[i].what, what) == 0) sum += entries[i].bytes;
    }
    return sum;
}

static void take(canto_arena *arena, const char *what, size_t bytes)
{
    void *unused;
    CANTO_TEST_OK(canto_arena_take(arena, what, bytes, &unused));
}

static void test_ledger_of_the_highest_point(void **state)
{
    (void)state;
    canto_arena arena;
    canto_ledger ledger = {0};
    CANTO_TEST_OK(canto_arena_create_measuring(&arena));
    arena.ledger = &ledger;
    take(&arena, "stays", 100);
    for (int layer = 0; layer < 3; layer++) {
        const size_t mark = canto_arena_mark(&arena);
        take(&arena, layer == 1 ? "large" : "small", layer == 1 ? 6400 : 640);
        take(&arena, "buffer", 64);
        canto_arena_release(&arena, mark);
    }
    assert_int_equal(bytes_of(&ledger, "stays"), 128);
    assert_int_equal(bytes_of(&ledger, "large"), 6400);
    assert_int_equal(bytes_of(&ledger, "small"), 0);
    assert_int_equal(bytes_of(&ledger, NULL), arena.peak);
    for (int i = 0; i < 1000; i++) take(&arena, "many", 64);
    assert_int_equal(bytes_of(&ledger, "many"), 64000);
    assert_int_equal(bytes_of(&ledger, "large"), 0);
    assert_int_equal(bytes_of(&ledger, NULL), arena.peak);
    assert_false(ledger.incomplete);
    canto_arena_destroy(&arena);
    canto_ledger_destroy(&ledger);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_collectives_answer_as_one),
    cmocka_unit_test(test_messages_are_errors),
    cmocka_unit_test(test_mesh),
    cmocka_unit_test(test_ledger_of_the_highest_point),
};

int main(void)
{
    return cmocka_run_group_tests_name("runtime.planned", tests, NULL, NULL);
}
