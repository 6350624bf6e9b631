// The scan with all ranks in one process: a post office delivers messages late and in random order,
// ranks are polled in random order, and the result is compared with a double loop over segments.
#include "tests/canto_test.h"

#include "parallel/scan.h"
#include "runtime/rng.h"
#include "tests/parallel/office.h"
#include "tests/parallel/transport_pairs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANKS_MAX = 6, SEGMENTS_MAX = 24, HEADS = 3, HEAD_COUNT = 5, STATE = HEADS * HEAD_COUNT };
enum { PARTS = 5, SUMMARY = STATE + PARTS, POLLS = 600 }; // parts of a state with own transitions

// --- one case ---

typedef struct setup {
    const canto_transport *transport;
    int size, segments;
    int owner[SEGMENTS_MAX], lengths[SEGMENTS_MAX];
    int documents_n;
    int64_t starts[256];
    const float *log_decay;
    bool gated, backward; // gated: transitions are data
} setup;

// Shards by hand, so that any rank may own any segment.
static void fill_shards(const setup *how, canto_arena *arena, canto_shards *out)
{
    int n = how->segments, at = 0;
    *out = (canto_shards){.size = how->size, .spans_n = n};
    CANTO_TEST_OK(canto_arena_array(arena, "s", n, sizeof *out->spans, (void **)&out->spans));
    CANTO_TEST_OK(canto_arena_array(arena, "f", how->size + 1, sizeof(int), (void **)&out->first));
    CANTO_TEST_OK(canto_arena_array(arena, "p", n, sizeof(int), (void **)&out->by_position));
    CANTO_TEST_OK(canto_arena_array(arena, "o", n, sizeof(int), (void **)&out->owner));
    for (int r = 0; r < how->size; r++) {
        out->first[r] = at;
        int64_t begin = 0, local = 0;
        for (int s = 0; s < n; s++) {
            int64_t end = begin + how->lengths[s];
            if (how->owner[s] == r) {
                out->spans[at] = (canto_span){begin, end, local};
                local += end - begin;
                out->owner[at] = r;
                out->by_position[s] = at++;
            }
            begin = end;
        }
        out->length = begin;
    }
    out->first[how->size] = at;
}

static bool starts_in(const setup *how, int64_t begin, int64_t end)
{
    for (int d = 0; d < how->documents_n; d++) {
        if (how->starts[d] >= begin && how->starts[d] < end) return true;
    }
    return false;
}

static int64_t position_of(const setup *how, int segment)
{
    int64_t position = 0;
    for (int s = 0; s < segment; s++) position += how->lengths[s];
    return position;
}

static void affine(const setup *how, int s, const float *u, double *state)
{
    int64_t begin = position_of(how, s);
    bool zero = starts_in(how, begin, begin + how->lengths[s]);
    for (int i = 0; i < STATE; i++) {
        double decay =
            how->log_decay ? exp((double)how->log_decay[i / HEAD_COUNT] * how->lengths[s]) : 1;
        if (how->gated) decay = exp((double)u[s * SUMMARY + STATE + i / (STATE / PARTS)]);
        state[i] = (zero ? 0 : decay * state[i]) + (double)u[s * SUMMARY + i];
    }
}

// u: [segments, SUMMARY], want: [segments, STATE]
static void reference(const setup *how, const float *u, double *want)
{
    double state[STATE] = {0};
    int n = how->segments;
    for (int i = 0; i < n; i++) {
        int s = how->backward ? n - 1 - i : i; // receives `state`
        int boundary = how->backward ? s + 1 : s;
        int64_t begin = position_of(how, boundary);
        if (boundary < n && starts_in(how, begin, begin + 1)) memset(state, 0, sizeof state);
        memcpy(want + s * STATE, state, sizeof state);
        affine(how, s, u, state);
    }
}

typedef struct world {
    canto_arena arena;
    office *post; // owned
    canto_shards shards;
    office_comm comms[RANKS_MAX];
    canto_scan *scans[RANKS_MAX];
    float summaries[RANKS_MAX][SEGMENTS_MAX * SUMMARY], states[RANKS_MAX][SEGMENTS_MAX * STATE];
} world;

