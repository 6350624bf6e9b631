// Streams that run late: order within a stream and after points always holds, every other order
// comes up under some seed, so that a wait that was left out is found; nothing runs unasked; the
// end of every mistake is a sentence.
#include "tests/canto_test.h"

#include "tests/allocations.h"

#include "runtime/shadow/streams.h"

#include <string.h>

enum { SEEDS = 200 };

static canto_shadow_streams *open_streams(uint64_t seed)
{
    canto_shadow_streams *streams;
    CANTO_TEST_OK(canto_shadow_streams_open(seed, 0, 0.2, &streams));
    return streams;
}

static int open_stream(canto_shadow_streams *streams, const char *name)
{
    int number;
    CANTO_TEST_OK(canto_shadow_stream_open(streams, name, &number));
    return number;
}

// --- work ---

typedef struct written {
    char text[64];
    int n;
} written;

typedef struct letter {
    written *where;
    char what;
    int calls; // before it is done
} letter;

static canto_status write_letter(void *argument, bool *done)
{
    letter *it = argument;
    *done = it->calls-- <= 1;
    if (*done) it->where->text[it->where->n++] = it->what;
    return CANTO_OK;
}

static void put_slow(canto_shadow_streams *streams, int stream, written *where, char what,
                     int calls)
{
    const letter it = {where, what, calls};
    CANTO_TEST_OK(canto_shadow_put(streams, stream, "a letter", write_letter, sizeof it, &it));
}

static void put(canto_shadow_streams *streams, int stream, written *where, char what)
{
    put_slow(streams, stream, where, what, 1);
}

// --- order ---

static void nothing_runs_unasked(void **state)
{
    (void)state;
    canto_shadow_streams *streams = open_streams(1);
    written w = {.n = 0};
    const int a = open_stream(streams, "a");
    for (int i = 0; i < 10; i++) put(streams, a, &w, 'x');
    assert_int_equal(w.n, 0);
    assert_false(canto_shadow_idle(streams));
    const canto_shadow_point end = canto_shadow_end(streams, a);
    assert_false(canto_shadow_reached(streams, end));
    CANTO_TEST_OK(canto_shadow_run(streams, end));
    assert_int_equal(w.n, 10);
    assert_true(canto_shadow_reached(streams, end) && canto_shadow_idle(streams));
    CANTO_TEST_OK(canto_shadow_streams_close(&streams));
}

// Polls run something in the end, but not always.
static void polls_run_a_little(void **state)
{
    (void)state;
    canto_shadow_streams *streams = open_streams(1);
    written w = {.n = 0};
    const int a = open_stream(streams, "a");
    for (int i = 0; i < 40; i++) put(streams, a, &w, 'x');
    int idle = 0, polls = 0;
    for (; w.n < 40; polls++) {
        const int before = w.n;
        CANTO_TEST_OK(canto_shadow_let_run(streams));
        idle += w.n == before;
    }
    assert_true(idle > 0 && idle < polls && polls < 1000);
    CANTO_TEST_OK(canto_shadow_streams_close(&streams));
}

// How often each of the orders of a program comes up; the programs write "ab" and "c" from two
// streams.
typedef struct orders {
    int abc, acb, cab;
} orders;

static orders orders_of(void (*program)(canto_shadow_streams *streams, int a, int b, written *w))
{
    orders found = {0};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        canto_shadow_streams *streams = open_streams(seed);
        written w = {.n = 0};
        const int a = open_stream(streams, "a"), b = open_stream(streams, "b");
        program(streams, a, b, &w);
        CANTO_TEST_OK(canto_shadow_run_all(streams));
        CANTO_TEST_OK(canto_shadow_streams_close(&streams));
        found.abc += strcmp(w.text, "abc") == 0;
        found.acb += strcmp(w.text, "acb") == 0;
        found.cab += strcmp(w.text, "cab") == 0;
    }
    assert_int_equal(found.abc + found.acb + found.cab, SEEDS);
    return found;
}

