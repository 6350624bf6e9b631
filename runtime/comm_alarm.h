// The alarm of a checked communicator and of everything split from it: one rank's error becomes
// every rank's. For the files runtime/comm_*.c only.
#ifndef CANTO_RUNTIME_COMM_ALARM_H
#define CANTO_RUNTIME_COMM_ALARM_H

#include "runtime/comm.h"

typedef struct canto_alarm canto_alarm;

// Collective on comm, of which it makes a lane of its own. One reference, given back by release.
canto_status canto_alarm_open(canto_comm *comm, canto_alarm **out);
canto_alarm *canto_alarm_share(canto_alarm *alarm); // one more reference
void canto_alarm_release(canto_alarm *alarm); // collective after success, local after an error

// Looks for other ranks' alarms, now and then; cheap enough to call in every turn of a wait.
// CANTO_OK, or the status of the alarm, whose sentence is then stored here. Local.
canto_status canto_alarm_listen(canto_alarm *alarm);

// Tells `mine` and the stored sentence to all ranks, unless they know of an error already. Returns
// what all ranks return: the error of the lowest rank that had one. Local; ends after a few
// seconds even if nobody listens.
canto_status canto_alarm_raise(canto_alarm *alarm, canto_status mine);

bool canto_alarm_rung(const canto_alarm *alarm);

#endif
