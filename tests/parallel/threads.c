// Both ends of a message post it on the list of their pair of ranks, the n-th send meets the n-th
// receive. Whoever waits first copies all that has been posted for it by both ends.
#define _POSIX_C_SOURCE 200809L

#include "tests/parallel/threads.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { POSTS_MAX = 4096, TIMEOUT_S = 10 };

typedef struct post {
    void *data;
    size_t bytes;
} post;

typedef struct pair {
    int sends_n, recvs_n, done_n; // messages are copied in order
    post sends[POSTS_MAX], recvs[POSTS_MAX];
} pair;

typedef struct hub {
    int size;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int64_t polls;
    pair *pairs; // [from * size + to]
} hub;

typedef struct thread_comm {
    canto_comm base;
    hub *hub;
    canto_test_body body;
    void *context;
    canto_status status;
    char message[CANTO_MESSAGE_MAX];
    pthread_t thread;
} thread_comm;

static int64_t last_polls;

static hub *hub_of(canto_comm *comm)
{
    return ((thread_comm *)comm)->hub;
}

static pair *pair_of(canto_comm *comm, int from, int to)
{
    return &hub_of(comm)->pairs[from * comm->size + to];
}

// A request names its pair and its number, from 1: the pair is (rank, peer) for sends.
static canto_request request_of(bool sends, int peer, int n)
{
    return ((int64_t)(2 * peer + sends) << 32) + n;
}

static canto_status start(canto_comm *comm, bool sends, int peer, canto_tensor data,
                          canto_request *out)
{
    hub *h = hub_of(comm);
    pair *p = sends ? pair_of(comm, comm->rank, peer) : pair_of(comm, peer, comm->rank);
    pthread_mutex_lock(&h->mutex);
    int *n = sends ? &p->sends_n : &p->recvs_n;
    const bool full = *n == POSTS_MAX;
    if (!full) {
        (sends ? p->sends : p->recvs)[(*n)++] = (post){data.data, canto_tensor_bytes(&data)};
        *out = request_of(sends, peer, *n);
        pthread_cond_broadcast(&h->changed);
    }
    pthread_mutex_unlock(&h->mutex);
    if (full) CANTO_FAIL(CANTO_ERROR_CAPACITY, "more than %d messages", POSTS_MAX);
    return CANTO_OK;
}

static canto_status thread_send(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    return start(comm, true, peer, data, out);
}

static canto_status thread_recv(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    return start(comm, false, peer, data, out);
}

// Copies what both ends have posted for this rank; the mutex is held.
static canto_status receive_all(canto_comm *comm)
{
    for (int from = 0; from < comm->size; from++) {
        pair *p = pair_of(comm, from, comm->rank);
        while (p->done_n < p->sends_n && p->done_n < p->recvs_n) {
            const post *send = &p->sends[p->done_n];
            const post *recv = &p->recvs[p->done_n];
            if (send->bytes != recv->bytes)
                CANTO_FAIL(CANTO_ERROR_MISMATCH, "rank %d sent %zu bytes, rank %d expects %zu",
                           from, send->bytes, comm->rank, recv->bytes);
            memcpy(recv->data, send->data, send->bytes);
            p->done_n++;
            pthread_cond_broadcast(&hub_of(comm)->changed);
        }
    }
    return CANTO_OK;
}

static bool is_done(canto_comm *comm, canto_request request)
{
    const int peer = (int)(request >> 33);
    const bool sends = (request >> 32) & 1;
    const pair *p = sends ? pair_of(comm, comm->rank, peer) : pair_of(comm, peer, comm->rank);
    return p->done_n >= (int)(request & 0xffffffff);
}

static canto_status wait_locked(canto_comm *comm, canto_request request)
{
    hub *h = hub_of(comm);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += TIMEOUT_S;
    for (;;) {
        CANTO_TRY(receive_all(comm));
        if (is_done(comm, request)) return CANTO_OK;
        if (pthread_cond_timedwait(&h->changed, &h->mutex, &limit) != 0)
            CANTO_FAIL(CANTO_ERROR_TIMEOUT, "rank %d waits for rank %d", comm->rank,
                       (int)(request >> 33));
    }
}

static canto_status thread_wait(canto_comm *comm, canto_request *request)
{
    hub *h = hub_of(comm);
    pthread_mutex_lock(&h->mutex);
    canto_status status = wait_locked(comm, *request);
    pthread_mutex_unlock(&h->mutex);
    *request = CANTO_REQUEST_NONE;
    return status;
}

static canto_status thread_poll(canto_comm *comm, canto_request *request, bool *done)
{
    hub *h = hub_of(comm);
    pthread_mutex_lock(&h->mutex);
    h->polls++;
    canto_status status = receive_all(comm);
    if (request) *done = is_done(comm, *request);
    pthread_mutex_unlock(&h->mutex);
    if (request && *done) *request = CANTO_REQUEST_NONE;
    return status;
}

static canto_status thread_group(canto_comm *comm)
{
    (void)comm;
    return CANTO_OK;
}

static const canto_comm_ops thread_ops = {
    .name = "threads",
    .send = thread_send,
    .recv = thread_recv,
    .wait = thread_wait,
    .poll = thread_poll,
    .group_begin = thread_group,
    .group_end = thread_group,
};

static void *thread_main(void *argument)
{
    thread_comm *it = argument;
    it->status = it->body(&it->base, it->context);
    strcpy(it->message, canto_error_message());
    return NULL;
}

static canto_status result_of(int size, const thread_comm *comms)
{
    for (int r = 0; r < size; r++) {
        if (comms[r].status == CANTO_OK) continue;
        canto_error_adopt(comms[r].message);
        return comms[r].status;
    }
    return CANTO_OK;
}

canto_status canto_test_threads_run(int size, canto_test_body body, void *context)
{
    CANTO_CHECK(size <= CANTO_TEST_THREADS_MAX, "%d ranks are too many threads", size);
    hub h = {.size = size, .pairs = calloc((size_t)(size * size), sizeof(pair))};
    if (!h.pairs) CANTO_FAIL(CANTO_ERROR_MEMORY, "no memory for %d ranks", size);
    pthread_mutex_init(&h.mutex, NULL);
    pthread_cond_init(&h.changed, NULL);
    thread_comm comms[CANTO_TEST_THREADS_MAX];
    for (int r = 0; r < size; r++) {
        comms[r] =
            (thread_comm){.base = {.ops = &thread_ops, .lane = "threads", .rank = r, .size = size},
                          .hub = &h,
                          .body = body,
                          .context = context};
        if (pthread_create(&comms[r].thread, NULL, thread_main, &comms[r]) != 0) abort();
    }
    for (int r = 0; r < size; r++) pthread_join(comms[r].thread, NULL);
    pthread_cond_destroy(&h.changed);
    pthread_mutex_destroy(&h.mutex);
    free(h.pairs);
    last_polls = h.polls;
    return result_of(size, comms);
}

int64_t canto_test_threads_polls(void)
{
    return last_polls;
}