static void free_streams(canto_shadow_streams *streams, int a, int b, written *w)
{
    put(streams, a, w, 'a');
    put(streams, a, w, 'b');
    put(streams, b, w, 'c');
}

static void after_the_first(canto_shadow_streams *streams, int a, int b, written *w)
{
    put(streams, a, w, 'a');
    CANTO_TEST_OK(canto_shadow_follow(streams, b, canto_shadow_end(streams, a)));
    put(streams, a, w, 'b');
    put(streams, b, w, 'c');
}

static void before_the_first(canto_shadow_streams *streams, int a, int b, written *w)
{
    put(streams, b, w, 'c');
    CANTO_TEST_OK(canto_shadow_follow(streams, a, canto_shadow_end(streams, b)));
    put(streams, a, w, 'a');
    put(streams, a, w, 'b');
}

static void every_legal_order_comes_up_and_no_other(void **state)
{
    (void)state;
    const orders any = orders_of(free_streams);
    assert_true(any.abc > SEEDS / 10 && any.acb > SEEDS / 50 && any.cab > SEEDS / 10);
    const orders after = orders_of(after_the_first);
    assert_true(after.abc > 0 && after.acb > 0 && after.cab == 0);
    assert_int_equal(orders_of(before_the_first).cab, SEEDS);
}

static void a_seed_repeats_its_order(void **state)
{
    (void)state;
    written w[3] = {{.n = 0}};
    for (int run = 0; run < 3; run++) {
        canto_shadow_streams *streams = open_streams(run == 2 ? 8 : 7);
        const int a = open_stream(streams, "a"), b = open_stream(streams, "b");
        for (int i = 0; i < 60; i++)
            put_slow(streams, i % 2 ? a : b, &w[run], i % 2 ? 'a' : 'b', i);
        CANTO_TEST_OK(canto_shadow_run_all(streams));
        CANTO_TEST_OK(canto_shadow_streams_close(&streams));
    }
    assert_memory_equal(w[0].text, w[1].text, 60);
    assert_true(memcmp(w[0].text, w[2].text, 60) != 0);
}

// What a missing wait does: a message writes, a kernel reads.
typedef struct buffer {
    int value, read;
} buffer;

static canto_status arrive(void *argument, bool *done)
{
    (*(buffer **)argument)->value = 1;
    *done = true;
    return CANTO_OK;
}

static canto_status read_buffer(void *argument, bool *done)
{
    buffer *b = *(buffer **)argument;
    b->read = b->value;
    *done = true;
    return CANTO_OK;
}

static int reads_too_early(bool waits, int seeds)
{
    int early = 0;
    for (uint64_t seed = 0; seed < (uint64_t)seeds; seed++) {
        canto_shadow_streams *streams = open_streams(seed);
        buffer b = {0};
        buffer *at = &b;
        const int lane = open_stream(streams, "lane"), queue = open_stream(streams, "queue");
        CANTO_TEST_OK(canto_shadow_put(streams, lane, "receive", arrive, sizeof at, &at));
        if (waits)
            CANTO_TEST_OK(canto_shadow_follow(streams, queue, canto_shadow_end(streams, lane)));
        CANTO_TEST_OK(canto_shadow_put(streams, queue, "kernel", read_buffer, sizeof at, &at));
        CANTO_TEST_OK(canto_shadow_run(streams, canto_shadow_end(streams, queue)));
        early += b.read == 0;
        CANTO_TEST_OK(canto_shadow_run_all(streams));
        CANTO_TEST_OK(canto_shadow_streams_close(&streams));
    }
    return early;
}

static void a_missing_wait_is_found(void **state)
{
    (void)state;
    assert_true(reads_too_early(false, 8) > 0);
    assert_int_equal(reads_too_early(true, SEEDS), 0);
}

// --- points ---

