// The figures of a run as `canto plot` draws them, from metrics.jsonl: steps (averaged in groups
// when there are many), evaluations, and the times of each rank. Local.
#ifndef CANTO_LAUNCH_PLOT_DATA_H
#define CANTO_LAUNCH_PLOT_DATA_H

#include "launch/metrics.h"
#include "launch/summary.h"

enum { CANTO_PLOT_POINTS_MAX = 1500 };

// A step, or the mean of a group of neighbours (of times: least of the least, most of the most).
typedef struct canto_plot_point {
    double step; // the last of a group
    double loss; // bits per byte, or nats per token
    double smooth_loss;
    double tokens_per_s;
    double smooth_tokens_per_s;
    bool timed;                     // compute and wait are known, of every step of the group
    canto_spread compute_s, wait_s; // over ranks
} canto_plot_point;

typedef struct canto_plot_evaluation {
    double step, loss;
} canto_plot_evaluation;

// Means over the steps since the number of ranks last changed.
typedef struct canto_plot_rank {
    double compute_s, wait_s;
} canto_plot_rank;

typedef struct canto_plot_data {
    int64_t points_n, points_capacity;
    canto_plot_point *points; // owned
    int64_t evaluations_n, evaluations_capacity;
    canto_plot_evaluation *evaluations; // owned
    int ranks_n;                        // 0: times of single ranks are not known
    canto_plot_rank ranks[CANTO_METRICS_RANKS_MAX];
    double ranks_first, ranks_last; // steps that these are of
    int64_t ranks_steps;
    int64_t steps;   // read
    bool timed;      // some point is
    bool tokens;     // losses are in nats per token, of a run on tokens; else in bits per byte
    int64_t skipped; // lines that are no records
    canto_status status;
} canto_plot_data;

// CANTO_ERROR_IO if there are no metrics or no step in them. Records without times, or without
// anything else that is drawn, are taken as far as they go.
canto_status canto_plot_read(const char *run, canto_plot_data *out);
void canto_plot_free(canto_plot_data *data); // also of a zeroed one

#endif
