// What plans and dry runs print: prices of a step and memory of a rank, as tables or as JSON.
#ifndef CANTO_LAUNCH_PLAN_REPORT_H
#define CANTO_LAUNCH_PLAN_REPORT_H

#include "launch/memory.h"
#include "launch/price.h"

struct json_t; // of jansson

typedef struct canto_plan_report {
    const canto_config *config; // borrowed
    int ranks, dp, cp;
    canto_step_price price;
    int memory_n;         // 0: memory is not told
    canto_memory *memory; // borrowed, [memory_n], by rank
    int64_t process;      // bytes of the program itself before it takes arenas; 0: unknown
} canto_plan_report;

void canto_plan_report_print(const canto_plan_report *report, FILE *stream);
// NULL without memory. The caller owns it.
struct json_t *canto_plan_report_json(const canto_plan_report *report);

#endif
