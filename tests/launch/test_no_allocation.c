// Fifty training steps on documents of random lengths: no allocation of ours (malloc and its
// relatives are wrapped at link time and counted, libraries excepted), and little time spent on
// making schedules.
#define _GNU_SOURCE
#include "tests/canto_test.h"
#include "tests/launch/trained.h"

#include <stdlib.h>
#include <sys/mman.h>

static int64_t calls;

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
int __real_posix_memalign(void **out, size_t alignment, size_t bytes);
void *__real_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset);

void *__wrap_malloc(size_t bytes)
{
    calls++;
    return __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
    calls++;
    return __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    calls++;
    return __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    calls++;
    return __real_aligned_alloc(alignment, bytes);
}

int __wrap_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    calls++;
    return __real_posix_memalign(out, alignment, bytes);
}

void *__wrap_mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    calls++;
    return __real_mmap(at, bytes, protection, flags, file, offset);
}

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
    assert_true(calls > 0); // the counter counts
    int64_t before = calls;
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
    assert_int_equal(calls - before, 0);
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
