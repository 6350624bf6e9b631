// Every rank keeps a receive open from every other. A rank that finds an error sends it to all
// (W-1 messages of half a kilobyte), and everybody who hears of one listens a little longer, so
// that ranks which found two sides of one mistake still report the same sentence. A run without
// errors sends nothing here; the open receives are cancelled when the lane is destroyed.
#include "runtime/comm_alarm.h"

#include "runtime/clock.h"
#include "runtime/comm_base.h"

#include <stdlib.h>
#include <string.h>

static const double listen_every_s = 0.5e-3;
static const double settle_s = 0.1;  // for the errors of ranks that found the same mistake
static const double deliver_s = 2.0; // for a rank that computes and does not look

typedef struct record {
    int32_t status;
    char message[CANTO_MESSAGE_MAX];
} record;

struct canto_alarm {
    canto_comm *lane; // owned
    int references;
    double next_s;       // when to look again
    record verdict;      // what all ranks report; status CANTO_OK before the first error
    int origin;          // the rank it comes from
    record mine;         // what this rank tells
    record *heard;       // owned, one a rank
    canto_request *in;   // owned, one a rank
    canto_request *sent; // owned, one a rank
};

static canto_tensor as_tensor(record *r)
{
    return canto_tensor_vector(CANTO_U8, r, sizeof *r);
}

static canto_status post_receives(canto_alarm *alarm)
{
    for (int r = 0; r < alarm->lane->size; r++) {
        if (r == alarm->lane->rank) continue;
        CANTO_TRY(canto_comm_recv(alarm->lane, r, as_tensor(&alarm->heard[r]), &alarm->in[r]));
    }
    return CANTO_OK;
}

static canto_status create(canto_comm *lane, canto_alarm **out)
{
    const size_t n = (size_t)lane->size;
    canto_alarm *alarm = calloc(1, sizeof *alarm);
    record *heard = calloc(n, sizeof *heard);
    canto_request *in = calloc(n, sizeof *in);
    canto_request *sent = calloc(n, sizeof *sent);
    if (!alarm || !heard || !in || !sent) {
        free(alarm);
        free(heard);
        free(in);
        free(sent);
        CANTO_FAIL(CANTO_ERROR_MEMORY, "lane alarm: no memory for %d ranks", lane->size);
    }
    *alarm = (canto_alarm){.lane = lane,
                           .references = 1,
                           .origin = lane->size,
                           .heard = heard,
                           .in = in,
                           .sent = sent};
    *out = alarm;
    return CANTO_OK;
}

canto_status canto_alarm_open(canto_comm *comm, canto_alarm **out)
{
    *out = NULL;
    canto_comm *lane;
    CANTO_TRY(canto_comm_split(comm, "alarm", 0, &lane));
    canto_status status = canto_comm_agree(lane, create(lane, out));
    if (status == CANTO_OK) status = post_receives(*out);
    if (status == CANTO_OK) return CANTO_OK;
    if (*out) {
        canto_alarm_release(*out);
    } else {
        canto_comm_destroy(&lane);
    }
    return status;
}

canto_alarm *canto_alarm_share(canto_alarm *alarm)
{
    alarm->references++;
    return alarm;
}

void canto_alarm_release(canto_alarm *alarm)
{
    if (--alarm->references > 0) return;
    if (canto_alarm_rung(alarm)) alarm->lane->failed = (canto_status)alarm->verdict.status;
    canto_comm_destroy(&alarm->lane);
    free(alarm->heard);
    free(alarm->in);
    free(alarm->sent);
    free(alarm);
}

bool canto_alarm_rung(const canto_alarm *alarm)
{
    return alarm->verdict.status != CANTO_OK;
}

// Of several errors the one of the lowest rank counts, so that all ranks choose alike.
static void consider(canto_alarm *alarm, const record *error, int origin)
{
    if (origin >= alarm->origin) return;
    alarm->verdict = *error;
    alarm->origin = origin;
}

static canto_status look(canto_alarm *alarm)
{
    for (int r = 0; r < alarm->lane->size; r++) {
        if (alarm->in[r] == CANTO_REQUEST_NONE) continue;
        bool done;
        CANTO_TRY(canto_comm_poll(alarm->lane, &alarm->in[r], &done));
        if (done) consider(alarm, &alarm->heard[r], r);
    }
    return CANTO_OK;
}

static bool delivered(canto_alarm *alarm)
{
    bool all = true;
    for (int r = 0; r < alarm->lane->size; r++) {
        bool done;
        const canto_status status = canto_comm_poll(alarm->lane, &alarm->sent[r], &done);
        all = all && (done || status != CANTO_OK);
    }
    return all;
}

static canto_status settle(canto_alarm *alarm)
{
    const double start_s = canto_clock_s();
    for (double since_s = 0; since_s < deliver_s; since_s = canto_clock_s() - start_s) {
        if (look(alarm) != CANTO_OK) break; // the alarm itself is broken: report what we have
        if (delivered(alarm) && since_s > settle_s) break;
    }
    canto_error_adopt(alarm->verdict.message);
    return (canto_status)alarm->verdict.status;
}

canto_status canto_alarm_listen(canto_alarm *alarm)
{
    if (canto_alarm_rung(alarm)) {
        if (canto_error_message()[0] == '\0') canto_error_adopt(alarm->verdict.message);
        return (canto_status)alarm->verdict.status;
    }
    const double now_s = canto_clock_s();
    if (now_s < alarm->next_s) return CANTO_OK;
    alarm->next_s = now_s + listen_every_s;
    CANTO_TRY(look(alarm));
    return canto_alarm_rung(alarm) ? settle(alarm) : CANTO_OK;
}

canto_status canto_alarm_raise(canto_alarm *alarm, canto_status mine)
{
    if (canto_alarm_rung(alarm)) return canto_alarm_listen(alarm);
    alarm->mine.status = (int32_t)mine;
    strncpy(alarm->mine.message, canto_error_message(), CANTO_MESSAGE_MAX - 1);
    consider(alarm, &alarm->mine, alarm->lane->rank);
    for (int r = 0; r < alarm->lane->size; r++) {
        if (r == alarm->lane->rank) continue;
        // A rank that cannot be reached is no reason not to tell the others.
        if (canto_comm_send(alarm->lane, r, as_tensor(&alarm->mine), &alarm->sent[r]) != CANTO_OK)
            break;
    }
    return settle(alarm);
}