// A point stays what it was when it was taken, whatever follows in its stream.
static void points_do_not_move(void **state)
{
    (void)state;
    canto_shadow_streams *streams = open_streams(3);
    written w = {.n = 0};
    const int a = open_stream(streams, "a"), b = open_stream(streams, "b");
    const canto_shadow_point none = canto_shadow_end(streams, a);
    assert_true(canto_shadow_reached(streams, none));
    assert_true(canto_shadow_reached(streams, (canto_shadow_point){0}));
    put(streams, a, &w, 'a');
    const canto_shadow_point first = canto_shadow_end(streams, a);
    for (int i = 0; i < 50; i++) put(streams, a, &w, 'b');
    CANTO_TEST_OK(canto_shadow_follow(streams, b, first));
    put(streams, b, &w, 'c');
    CANTO_TEST_OK(canto_shadow_run(streams, canto_shadow_end(streams, b)));
    assert_true(canto_shadow_reached(streams, first));
    assert_true(memchr(w.text, 'a', (size_t)w.n) < memchr(w.text, 'c', (size_t)w.n));
    // A stream that is closed has run what it held, and its number stays reached.
    const canto_shadow_point last = canto_shadow_end(streams, a);
    CANTO_TEST_OK(canto_shadow_stream_close(streams, a));
    assert_int_equal(w.n, 52);
    const int c = open_stream(streams, "c");
    assert_true(c != a && canto_shadow_reached(streams, last));
    put(streams, c, &w, 'd');
    assert_true(canto_shadow_reached(streams, last));
    CANTO_TEST_OK(canto_shadow_run_all(streams));
    CANTO_TEST_OK(canto_shadow_streams_close(&streams));
}

// --- room ---

typedef struct block {
    uint64_t *sum;
    int64_t number, pad[100];
} block;

static canto_status add_block(void *argument, bool *done)
{
    const block *it = argument;
    assert_int_equal((uintptr_t)argument % 16, 0);
    for (int i = 0; i < 100; i++) assert_int_equal(it->pad[i], it->number + i);
    *it->sum = *it->sum * 31 + (uint64_t)it->number;
    *done = true;
    return CANTO_OK;
}

// Arguments of any size wrap around the ring whole, and nothing is allocated on the way.
static void a_full_stream_works_until_there_is_room(void **state)
{
    (void)state;
    static char large[CANTO_SHADOW_ARGUMENT_MAX];
    canto_shadow_streams *streams = open_streams(3);
    const int a = open_stream(streams, "a");
    uint64_t sum = 0, expected = 0;
    const int64_t before = canto_test_allocations();
    for (int64_t n = 0; n < 20000; n++) {
        block it = {.sum = &sum, .number = n};
        for (int i = 0; i < 100; i++) it.pad[i] = n + i;
        memcpy(large, &it, sizeof it);
        const size_t bytes = n % 7 == 0 ? sizeof it + (size_t)n * 5 : sizeof it;
        CANTO_TEST_OK(canto_shadow_put(streams, a, "a block", add_block, bytes, large));
        expected = expected * 31 + (uint64_t)n;
    }
    assert_false(sum == 0 || sum == expected); // some ran for room, and some did not
    CANTO_TEST_OK(canto_shadow_run_all(streams));
    assert_int_equal(canto_test_allocations() - before, 0);
    assert_true(sum == expected);
    CANTO_TEST_FAILS(
        CANTO_ERROR_ARGUMENT, "too big with an argument of 131073 bytes",
        canto_shadow_put(streams, a, "too big", add_block, CANTO_SHADOW_ARGUMENT_MAX + 1, NULL));
    CANTO_TEST_OK(canto_shadow_streams_close(&streams));
}

// --- mistakes ---

static canto_status never(void *argument, bool *done)
{
    (void)argument, (void)done;
    return CANTO_OK;
}