static world *open_world(const setup *how, const float *u)
{
    world *made = calloc(1, sizeof *made);
    assert_non_null(made);
    made->post = calloc(1, sizeof *made->post);
    assert_non_null(made->post);
    CANTO_TEST_OK(canto_arena_create(&made->arena, (size_t)32 << 20));
    fill_shards(how, &made->arena, &made->shards);
    canto_documents documents = {how->documents_n, how->starts};
    int count[RANKS_MAX] = {0};
    for (int s = 0; s < how->segments; s++) {
        int r = how->owner[s], n = how->gated ? SUMMARY : STATE;
        memcpy(&made->summaries[r][count[r]++ * n], u + s * SUMMARY, (size_t)n * sizeof *u);
    }
    for (int r = 0; r < how->size; r++) {
        made->comms[r] = (office_comm){
            {.ops = &office_ops, .lane = "schedule", .rank = r, .size = how->size}, made->post};
        canto_scan_desc desc = {canto_device_cpu(), &made->comms[r].base, how->transport,
                                &made->shards, how->gated ? SUMMARY : STATE};
        CANTO_TEST_OK(canto_scan_create(&made->arena, &made->arena, &desc, &made->scans[r]));
        CANTO_TEST_OK(canto_scan_documents(made->scans[r], &documents));
        assert_int_equal(canto_scan_digest(made->scans[r]), canto_scan_digest(made->scans[0]));
    }
    return made;
}

static void close_world(world *made)
{
    canto_arena_destroy(&made->arena);
    free(made->post);
    free(made);
}

// Starts ranks in random order, polls them in random order, finishes them.
static void run_world(const setup *how, world *on, uint64_t seed)
{
    on->post->letters_n = on->post->opened = 0;
    on->post->seed = seed;
    memset(on->states, 0x7f, sizeof on->states);
    int first = (int)office_draw(on->post, how->size);
    for (int i = 0; i < how->size; i++) {
        int r = (first + i) % how->size;
        canto_scan_run run = {.heads = HEADS,
                              .head_count = HEAD_COUNT,
                              .log_decay = how->log_decay,
                              .transition_count = how->gated ? PARTS : 0,
                              .backward = how->backward,
                              .summaries = on->summaries[r],
                              .states = on->states[r]};
        CANTO_TEST_OK(canto_scan_start(on->scans[r], &run));
    }
    for (int i = 0; i < POLLS * how->size; i++)
        CANTO_TEST_OK(canto_scan_poll(on->scans[office_draw(on->post, how->size)]));
    for (int r = 0; r < how->size; r++) CANTO_TEST_OK(canto_scan_finish(on->scans[r]));
    for (int i = 0; i < on->post->letters_n; i++) assert_true(on->post->letters[i].done);
}

static void check_states(const setup *how, const world *on, const double *want)
{
    int count[RANKS_MAX] = {0};
    for (int s = 0; s < how->segments; s++) {
        int r = how->owner[s], at = count[r]++ * STATE;
        canto_test_close("state", STATE, &on->states[r][at], want + s * STATE, 2e-6);
    }
}

// Floats that all ranks have sent are those that the price and each rank's own count tell.
static void check_floats(const setup *how, const world *on)
{
    const canto_documents documents = {how->documents_n, how->starts};
    const int parts = how->gated ? PARTS : 0;
    int64_t sent = 0, told = 0;
    canto_scan_price price;
    for (int i = 0; i < on->post->letters_n; i++)
        sent += on->post->letters[i].send ? on->post->letters[i].count : 0;
    for (int r = 0; r < how->size; r++) {
        int64_t messages, bytes;
        canto_scan_sends(on->scans[r], STATE, parts, how->backward, &messages, &bytes);
        told += bytes / (int64_t)sizeof(float);
    }
    assert_int_equal(sent, told);
    CANTO_TEST_OK(canto_scan_price_make(how->transport, &on->shards, &documents, &price));
    assert_int_equal(sent, how->backward ? price.backward_messages * STATE +
                                               price.backward_transitions * parts
                                         : price.messages * STATE + price.transitions * parts);
}

