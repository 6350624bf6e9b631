// Fifty training steps on documents of random lengths: no allocation of ours (libraries excepted),
// and little time spent on making schedules.
#include "tests/allocations.h"
#include "tests/canto_test.h"
#include "tests/launch/trained.h"

enum { STEPS = 50 };

static void steps_allocate_nothing_and_plan_quickly(void **state)
{
    (void)state;
    static const char *const overrides[] = {"model.pattern=LS",
                                            "model.layers=2",
                                            "model.d_model=128",
                                            "model.heads=4",
                                            "train.seq_len=1024",
                                            "train.batch=1",
                                            NULL};
    static trained t;
    canto_comm *world;
    CANTO_TEST_OK(canto_comm_self_open(&world));
    trained_create(world, 1, overrides, &t);
    assert_true(canto_test_allocations() > 0); // the counter counts
    const int64_t before = canto_test_allocations();
    int fewest = 1 << 30, most = 0;
    double make_s = 0, step_s = 0;
    for (int64_t step = 1; step <= STEPS; step++) {
        canto_step_result result;
        CANTO_TEST_OK(canto_trainer_step(&t.trainer, step, (canto_step_requests){0}, &result));
        int documents = t.trainer.plan.documents.n;
        if (documents < fewest) fewest = documents;
        if (documents > most) most = documents;
        make_s += t.trainer.plan.make_s;
        step_s += result.step_s;
    }
    assert_int_equal(canto_test_allocations(), before);
    assert_true(fewest < most); // documents did change
    assert_true(make_s > 0);
    if (make_s > 0.02 * step_s)
        fail_msg("%.3f of %.3f s were spent on making schedules", make_s, step_s);
    trained_destroy(&t);
    canto_comm_destroy(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(steps_allocate_nothing_and_plan_quickly)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