static void a_message_that_never_comes_is_named(void **state)
{
    (void)state;
    canto_shadow_streams *streams = open_streams(77);
    written w = {.n = 0};
    const int lane = open_stream(streams, "schedule"), queue = open_stream(streams, "queue");
    CANTO_TEST_OK(canto_shadow_put(streams, lane, "receive from rank 3", never, 0, NULL));
    CANTO_TEST_OK(canto_shadow_follow(streams, queue, canto_shadow_end(streams, lane)));
    put(streams, queue, &w, 'x');
    const canto_shadow_point end = canto_shadow_end(streams, queue);
    CANTO_TEST_FAILS(CANTO_ERROR_TIMEOUT,
                     "CANTO_SHADOW_SEED=77): nothing got done for 0.2 s; stream schedule: receive "
                     "from rank 3; stream queue: a wait for stream schedule",
                     canto_shadow_run(streams, end));
    // From then on everything says so.
    CANTO_TEST_FAILS(CANTO_ERROR_TIMEOUT, "nothing got done", canto_shadow_run(streams, end));
    CANTO_TEST_FAILS(CANTO_ERROR_TIMEOUT, "nothing got done",
                     canto_shadow_put(streams, queue, "more", never, 0, NULL));
    CANTO_TEST_OK(canto_shadow_stream_close(streams, queue));
    CANTO_TEST_FAILS(CANTO_ERROR_TIMEOUT, "nothing got done", canto_shadow_streams_close(&streams));
    assert_null(streams);
    assert_int_equal(w.n, 0);
}

static canto_status fail_in_work(void *argument, bool *done)
{
    (void)argument, (void)done;
    CANTO_FAIL(CANTO_ERROR_NUMBERS, "work number one failed");
}

static void the_first_error_is_told_to_whoever_waits(void **state)
{
    (void)state;
    canto_shadow_streams *streams = open_streams(1);
    const int a = open_stream(streams, "a");
    CANTO_TEST_OK(canto_shadow_put(streams, a, "one", fail_in_work, 0, NULL));
    CANTO_TEST_OK(canto_shadow_put(streams, a, "two", never, 0, NULL));
    CANTO_TEST_FAILS(CANTO_ERROR_NUMBERS, "work number one failed", canto_shadow_run_all(streams));
    CANTO_TEST_FAILS(CANTO_ERROR_NUMBERS, "work number one failed", canto_shadow_let_run(streams));
    CANTO_TEST_FAILS(CANTO_ERROR_NUMBERS, "work number one", canto_shadow_streams_close(&streams));
}

static canto_status wait_inside(void *argument, bool *done)
{
    *done = true;
    return canto_shadow_run_all(*(canto_shadow_streams **)argument);
}

static void wrong_use_ends_in_a_sentence(void **state)
{
    (void)state;
    canto_shadow_streams *streams = open_streams(1);
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no stream 1 for work",
                     canto_shadow_put(streams, 1, "work", never, 0, NULL));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "no stream 0", canto_shadow_stream_close(streams, 0));
    const int a = open_stream(streams, "a");
    CANTO_TEST_OK(canto_shadow_put(streams, a, "left", never, 0, NULL));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "1 operations that never ran",
                     canto_shadow_streams_close(&streams));
    streams = open_streams(1);
    const int b = open_stream(streams, "b");
    CANTO_TEST_OK(canto_shadow_put(streams, b, "waits", wait_inside, sizeof streams, &streams));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "work waits for other work",
                     canto_shadow_run_all(streams));
    CANTO_TEST_FAILS(CANTO_ERROR_ARGUMENT, "work waits", canto_shadow_streams_close(&streams));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(nothing_runs_unasked),
    cmocka_unit_test(polls_run_a_little),
    cmocka_unit_test(every_legal_order_comes_up_and_no_other),
    cmocka_unit_test(a_seed_repeats_its_order),
    cmocka_unit_test(a_missing_wait_is_found),
    cmocka_unit_test(points_do_not_move),
    cmocka_unit_test(a_full_stream_works_until_there_is_room),
    cmocka_unit_test(a_message_that_never_comes_is_named),
    cmocka_unit_test(the_first_error_is_told_to_whoever_waits),
    cmocka_unit_test(wrong_use_ends_in_a_sentence),
};

int main(void)
{
    return cmocka_run_group_tests(tests, NULL, NULL);
}