// Returns the number of messages.
static int check_setup(const setup *how, uint64_t seed)
{
    static float u[SEGMENTS_MAX * SUMMARY];
    static double want[SEGMENTS_MAX * STATE];
    canto_test_fill("summaries", how->segments * SUMMARY, u);
    for (int i = 0; i < how->segments * SUMMARY; i++) {
        if (i % SUMMARY >= STATE) u[i] = i % 7 == 0 ? -1e4f : -fabsf(u[i]);
    }
    reference(how, u, want);
    world *on = open_world(how, u);
    run_world(how, on, seed);
    check_states(how, on, want);
    static float first[RANKS_MAX][SEGMENTS_MAX * STATE];
    memcpy(first, on->states, sizeof first);
    run_world(how, on, seed + 1);
    assert_memory_equal(first, on->states, sizeof first);
    check_floats(how, on);
    int sent = on->post->opened;
    close_world(on);
    return sent;
}

static const float decays[HEADS] = {0, -0.01f, -50};

// --- tests ---

static uint64_t cases;

static int draw_case(int n)
{
    return (int)canto_rng_below(3, CANTO_RNG_TEST, cases++, n);
}

static void draw_documents(setup *how)
{
    int64_t length = position_of(how, how->segments);
    int64_t longest = 1 + draw_case((int)length);
    how->starts[0] = 0;
    for (how->documents_n = 1; how->documents_n < 200; how->documents_n++) {
        int64_t next = how->starts[how->documents_n - 1] + 1 + draw_case((int)longest);
        if (next >= length) break;
        how->starts[how->documents_n] = next;
    }
    how->starts[how->documents_n] = length;
}

static void test_random_divisions(void **state)
{
    (void)state;
    for (int i = 0; i < 400; i++) {
        const canto_transport *transports[] = {canto_transports[0], canto_transports[1],
                                               &transport_pairs};
        setup how = {.transport = transports[i % 3], .size = 1 + draw_case(RANKS_MAX)};
        how.segments = 1 + draw_case(SEGMENTS_MAX);
        how.backward = draw_case(2);
        how.gated = draw_case(2);
        how.log_decay = !how.gated && draw_case(2) ? decays : NULL;
        for (int s = 0; s < how.segments; s++) {
            how.owner[s] = draw_case(how.size); // some ranks may own nothing
            how.lengths[s] = 1 + draw_case(8);
        }
        draw_documents(&how);
        check_setup(&how, (uint64_t)i);
    }
}

// sequences x size segments of four tokens, contiguous or zigzag; one document a sequence.
static setup regular(const char *transport, int size, int sequences, bool zigzag, bool backward)
{
    setup how = {.transport = canto_transport_find(transport),
                 .size = size,
                 .segments = sequences * size * (zigzag ? 2 : 1),
                 .documents_n = sequences,
                 .log_decay = decays,
                 .backward = backward};
    int period = how.segments / sequences;
    for (int s = 0; s < how.segments; s++) {
        int turn = s % period;
        how.owner[s] = turn < size ? turn : 2 * size - 1 - turn;
        how.lengths[s] = 4;
    }
    for (int d = 0; d <= sequences; d++) how.starts[d] = 4 * period * d;
    return how;
}

static void expect_price(const setup *how, int expected)
{
    canto_arena real;
    canto_shards shards;
    canto_scan_price price;
    const canto_documents documents = {how->documents_n, how->starts};
    CANTO_TEST_OK(canto_arena_create(&real, 1 << 20));
    fill_shards(how, &real, &shards);
    CANTO_TEST_OK(canto_scan_price_make(how->transport, &shards, &documents, &price));
    assert_int_equal(how->backward ? price.backward_messages : price.messages, expected);
    canto_arena_destroy(&real);
}

static void expect_messages(const char *transport, int size, int sequences, bool zigzag,
                            int expected)
{
    for (int backward = 0; backward < 2; backward++) {
        setup how = regular(transport, size, sequences, zigzag, backward);
        assert_int_equal(check_setup(&how, 5), expected);
        expect_price(&how, expected);
    }
}

