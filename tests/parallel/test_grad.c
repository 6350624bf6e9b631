// Gradient reduction: sums against double, the same bits in every run, bytes as promised, and the
// gather exact; for buckets of many sizes, some smaller than the number of ranks.
#include "tests/canto_test.h"

#include "parallel/grad.h"
#include "runtime/rng.h"

#include <stdio.h>
#include <string.h>

enum { BUCKETS = 7 };

static const int64_t bounds[BUCKETS + 1] = {0, 1, 1001, 1001, 1004, 21004, 21011, 22036};
enum { COUNT = 22036 };

static void plain_add(const canto_device *self, int64_t n, const float *x, float *y)
{
    (void)self;
    for (int64_t i = 0; i < n; i++) y[i] += x[i];
}

// The one slot that the reduction may use.
static const canto_kernels kernels = {.name = "add only", .add = plain_add};
static const canto_device add_only = {.kernels = &kernels};

typedef struct fixture {
    canto_comm *lane;
    canto_arena arena, memory; // of the host, of the device
    float *grads;
    canto_grad grad;
} fixture;

static void fill_rank(int rank, float *x)
{
    char name[32];
    snprintf(name, sizeof name, "gradient of rank %d", rank);
    canto_test_fill(name, COUNT, x);
}

static void make(canto_arena *arena, canto_arena *memory, fixture *f)
{
    const bool host = canto_test_device->backend->host_memory;
    CANTO_TEST_OK(canto_arena_array(memory, "grads", COUNT, sizeof *f->grads, (void **)&f->grads));
    CANTO_TEST_OK(canto_grad_create(arena, memory, f->lane, host ? &add_only : canto_test_device,
                                    BUCKETS, bounds, f->grads, &f->grad));
    // Sizes of pieces are needed by those who measure too.
    int64_t begin, end;
    canto_grad_piece(&f->grad, 4, f->lane->rank, &begin, &end);
    assert_true(end - begin >= 20000 / f->lane->size);
}

static void set_up(fixture *f)
{
    canto_arena tables, memory;
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "gradients", 0, &f->lane));
    CANTO_TEST_OK(canto_device_lane(canto_test_device, f->lane, &f->lane));
    CANTO_TEST_OK(canto_arena_create_measuring(&tables));
    CANTO_TEST_OK(canto_arena_create_measuring(&memory));
    make(&tables, &memory, f);
    CANTO_TEST_OK(canto_arena_create(&f->arena, tables.peak));
    CANTO_TEST_OK(canto_arena_create_on(&f->memory, canto_test_device, memory.peak));
    make(&f->arena, &f->memory, f);
    canto_arena_destroy(&memory);
    canto_arena_destroy(&tables);
}

static void tear_down(fixture *f)
{
    canto_arena_destroy(&f->memory);
    canto_arena_destroy(&f->arena);
    canto_comm_destroy(&f->lane);
}

// Backward order; polls as chance will have it, different on every rank.
static void reduce(fixture *f, uint64_t seed)
{
    static float mine[COUNT];
    fill_rank(f->lane->rank, mine);
    canto_test_upload(f->grads, mine, sizeof mine);
    uint64_t draw = (uint64_t)f->lane->rank * 1000;
    for (int b = BUCKETS - 1; b >= 0; b--) {
        CANTO_TEST_OK(canto_grad_start(&f->grad, b));
        int64_t polls = canto_rng_below(seed, CANTO_RNG_TEST, draw++, 5);
        while (polls-- > 0) CANTO_TEST_OK(canto_grad_poll(&f->grad));
    }
    CANTO_TEST_OK(canto_grad_finish(&f->grad));
}

static void test_sums(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    const int size = f.lane->size;
    static float one[COUNT];
    static double sum[COUNT];
    memset(sum, 0, sizeof sum);
    for (int r = 0; r < size; r++) {
        fill_rank(r, one);
        for (int i = 0; i < COUNT; i++) sum[i] += one[i];
    }
    reduce(&f, 1);
    canto_test_download(one, f.grads, sizeof one);
    for (int b = 0; b < BUCKETS; b++) {
        int64_t begin, end;
        canto_grad_piece(&f.grad, b, f.lane->rank, &begin, &end);
        canto_test_close("sum", end - begin, one + begin, sum + begin, 1e-6);
    }
    tear_down(&f);
}

// r + (r-1) + ... + (r+1), each addition rounded to float; what I do not own stays mine.
static void test_order_of_sum(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    const int rank = f.lane->rank;
    const int size = f.lane->size;
    static float expected[COUNT], one[COUNT];
    fill_rank(rank, expected);
    for (int hop = 1; hop < size; hop++) {
        fill_rank((rank + size - hop) % size, one);
        for (int b = 0; b < BUCKETS; b++) {
            int64_t begin, end;
            canto_grad_piece(&f.grad, b, rank, &begin, &end);
            plain_add(NULL, end - begin, one + begin, expected + begin);
        }
    }
    reduce(&f, 1);
    canto_test_download(one, f.grads, sizeof one);
    assert_memory_equal(one, expected, sizeof expected);
    tear_down(&f);
}

