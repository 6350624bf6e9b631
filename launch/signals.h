// Requests from outside: SIGUSR1 = save now, SIGUSR2 = save and leave (exit code 75). mpirun
// forwards both to every rank. The handlers only set flags; the flags ride on the step's last
// message, so that all ranks act at the same step.
#ifndef CANTO_LAUNCH_SIGNALS_H
#define CANTO_LAUNCH_SIGNALS_H

#include "launch/trainer.h"

void canto_signals_catch(void);
// What was asked for since the last call.
canto_step_requests canto_signals_take(void);

#endif
