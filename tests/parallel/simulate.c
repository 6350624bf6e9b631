#include "tests/parallel/simulate.h"

#include <string.h>

enum { PART, SUM, HOME, MESSAGES = 2 * SIM_VISITS };

typedef struct message {
    int kind, visit, target; // target: the visit that takes a sum
    int from, to, step, end;
    int sent, received;              // place among the messages of this pair of ranks; -1: not yet
    signed char content[SIM_VISITS]; // of a sum, when it was sent: whose contributions
} message;

typedef struct simulation {
    const sim_problem *problem;
    const canto_schedule *s;
    const char *why; // NULL while nothing is wrong
    int last_step;
    int messages_n;
    message messages[MESSAGES];
    int sends[SIM_RANKS][SIM_RANKS], receives[SIM_RANKS][SIM_RANKS];
    int at[SIM_RANKS];
    bool entered[SIM_RANKS];
    bool has[SIM_RANKS][SIM_TOKENS];
    int computed[SIM_TOKENS][SIM_TOKENS];
    signed char content[SIM_VISITS][SIM_VISITS]; // of the sum at each visit
    int home[SIM_VISITS];
} simulation;

static void wrong(simulation *sim, bool is_wrong, const char *why)
{
    if (is_wrong && !sim->why) sim->why = why;
}

static bool rank_ok(const simulation *sim, int rank)
{
    return rank >= 0 && rank < sim->problem->ranks;
}

static void check_form(simulation *sim)
{
    const canto_schedule *s = sim->s;
    for (int i = 0; i < s->parts_n; i++) {
        wrong(sim, !rank_ok(sim, s->parts[i].owner), "owner");
        wrong(sim, s->parts[i].step < 0 || s->parts[i].step > 4 * s->size, "step of own tiles");
    }
    for (int i = 0; i < s->visits_n; i++) {
        const canto_visit *v = &s->visits[i];
        wrong(sim, v->part < 0 || v->part >= s->parts_n, "part");
        wrong(sim, !rank_ok(sim, v->from) || !rank_ok(sim, v->to) || v->from == v->to, "rank");
        wrong(sim, v->step < 0 || v->need <= v->step || v->need > 4 * s->size, "step");
        for (int j = 0; j < i; j++) {
            const canto_visit *u = &s->visits[j];
            wrong(sim, u->part > v->part, "order of parts");
            wrong(sim, u->part == v->part && u->chain > v->chain, "order of chains");
            wrong(sim, u->part == v->part && u->chain == v->chain && u->need >= v->need,
                  "need along a chain");
        }
    }
}

static void check_parts(simulation *sim)
{
    int parts_of[SIM_TOKENS] = {0};
    const canto_schedule *s = sim->s;
    for (int i = 0; i < s->parts_n; i++) {
        const canto_part *p = &s->parts[i];
        bool inside = 0 <= p->begin && p->begin < p->end && p->end <= sim->problem->tokens;
        wrong(sim, !inside, "bounds of a part");
        if (!inside) return;
        wrong(sim, i > 0 && p->begin < s->parts[i - 1].end, "order of positions");
        for (int64_t k = p->begin; k < p->end; k++) {
            parts_of[k]++;
            wrong(sim, sim->problem->holder[k] != p->owner, "holder of a part");
            wrong(sim, sim->problem->span[k] != sim->problem->span[p->begin], "two spans");
        }
    }
    for (int k = 0; k < sim->problem->tokens; k++) {
        wrong(sim, parts_of[k] != 1, "every token in one part");
    }
}

static void add_message(simulation *sim, message m)
{
    m.sent = m.received = -1;
    sim->messages[sim->messages_n++] = m;
    if (m.end > sim->last_step) sim->last_step = m.end;
}

// By kind, then by visit.
static void derive_messages(simulation *sim, bool backward)
{
    const canto_schedule *s = sim->s;
    for (int i = 0; i < s->visits_n; i++) {
        const canto_visit *v = &s->visits[i];
        add_message(sim, (message){.kind = PART,
                                   .visit = i,
                                   .from = v->from,
                                   .to = v->to,
                                   .step = v->step,
                                   .end = v->need - 1});
        if (v->need > sim->last_step) sim->last_step = v->need;
    }
    for (int kind = SUM; backward && kind <= HOME; kind++) {
        for (int i = 0; i < s->visits_n; i++) {
            const canto_visit *v = &s->visits[i];
            int next = -1;
            for (int j = 0; j < s->visits_n; j++) {
                const canto_visit *u = &s->visits[j];
                if (u->part != v->part || u->chain != v->chain || u->need <= v->need) continue;
                if (next < 0 || u->need < s->visits[next].need) next = j;
            }
            if ((next < 0) != (kind == HOME)) continue;
            int to = kind == HOME ? s->parts[v->part].owner : s->visits[next].to;
            int end = kind == HOME ? v->need + 1 : s->visits[next].need;
            add_message(sim, (message){.kind = kind,
                                       .visit = i,
                                       .target = next,
                                       .from = v->to,
                                       .to = to,
                                       .step = v->need + 1,
                                       .end = end});
        }
    }
}

static bool needs(const simulation *sim, int rank, int64_t key)
{
    for (int q = 0; q < sim->problem->tokens; q++) {
        if (sim->problem->holder[q] == rank && sim->problem->allowed[q][key]) return true;
    }
    return false;
}