static void test_same_bits(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    static float first[COUNT], next[COUNT];
    reduce(&f, 1);
    canto_test_download(first, f.grads, sizeof first);
    for (uint64_t seed = 2; seed < 6; seed++) {
        reduce(&f, seed);
        canto_test_download(next, f.grads, sizeof next);
        assert_memory_equal(first, next, sizeof first);
    }
    tear_down(&f);
}

// Pieces of all ranks, in order, are the bucket; they differ by at most one in size.
static void test_pieces(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    for (int b = 0; b < BUCKETS; b++) {
        int64_t at = bounds[b];
        for (int r = 0; r < f.lane->size; r++) {
            int64_t begin, end;
            canto_grad_piece(&f.grad, b, r, &begin, &end);
            const int64_t least = (bounds[b + 1] - bounds[b]) / f.lane->size;
            assert_int_equal(begin, at);
            assert_true(end - begin == least || end - begin == least + 1);
            at = end;
        }
        assert_int_equal(at, bounds[b + 1]);
    }
    tear_down(&f);
}

// Numbers that leave this rank in the reduction: all but its own pieces. In the gather: its own
// pieces, W - 1 times. One message for each piece that is not empty.
static void test_bytes(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    const int others = f.lane->size - 1;
    int64_t own = 0, pieces_of_others = 0, own_pieces = 0;
    for (int b = 0; b < BUCKETS; b++) {
        for (int r = 0; r < f.lane->size; r++) {
            int64_t begin, end;
            canto_grad_piece(&f.grad, b, r, &begin, &end);
            if (r == f.lane->rank) {
                own += end - begin;
                own_pieces += end > begin;
            } else {
                pieces_of_others += end > begin;
            }
        }
    }
    reduce(&f, 1);
    const canto_comm_counts counts = f.lane->counts;
    assert_int_equal(counts.bytes_sent, others > 0 ? 4 * (COUNT - own) : 0);
    assert_int_equal(counts.messages_sent, pieces_of_others);
    assert_int_equal(counts.bytes_received, 4 * own * others);
    CANTO_TEST_OK(canto_grad_gather_start(&f.grad, f.grads));
    CANTO_TEST_OK(canto_grad_gather_finish(&f.grad));
    assert_int_equal(f.lane->counts.bytes_sent - counts.bytes_sent, 4 * own * others);
    assert_int_equal(f.lane->counts.messages_sent - counts.messages_sent, own_pieces * others);
    // All ranks together send what an all-reduce by halves would: 2 (W - 1) arrays.
    double all = (double)f.lane->counts.bytes_sent;
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 1, &all));
    assert_true(all == 4.0 * 2 * others * COUNT);
    tear_down(&f);
}

static void test_gather(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    static float whole[COUNT], mine[COUNT];
    fill_rank(99, whole);
    memset(mine, 0, sizeof mine);
    for (int b = 0; b < BUCKETS; b++) {
        int64_t begin, end;
        canto_grad_piece(&f.grad, b, f.lane->rank, &begin, &end);
        memcpy(mine + begin, whole + begin, (size_t)(end - begin) * sizeof *mine);
    }
    float *params;
    CANTO_TEST_OK(canto_device_alloc(canto_test_device, sizeof mine, (void **)&params));
    canto_test_upload(params, mine, sizeof mine);
    CANTO_TEST_OK(canto_grad_gather_start(&f.grad, params));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "before the gather is finished",
                     canto_grad_start(&f.grad, 0));
    // The order of a forward pass: the last bucket, then the others.
    for (int place = 0; place < BUCKETS; place++) {
        const int b = place == 0 ? BUCKETS - 1 : place - 1;
        CANTO_TEST_OK(canto_grad_poll(&f.grad));
        CANTO_TEST_OK(canto_grad_gather_need(&f.grad, b));
        canto_test_download(mine + bounds[b], params + bounds[b],
                            (size_t)(bounds[b + 1] - bounds[b]) * sizeof *mine);
        assert_memory_equal(mine + bounds[b], whole + bounds[b],
                            (size_t)(bounds[b + 1] - bounds[b]) * sizeof *mine);
    }
    assert_memory_equal(mine, whole, sizeof whole);
    CANTO_TEST_OK(canto_grad_gather_finish(&f.grad)); // of nothing
    CANTO_TEST_OK(canto_grad_start(&f.grad, 0));
    CANTO_TEST_OK(canto_grad_finish(&f.grad));
    canto_device_release(canto_test_device, params, sizeof mine);
    tear_down(&f);
}

static void test_wrong_use(void **state)
{
    (void)state;
    fixture f;
    set_up(&f);
    CANTO_TEST_OK(canto_grad_start(&f.grad, 0));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "started already", canto_grad_start(&f.grad, 0));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "bucket 7 of 7", canto_grad_start(&f.grad, BUCKETS));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "gather before the reduction",
                     canto_grad_gather_start(&f.grad, f.grads));
    CANTO_TEST_OK(canto_grad_finish(&f.grad));
    CANTO_TEST_OK(canto_grad_finish(&f.grad)); // of nothing
    tear_down(&f);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_sums),      cmocka_unit_test(test_order_of_sum),
    cmocka_unit_test(test_same_bits), cmocka_unit_test(test_pieces),
    cmocka_unit_test(test_bytes),     cmocka_unit_test(test_gather),
    cmocka_unit_test(test_wrong_use),
};

const canto_test_module test_grad = {"grad", tests, sizeof tests / sizeof *tests};
