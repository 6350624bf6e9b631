// Fibers by ucontext: each thread of a block has a stack and runs until the next barrier.
#define _GNU_SOURCE
#include "tests/doubles/emulate.h"

#include "runtime/rng.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <ucontext.h>

enum { THREADS = CANTO_EMULATED_THREADS, STACK = 32 << 10 };

canto_emulated_index canto_emulated_thread, canto_emulated_block, canto_emulated_grid;

static ucontext_t threads[THREADS], scheduler;
static char stacks[THREADS][STACK];
static bool ended[THREADS];
static int order[THREADS];
static void (*body)(void *);
static void *body_argument;

static void run_thread(void)
{
    body(body_argument);
    ended[canto_emulated_thread.x] = true;
}

void canto_emulated_barrier(void)
{
    swapcontext(&threads[canto_emulated_thread.x], &scheduler);
}

static void shuffle(void)
{
    static uint64_t drawn;
    for (int i = THREADS - 1; i > 0; i--) {
        const int j = (int)canto_rng_below(1, CANTO_RNG_TEST, drawn++, i + 1);
        const int kept = order[i];
        order[i] = order[j];
        order[j] = kept;
    }
}

static void start_thread(int i)
{
    getcontext(&threads[i]);
    threads[i].uc_stack.ss_sp = stacks[i];
    threads[i].uc_stack.ss_size = STACK;
    threads[i].uc_link = &scheduler;
    makecontext(&threads[i], run_thread, 0);
    ended[i] = false;
    order[i] = i;
}

// From one barrier to the next. Returns how many threads are left.
static int run_phase(void)
{
    int left = 0;
    shuffle();
    for (int k = 0; k < THREADS; k++) {
        const int i = order[k];
        canto_emulated_thread.x = (unsigned)i;
        swapcontext(&scheduler, &threads[i]);
        left += !ended[i];
    }
    return left;
}

void canto_emulate(int64_t blocks, void (*thread)(void *), void *argument)
{
    body = thread;
    body_argument = argument;
    canto_emulated_grid.x = (unsigned)blocks;
    for (int64_t b = 0; b < blocks; b++) {
        int left;
        canto_emulated_block.x = (unsigned)b;
        for (int i = 0; i < THREADS; i++) start_thread(i);
        while ((left = run_phase()) == THREADS) continue;
        if (left == 0) continue;
        fprintf(stderr, "block %lld: %d threads wait at a barrier that the others do not reach\n",
                (long long)b, left);
        abort();
    }
}