static void send(simulation *sim, message *m)
{
    m->sent = sim->sends[m->from][m->to]++;
    if (m->kind == PART) {
        const canto_part *p = &sim->s->parts[sim->s->visits[m->visit].part];
        for (int64_t k = p->begin; k < p->end; k++) {
            wrong(sim, !sim->has[m->from][k], "sends what it does not have");
        }
    } else {
        memcpy(m->content, sim->content[m->visit], sizeof m->content);
    }
}

static void receive(simulation *sim, const message *m)
{
    const canto_visit *v = &sim->s->visits[m->visit];
    if (m->kind == PART) {
        const canto_part *p = &sim->s->parts[v->part];
        for (int64_t k = p->begin; k < p->end; k++) {
            wrong(sim, sim->has[m->to][k], "receives what it has");
            wrong(sim, !needs(sim, m->to, k), "receives what it does not need");
            sim->has[m->to][k] = true;
        }
        return;
    }
    for (int i = 0; i < sim->s->visits_n; i++) {
        if (m->kind == HOME) {
            sim->home[i] += m->content[i];
        } else {
            sim->content[m->target][i] = (signed char)(sim->content[m->target][i] + m->content[i]);
        }
    }
}

static void compute(simulation *sim, int rank, const canto_part *part)
{
    for (int q = 0; q < sim->problem->tokens; q++) {
        if (sim->problem->holder[q] != rank) continue;
        for (int64_t k = part->begin; k < part->end; k++) {
            wrong(sim, !sim->has[rank][k], "computes with what it does not have");
            if (sim->problem->allowed[q][k]) sim->computed[q][k]++;
        }
    }
}

static void enter(simulation *sim, int rank)
{
    for (int i = 0; i < sim->messages_n; i++) {
        message *m = &sim->messages[i];
        if (m->step != sim->at[rank]) continue;
        if (m->from == rank) send(sim, m);
        if (m->to == rank) m->received = sim->receives[m->from][m->to]++;
    }
    for (int i = 0; i < sim->s->parts_n; i++) {
        const canto_part *p = &sim->s->parts[i];
        if (p->owner == rank && p->step == sim->at[rank]) compute(sim, rank, p);
    }
    for (int i = 0; i < sim->s->visits_n; i++) {
        const canto_visit *v = &sim->s->visits[i];
        if (v->to != rank || v->need != sim->at[rank]) continue;
        compute(sim, rank, &sim->s->parts[v->part]);
        sim->content[i][i]++;
    }
    sim->entered[rank] = true;
}

static bool may_leave(simulation *sim, int rank)
{
    for (int i = 0; i < sim->messages_n; i++) {
        const message *m = &sim->messages[i];
        if (m->end != sim->at[rank] || (m->from != rank && m->to != rank)) continue;
        if (m->sent < 0 || m->received < 0) return false;
        wrong(sim, m->sent != m->received, "messages cross");
    }
    return true;
}

static void leave(simulation *sim, int rank)
{
    for (int i = 0; i < sim->messages_n; i++) {
        const message *m = &sim->messages[i];
        if (m->end == sim->at[rank] && m->to == rank) receive(sim, m);
    }
    sim->at[rank]++;
    sim->entered[rank] = false;
}

static void run(simulation *sim)
{
    bool moving = true;
    while (moving && !sim->why) {
        moving = false;
        for (int r = 0; r < sim->problem->ranks; r++) {
            if (sim->at[r] > sim->last_step) continue;
            if (!sim->entered[r]) {
                enter(sim, r);
                moving = true;
            } else if (may_leave(sim, r)) {
                leave(sim, r);
                moving = true;
            }
        }
    }
    for (int r = 0; r < sim->problem->ranks; r++) {
        wrong(sim, sim->at[r] <= sim->last_step, "waits for ever");
    }
}

static void check_results(simulation *sim, bool backward)
{
    for (int q = 0; q < sim->problem->tokens; q++) {
        for (int k = 0; k < sim->problem->tokens; k++) {
            wrong(sim, sim->computed[q][k] != sim->problem->allowed[q][k],
                  "an allowed pair is not computed once");
        }
    }
    for (int i = 0; backward && i < sim->s->visits_n; i++) {
        wrong(sim, sim->home[i] != 1, "a sum does not come home once");
    }
}

bool simulate(const sim_problem *problem, const canto_schedule *schedule, const char **why)
{
    static simulation sim;
    for (int backward = 0; backward < 2; backward++) {
        memset(&sim, 0, sizeof sim);
        sim.problem = problem;
        sim.s = schedule;
        check_form(&sim);
        check_parts(&sim);
        for (int i = 0; i < schedule->parts_n && !sim.why; i++) {
            if (schedule->parts[i].step > sim.last_step) sim.last_step = schedule->parts[i].step;
            for (int64_t k = schedule->parts[i].begin; k < schedule->parts[i].end; k++) {
                sim.has[schedule->parts[i].owner][k] = true;
            }
        }
        if (!sim.why) derive_messages(&sim, backward);
        if (!sim.why) run(&sim);
        if (!sim.why) check_results(&sim, backward);
        *why = sim.why;
        if (sim.why) return false;
    }
    return true;
}