static void test_message_counts(void **state)
{
    (void)state;
    expect_messages("lasp1", 4, 1, false, 3);
    expect_messages("lasp1", 4, 1, true, 6);
    expect_messages("lasp1", 4, 3, false, 9); // three chains
    expect_messages("lasp1", 1, 4, false, 0);
    expect_messages("lasp2", 4, 1, false, 12);
    expect_messages("lasp2", 4, 1, true, 24);
    expect_messages("lasp2", 4, 3, false, 36);
    expect_messages("lasp2", 1, 4, false, 0);
}

// A chain is not continued where a document starts with a segment; a start within one changes
// nothing, because tokens before it still read the state.
static void test_documents_prune_chains(void **state)
{
    (void)state;
    setup how = regular("lasp1", 6, 1, false, false);
    how.documents_n = 3;
    int64_t starts[] = {0, 8, 13, 24};
    memcpy(how.starts, starts, sizeof starts);
    assert_int_equal(check_setup(&how, 1), 4);
    expect_price(&how, 4);
    how.backward = true;
    assert_int_equal(check_setup(&how, 1), 4);
    expect_price(&how, 4);
}

static void test_measured_size(void **state)
{
    (void)state;
    setup how = regular("lasp2", 4, 2, true, false);
    canto_arena real, measuring;
    canto_shards shards;
    office_comm comm = {{.ops = &office_ops, .lane = "schedule", .rank = 2, .size = 4}, NULL};
    CANTO_TEST_OK(canto_arena_create(&real, 1 << 20));
    CANTO_TEST_OK(canto_arena_create_measuring(&measuring));
    fill_shards(&how, &real, &shards);
    size_t before = canto_arena_mark(&real);
    canto_scan_desc desc = {canto_device_cpu(), &comm.base, how.transport, &shards, STATE};
    canto_scan *scan;
    CANTO_TEST_OK(canto_scan_create(&measuring, &measuring, &desc, &scan));
    CANTO_TEST_OK(canto_scan_create(&real, &real, &desc, &scan));
    assert_int_equal(measuring.peak, real.peak - before);
    canto_arena_destroy(&measuring);
    canto_arena_destroy(&real);
}

static void test_misuse(void **state)
{
    (void)state;
    setup how = regular("lasp1", 1, 2, false, false);
    float u[2 * SUMMARY] = {0}, out[2 * STATE];
    world *on = open_world(&how, u);
    canto_scan *scan = on->scans[0];
    canto_scan_run run = {.heads = HEADS, .head_count = HEAD_COUNT, .summaries = u, .states = out};
    CANTO_TEST_OK(canto_scan_poll(scan));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no run to finish", canto_scan_finish(scan));
    CANTO_TEST_OK(canto_scan_start(scan, &run));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "already under way", canto_scan_start(scan, &run));
    CANTO_TEST_OK(canto_scan_finish(scan));
    run.heads = HEADS + 1;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "a state of 20 floats, made for 15",
                     canto_scan_start(scan, &run));
    run.heads = HEADS, run.transition_count = PARTS;
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "a state of 20 floats, made for 15",
                     canto_scan_start(scan, &run));
    canto_documents wrong = {1, (int64_t[]){0, 7}};
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "documents of 7 tokens, a stream of 8",
                     canto_scan_documents(scan, &wrong));
    close_world(on);
}

// Every input of the fold shows in the digest.
static void test_digest(void **state)
{
    (void)state;
    float u[SEGMENTS_MAX * SUMMARY] = {0};
    setup how[5];
    for (int i = 0; i < 5; i++) how[i] = regular(i == 1 ? "lasp1" : "lasp2", 3, 1, i == 2, false);
    how[3].documents_n = 2, how[3].starts[1] = 5, how[3].starts[2] = 12;
    how[4].documents_n = 2, how[4].starts[1] = 4, how[4].starts[2] = 12;
    uint64_t digests[5];
    for (int i = 0; i < 5; i++) {
        world *on = open_world(&how[i], u);
        digests[i] = canto_scan_digest(on->scans[0]);
        close_world(on);
        for (int j = 0; j < i; j++) assert_true(digests[j] != digests[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_divisions),
        cmocka_unit_test(test_message_counts),
        cmocka_unit_test(test_documents_prune_chains),
        cmocka_unit_test(test_measured_size),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
