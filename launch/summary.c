// One gathered record a rank. Columns are fixed, and lines fit a terminal of 80 columns.
#define _GNU_SOURCE
#include "launch/summary.h"

#include "launch/amount.h"
#include "runtime/process.h"

#include <jansson.h>
#include <stdlib.h>

_Static_assert(sizeof(canto_rank_summary) <= CANTO_GATHER_SMALL_MAX, "a summary is a small record");

canto_spread canto_spread_of(int n, const void *first, size_t stride)
{
    canto_spread spread = {0};
    for (int i = 0; i < n; i++) {
        const double x = *(const double *)((const char *)first + (size_t)i * stride);
        if (i == 0 || x < spread.min) spread.min = x;
        if (i == 0 || x > spread.max) spread.max = x, spread.slowest = i;
        spread.mean += x / n;
    }
    return spread;
}

canto_status canto_summary_make(canto_trainer *trainer, canto_summary *out)
{
    canto_comm *control = trainer->job->mesh.control;
    const canto_arenas *arenas = &trainer->arenas;
    canto_rank_summary mine = {
        .tally = trainer->tally,
        .arena_bytes = (int64_t)(arenas->params.capacity + arenas->step.capacity +
                                 arenas->work.capacity + arenas->tables.capacity),
        .peak_bytes = canto_process_memory_read().peak,
    };
    for (int i = 0; i < CANTO_PHASES; i++) mine.seconds[i] = trainer->phases.seconds[i];
    *out = (canto_summary){.size = control->size,
                           .ranks = calloc((size_t)control->size, sizeof *out->ranks)};
    canto_status status = CANTO_OK;
    if (!out->ranks)
        status = canto_error_raise(CANTO_ERROR_MEMORY, __FILE__, __LINE__,
                                   "summary: no memory for %d ranks", control->size);
    CANTO_TRY(canto_comm_agree(control, status));
    return canto_comm_gather_small(control, sizeof mine, &mine, out->ranks);
}

void canto_summary_destroy(canto_summary *summary)
{
    free(summary->ranks);
    *summary = (canto_summary){0};
}

canto_lane_tally canto_summary_lane(const canto_summary *summary, canto_lane lane)
{
    canto_lane_tally sum = {0};
    for (int r = 0; r < summary->size; r++) {
        const canto_lane_tally *rank = &summary->ranks[r].tally.lanes[lane];
        sum.sent = canto_traffic_add(sum.sent, rank->sent);
        sum.priced = canto_traffic_add(sum.priced, rank->priced);
        sum.collectives += rank->collectives;
        sum.wait_s += rank->wait_s;
    }
    return sum;
}

static canto_spread phase_spread(const canto_summary *summary, int phase)
{
    return canto_spread_of(summary->size, &summary->ranks[0].seconds[phase],
                           sizeof *summary->ranks);
}

static canto_spread wait_spread(const canto_summary *summary, int lane)
{
    return canto_spread_of(summary->size, &summary->ranks[0].tally.lanes[lane].wait_s,
                           sizeof *summary->ranks);
}

// Mean over the ranks of all their phases.
static double whole(const canto_summary *summary)
{
    double sum = 0;
    for (int i = 0; i < CANTO_PHASES; i++) sum += phase_spread(summary, i).mean;
    return sum;
}

typedef struct {
    int64_t min, max;
} bytes_range;

static void widen(bytes_range *range, int64_t x, bool first)
{
    if (first || x < range->min) range->min = x;
    if (first || x > range->max) range->max = x;
}

static void memory_ranges(const canto_summary *summary, bytes_range *arenas, bytes_range *peak)
{
    for (int r = 0; r < summary->size; r++) {
        widen(arenas, summary->ranks[r].arena_bytes, r == 0);
        widen(peak, summary->ranks[r].peak_bytes, r == 0);
    }
}

// --- for people ---

static void print_row(canto_log *log, const char *name, const canto_spread *spread, double whole_s)
{
    if (spread->max <= 0) return;
    canto_log_line(log, "  %-18s%10.3f%10.3f%10.3f%9.2f%8d%8.1f %%", name, spread->min,
                   spread->mean, spread->max, spread->max / spread->mean, spread->slowest,
                   100 * spread->mean / whole_s);
}

