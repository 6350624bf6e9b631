// What a start of a run took, when it is over: time by phase with its spread over the ranks,
// messages and bytes of each lane beside their price, memory.
#ifndef CANTO_LAUNCH_SUMMARY_H
#define CANTO_LAUNCH_SUMMARY_H

#include "launch/trainer.h"

struct json_t; // of jansson

typedef struct canto_rank_summary {
    canto_tally tally;
    double seconds[CANTO_PHASES];
    int64_t arena_bytes; // tensors and tables
    int64_t peak_bytes;  // of the process, as the system counts it; 0: it does not
} canto_rank_summary;

typedef struct canto_summary {
    int size;
    canto_rank_summary *ranks; // [size], owned
} canto_summary;

// min, mean and max over ranks, and whose the last one is.
typedef struct canto_spread {
    double min, mean, max;
    int slowest;
} canto_spread;
canto_spread canto_spread_of(int n, const void *first, size_t stride); // of doubles

// Collective. Of the steps since the trainer was made.
canto_status canto_summary_make(canto_trainer *trainer, canto_summary *out);
void canto_summary_destroy(canto_summary *summary); // also of a zeroed one
// Of all ranks.
canto_lane_tally canto_summary_lane(const canto_summary *summary, canto_lane lane);

void canto_summary_print(const canto_summary *summary, canto_log *log);
// Fields of an event of metrics.jsonl; NULL when there is no memory.
struct json_t *canto_summary_json(const canto_summary *summary, int64_t step);

#endif
