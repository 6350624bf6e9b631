// Both ends of a message are letters; they meet by their order between two ranks.
#include "tests/parallel/office.h"

#include "runtime/rng.h"
#include "tests/canto_test.h"

#include <string.h>

int64_t office_draw(office *post, int64_t n)
{
    return canto_rng_below(post->seed, CANTO_RNG_TEST, post->draws++, n);
}

static canto_status fake_start(canto_comm *comm, bool send, int peer, canto_tensor data,
                               canto_request *out)
{
    office *post = ((office_comm *)comm)->office;
    letter made = {.send = send,
                   .from = send ? comm->rank : peer,
                   .to = send ? peer : comm->rank,
                   .count = canto_tensor_count(&data),
                   .data = data.data};
    for (int i = 0; i < post->letters_n; i++) {
        const letter *old = &post->letters[i];
        made.order += old->send == send && old->from == made.from && old->to == made.to;
    }
    CANTO_CHECK(post->letters_n < OFFICE_LETTERS_MAX, "post office: full");
    post->letters[post->letters_n++] = made;
    post->opened += send;
    *out = post->letters_n;
    return CANTO_OK;
}

static canto_status fake_send(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    return fake_start(comm, true, peer, data, out);
}

static canto_status fake_recv(canto_comm *comm, int peer, canto_tensor data, canto_request *out)
{
    return fake_start(comm, false, peer, data, out);
}

// Data move when a message is completed, as late as can be: a send buffer that is reused too early
// shows.
static void deliver(office *post, letter *mine)
{
    for (int i = 0; i < post->letters_n && !mine->done; i++) {
        letter *other = &post->letters[i];
        if (other->send == mine->send || other->from != mine->from || other->to != mine->to ||
            other->order != mine->order)
            continue;
        letter *from = mine->send ? mine : other, *to = mine->send ? other : mine;
        assert_int_equal(from->count, to->count);
        memcpy(to->data, from->data, sizeof(float) * (size_t)from->count);
        mine->done = other->done = true;
    }
}

static canto_status fake_poll(canto_comm *comm, canto_request *request, bool *done)
{
    office *post = ((office_comm *)comm)->office;
    if (!request) return CANTO_OK;
    letter *mine = &post->letters[*request - 1];
    if (office_draw(post, 3) == 0) deliver(post, mine);
    *done = mine->done;
    if (mine->done) *request = CANTO_REQUEST_NONE;
    return CANTO_OK;
}

static canto_status fake_wait(canto_comm *comm, canto_request *request)
{
    office *post = ((office_comm *)comm)->office;
    letter *mine = &post->letters[*request - 1];
    deliver(post, mine);
    if (!mine->done) {
        CANTO_FAIL(CANTO_ERROR_TIMEOUT, "post office: %d to %d would wait for ever", mine->from,
                   mine->to);
    }
    *request = CANTO_REQUEST_NONE;
    return CANTO_OK;
}

static canto_status fake_reserve(canto_comm *comm, int messages)
{
    (void)comm, (void)messages;
    return CANTO_OK;
}

static canto_status fake_group(canto_comm *comm)
{
    (void)comm;
    return CANTO_OK;
}

const canto_comm_ops office_ops = {.name = "fake",
                                   .send = fake_send,
                                   .recv = fake_recv,
                                   .wait = fake_wait,
                                   .poll = fake_poll,
                                   .reserve = fake_reserve,
                                   .group_begin = fake_group,
                                   .group_end = fake_group};
