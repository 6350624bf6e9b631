// A signal handler can only reach static variables; these two are the program's only ones.
#define _GNU_SOURCE
#include "launch/signals.h"

#include <signal.h>

static volatile sig_atomic_t save_asked, leave_asked;

static void on_save(int signal)
{
    (void)signal;
    save_asked = 1;
}

static void on_leave(int signal)
{
    (void)signal;
    leave_asked = 1;
}

void canto_signals_catch(void)
{
    sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_save, .sa_flags = SA_RESTART}, NULL);
    sigaction(SIGUSR2, &(struct sigaction){.sa_handler = on_leave, .sa_flags = SA_RESTART}, NULL);
}

canto_step_requests canto_signals_take(void)
{
    canto_step_requests requests = {.save = save_asked, .leave = leave_asked};
    save_asked = 0;
    leave_asked = 0;
    return requests;
}
