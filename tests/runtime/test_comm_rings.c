// Two rings of messages that progress independently, as keys and values do beside gradients: on a
// lane each they never disturb one another; on one lane together they must be caught.
#include "tests/canto_test.h"

#include "runtime/clock.h"
#include "runtime/comm_checked.h"
#include "runtime/rng.h"

#include <string.h>

enum { HOPS = 1000, LONGEST = 200, BOTH = 2 };

typedef struct ring {
    canto_comm *lane;
    int n; // numbers in a message
    int hop;
    canto_request out, in;
    float sent[LONGEST], received[LONGEST];
    int64_t wrong; // payloads that were not what the left neighbour sent
} ring;

static float payload(int rank, int n, int hop, int i)
{
    return (float)(rank * 100003 + n * 1009 + hop * 7 + i);
}

static canto_status ring_start(ring *r)
{
    const canto_comm *comm = r->lane;
    const int right = (comm->rank + 1) % comm->size;
    const int left = (comm->rank + comm->size - 1) % comm->size;
    for (int i = 0; i < r->n; i++) r->sent[i] = payload(comm->rank, r->n, r->hop, i);
    CANTO_TRY(
        canto_comm_recv(r->lane, left, canto_tensor_vector(CANTO_F32, r->received, r->n), &r->in));
    return canto_comm_send(r->lane, right, canto_tensor_vector(CANTO_F32, r->sent, r->n), &r->out);
}

static void ring_check(ring *r)
{
    const int left = (r->lane->rank + r->lane->size - 1) % r->lane->size;
    bool same = true;
    for (int i = 0; i < r->n; i++) same = same && r->received[i] == payload(left, r->n, r->hop, i);
    r->wrong += !same;
}

// Starts the next hop when this one is done.
static canto_status ring_poll(ring *r)
{
    if (r->hop == HOPS) return CANTO_OK;
    bool received, sent;
    CANTO_TRY(canto_comm_poll(r->lane, &r->in, &received));
    CANTO_TRY(canto_comm_poll(r->lane, &r->out, &sent));
    if (!received || !sent) return CANTO_OK;
    ring_check(r);
    r->hop++;
    return r->hop < HOPS ? ring_start(r) : CANTO_OK;
}

// Both rings to their end; which one is started first, and looked at next, is chance on every rank.
static canto_status run_rings(ring rings[BOTH], uint64_t seed)
{
    const uint64_t chance = canto_rng_seed(seed, "rings") + (uint64_t)rings[0].lane->rank;
    const double start_s = canto_clock_s();
    const int64_t first = canto_rng_below(chance, CANTO_RNG_TEST, 0, BOTH);
    CANTO_TRY(ring_start(&rings[first]));
    CANTO_TRY(ring_start(&rings[1 - first]));
    for (uint64_t turn = 1; rings[0].hop < HOPS || rings[1].hop < HOPS; turn++) {
        CANTO_TRY(ring_poll(&rings[canto_rng_below(chance, CANTO_RNG_TEST, turn, BOTH)]));
        if (canto_clock_s() - start_s > 60) {
            CANTO_FAIL(CANTO_ERROR_TIMEOUT, "rings stand still at hops %d and %d", rings[0].hop,
                       rings[1].hop);
        }
    }
    return CANTO_OK;
}

static int places(const canto_comm *lane)
{
    return ((const canto_checked *)lane)->messages_n;
}

static void test_two_lanes(void **state)
{
    (void)state;
    if (canto_test_world->size == 1) return;
    static ring rings[BOTH];
    memset(rings, 0, sizeof rings);
    rings[0].n = LONGEST;
    rings[1].n = 50;
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "schedule", 0, &rings[0].lane));
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "gradients", 0, &rings[1].lane));
    const int first[BOTH] = {places(rings[0].lane), places(rings[1].lane)};
    CANTO_TEST_OK(run_rings(rings, 1));
    for (int i = 0; i < BOTH; i++) {
        assert_int_equal(rings[i].wrong, 0);
        assert_int_equal(rings[i].lane->counts.messages_sent, HOPS);
        assert_int_equal(rings[i].lane->counts.bytes_received, HOPS * 4 * rings[i].n);
        // Places for open messages are used again.
        assert_int_equal(places(rings[i].lane), first[i]);
        canto_comm_destroy(&rings[i].lane);
    }
}

// Messages of different lengths are caught by their headers, on every rank.
static void test_one_lane_lengths(void **state)
{
    (void)state;
    if (canto_test_world->size == 1) return;
    static ring rings[BOTH];
    memset(rings, 0, sizeof rings);
    canto_comm *plain, *lane;
    const canto_comm_checks checks = {.headers = true, .timeout_s = 20};
    CANTO_TEST_OK(canto_comm_mpi_open(&plain));
    CANTO_TEST_OK(canto_comm_checked_open(plain, checks, &lane));
    rings[0] = (ring){.lane = lane, .n = LONGEST};
    rings[1] = (ring){.lane = lane, .n = 50};
    CANTO_TEST_FAILS(CANTO_ERROR_MISMATCH, "lane world: message", run_rings(rings, 1));
    canto_comm_destroy(&lane);
}

// Messages of one length cannot be told apart by a header: the payloads are wrong, which shows that
// the test above would see it if two lanes were one.
static void test_one_lane_payloads(void **state)
{
    (void)state;
    if (canto_test_world->size == 1) return;
    static ring rings[BOTH];
    memset(rings, 0, sizeof rings);
    canto_comm *lane;
    CANTO_TEST_OK(canto_comm_split(canto_test_world, "both", 0, &lane));
    rings[0] = (ring){.lane = lane, .n = 50};
    rings[1] = (ring){.lane = lane, .n = 50};
    rings[1].hop = 1; // the other ring is one hop ahead
    CANTO_TEST_OK(run_rings(rings, 1));
    double wrong = (double)(rings[0].wrong + rings[1].wrong);
    CANTO_TEST_OK(canto_comm_sum_small(canto_test_world, 1, &wrong));
    assert_true(wrong > 0);
    canto_comm_destroy(&lane);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_two_lanes),
    cmocka_unit_test(test_one_lane_lengths),
    cmocka_unit_test(test_one_lane_payloads),
};

const canto_test_module test_comm_rings = {"comm_rings", tests, sizeof tests / sizeof *tests};
