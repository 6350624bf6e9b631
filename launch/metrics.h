// metrics.jsonl in the run directory: one JSON object a line, appended with one write each, so that
// a killed run leaves at most one truncated last line. Steps carry numbers and, for loss and
// gradient norm, their exact bits; everything else carries "event". Rank 0 only; local.
#ifndef CANTO_LAUNCH_METRICS_H
#define CANTO_LAUNCH_METRICS_H

#include "runtime/status.h"

#include <stdbool.h>
#include <stdint.h>

struct json_t;             // of jansson
struct canto_step_figures; // launch/trainer.h

// With more ranks a step's record holds only min, mean, max and the slowest rank of their times.
enum { CANTO_METRICS_RANKS_MAX = 64 };

typedef struct canto_metrics_step {
    int64_t step; // 1-based
    double loss;  // nats per target token
    bool text;    // tokens are bytes, so that bits per byte mean something
    double grad_norm;
    double lr;
    int64_t tokens; // read in this step by all ranks
    double step_s;
    double comm_wait_s; // mean over ranks
    int64_t bytes_sent; // all ranks
    int ranks;
    const struct canto_step_figures *figures; // [ranks], borrowed; NULL: times are left out
} canto_metrics_step;

typedef struct canto_metrics {
    int file; // owned; -1: closed
} canto_metrics;

// Opens RUN/metrics.jsonl for appending. Records of steps beyond `step` (a run that went further
// than its checkpoint), and a truncated last line, are moved to RUN/metrics.discarded.jsonl first;
// *moved tells how many.
canto_status canto_metrics_open(const char *run, int64_t step, canto_metrics *out, int64_t *moved);
void canto_metrics_close(canto_metrics *metrics);

canto_status canto_metrics_write_step(const canto_metrics *metrics,
                                      const canto_metrics_step *record);
// Adds "event": name and "time"; takes over `fields` (a new JSON object), also on failure.
// CANTO_ERROR_NUMBERS for NULL, which json_pack returns for a number that is not finite.
canto_status canto_metrics_write_event(const canto_metrics *metrics, const char *name,
                                       struct json_t *fields);

// Fields of the event of an evaluation: step, loss, and bits_per_byte and bytes of a text, or
// perplexity and tokens. NULL if the loss is not finite.
struct json_t *canto_metrics_evaluation(int64_t step, double loss, int64_t tokens, bool text);

// Calls `visit` with every object of RUN/metrics.jsonl; lines that are no JSON are skipped and
// counted.
typedef void (*canto_metrics_visit)(void *context, const struct json_t *record);
canto_status canto_metrics_read(const char *run, canto_metrics_visit visit, void *context,
                                int64_t *skipped);

#endif
