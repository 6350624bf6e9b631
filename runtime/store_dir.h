// The directory of checkpoints: names, listing, publishing, retention. Internal to the store;
// local.
//
//     step-00000100                      committed
//     step-00000100.tmp.<id>             being written, or left by an attempt that died
//     .trash-step-00000100.<id>          being removed
//     step-00000100.aside.<id>           set aside: nothing looks at it
//     latest, latest.tmp.<id>            name of the newest committed step
//     best, best.tmp.<id>                marks of the best ones (runtime/store_best.c)
//
// <id> is 16 hexadecimal digits.
#ifndef CANTO_RUNTIME_STORE_DIR_H
#define CANTO_RUNTIME_STORE_DIR_H

#include "runtime/store_file.h"

enum { CANTO_STORE_ID = 17, CANTO_STEP_NAME = 64 };

// Random; two attempts never share one.
canto_status canto_store_make_id(char id[CANTO_STORE_ID]);

void canto_step_name(int64_t step, char name[CANTO_STEP_NAME]);
void canto_step_temporary_name(int64_t step, const char *id, char name[CANTO_STEP_NAME]);
bool canto_step_parse(const char *name, int64_t *step);

// Steps of the directories named as committed, ascending. A directory that does not exist has none.
// Caller frees *steps.
canto_status canto_steps_list(const char *dir, int64_t **steps, int *count);

// Makes `dir` if it is missing (one level) and the empty temporary directory of a new attempt;
// removes what dead attempts left. An existing step is CANTO_ERROR_CHECKPOINT.
canto_status canto_step_prepare(const char *dir, int64_t step, const char *id);
// Renames the complete, synced temporary directory to its final name, then lets `latest` name it;
// durable in this order. On failure both are undone.
canto_status canto_step_publish(const char *dir, int64_t step, const char *id);
void canto_step_abandon(const char *dir, int64_t step, const char *id); // best effort
// Best effort: of the committed steps up to `step`, all but the newest keep_last and those marked
// as best are removed; none while the marks cannot be read. What
// cannot be removed is tried again the next time.
void canto_steps_retain(const char *dir, int64_t step, int keep_last, const char *id);

// Of steps beyond this one.
canto_status canto_store_forget_marks_after(const char *dir, int64_t step);

#endif