static void print_times(const canto_summary *summary, canto_log *log)
{
    const double whole_s = whole(summary);
    canto_log_line(log, "  %-18s%10s%10s%10s%9s%8s%10s", "seconds of a rank", "min", "mean", "max",
                   "max/mean", "slowest", "share");
    for (int i = 1; i <= CANTO_PHASES; i++) { // the first one, the rest, last
        const canto_spread spread = phase_spread(summary, i % CANTO_PHASES);
        print_row(log, canto_phase_name((canto_phase)(i % CANTO_PHASES)), &spread, whole_s);
    }
    canto_log_line(log, "  of the steps, waiting on the lane");
    for (int i = 0; i < CANTO_LANES; i++) {
        const canto_spread spread = wait_spread(summary, i);
        print_row(log, canto_lane_name((canto_lane)i), &spread, whole_s);
    }
}

static void print_lanes(const canto_summary *summary, canto_log *log)
{
    canto_log_line(log, "  %-18s%12s%20s%20s", "sent by all ranks", "messages", "bytes",
                   "bytes by the plan");
    for (int i = 0; i < CANTO_LANES; i++) {
        const canto_lane_tally lane = canto_summary_lane(summary, (canto_lane)i);
        const bool equal =
            lane.sent.bytes == lane.priced.bytes && lane.sent.messages == lane.priced.messages;
        canto_log_line(log, "  %-18s%12lld%20lld%20lld%s", canto_lane_name((canto_lane)i),
                       (long long)lane.sent.messages, (long long)lane.sent.bytes,
                       (long long)lane.priced.bytes, equal ? "" : "  differs");
    }
    canto_log_line(log, "  small collectives: %lld",
                   (long long)summary->ranks[0].tally.lanes[CANTO_LANE_CONTROL].collectives);
}

void canto_summary_print(const canto_summary *summary, canto_log *log)
{
    const canto_tally *tally = &summary->ranks[0].tally;
    bytes_range arenas = {0}, peak = {0};
    memory_ranges(summary, &arenas, &peak);
    canto_log_line(log,
                   "%lld step%s of this start on %d rank%s: %.3f s, of which %.3f s in steps; %.0f "
                   "tokens/s there",
                   (long long)tally->steps, canto_plural(tally->steps), summary->size,
                   canto_plural(summary->size), whole(summary), tally->step_s,
                   (double)tally->tokens / tally->step_s);
    print_times(summary, log);
    print_lanes(summary, log);
    canto_log_line(log, "  memory of a rank, MB: arenas %.1f to %.1f, whole process %.1f to %.1f",
                   (double)arenas.min / 1e6, (double)arenas.max / 1e6, (double)peak.min / 1e6,
                   (double)peak.max / 1e6);
}

// --- for programs ---

static json_t *spread_json(canto_spread spread)
{
    return json_pack("{s:f, s:f, s:f, s:i}", "min", spread.min, "mean", spread.mean, "max",
                     spread.max, "slowest", spread.slowest);
}

static json_t *range_json(bytes_range range)
{
    return json_pack("{s:I, s:I}", "min", (json_int_t)range.min, "max", (json_int_t)range.max);
}

static json_t *lane_json(const canto_summary *summary, canto_lane which)
{
    const canto_lane_tally lane = canto_summary_lane(summary, which);
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "messages", (json_int_t)lane.sent.messages,
                     "bytes", (json_int_t)lane.sent.bytes, "priced_messages",
                     (json_int_t)lane.priced.messages, "priced_bytes",
                     (json_int_t)lane.priced.bytes, "collectives",
                     (json_int_t)summary->ranks[0].tally.lanes[which].collectives, "wait_s",
                     spread_json(wait_spread(summary, which)));
}

json_t *canto_summary_json(const canto_summary *summary, int64_t step)
{
    const canto_tally *tally = &summary->ranks[0].tally;
    bytes_range arenas = {0}, peak = {0};
    memory_ranges(summary, &arenas, &peak);
    json_t *phases = json_object(), *lanes = json_object();
    for (int i = 0; i < CANTO_PHASES; i++)
        json_object_set_new(phases, canto_phase_name((canto_phase)i),
                            spread_json(phase_spread(summary, i)));
    for (int i = 0; i < CANTO_LANES; i++)
        json_object_set_new(lanes, canto_lane_name((canto_lane)i),
                            lane_json(summary, (canto_lane)i));
    return json_pack("{s:I, s:I, s:i, s:I, s:f, s:f, s:f, s:o, s:o, s:o, s:o}", "step",
                     (json_int_t)step, "steps", (json_int_t)tally->steps, "ranks", summary->size,
                     "tokens", (json_int_t)tally->tokens, "step_s", tally->step_s, "seconds",
                     whole(summary), "tokens_per_s", (double)tally->tokens / tally->step_s,
                     "phases", phases, "lanes", lanes, "arena_bytes", range_json(arenas),
                     "peak_bytes", range_json(peak));
}
