// A fold compiled for one rank and one direction: the rank's actions in the order of the fold, each
// with the places its operands lie in. Inside parallel/ only: scan_program.c makes it, scan.c runs
// it.
#ifndef CANTO_PARALLEL_SCAN_PROGRAM_H
#define CANTO_PARALLEL_SCAN_PROGRAM_H

#include "parallel/scan.h"

typedef enum canto_scan_place_kind {
    CANTO_SCAN_SUMMARY,
    CANTO_SCAN_STATE,
    CANTO_SCAN_BUFFER
} canto_scan_place_kind;

// Where a value lies: a segment of the caller's arrays, or a buffer of the scan.
typedef struct canto_scan_place {
    canto_scan_place_kind kind;
    int index;
} canto_scan_place;

typedef enum canto_scan_action_kind {
    CANTO_SCAN_COPY,
    CANTO_SCAN_RECEIVE,
    CANTO_SCAN_SEND,
    CANTO_SCAN_JOIN
} canto_scan_action_kind;

typedef struct canto_scan_action {
    canto_scan_action_kind kind;
    int step; // of the fold: neighbouring messages of one step start together
    int peer;
    int a, m, b;
    canto_scan_place left, right, out; // send: left; receive: out
    int left_from, right_from;         // the receive that brings an operand, -1: none
} canto_scan_action;

// One direction. Segments are numbered along the fold: mirrored in the backward pass.
typedef struct canto_scan_program {
    bool mirrored;
    int segments, mine_n;
    int *owner;      // [segments]
    int *mine;       // [segments]: index among my segments, -1: not mine
    int64_t *tokens; // [segments + 1]: tokens before each segment
    int *zeros;      // [segments + 1]: zero transitions before each segment
    bool *cut;       // [segments + 1]: nothing crosses the boundary before the segment
    int buffers_n;   // that the actions use
    int actions_n;
    canto_scan_action *actions;
    canto_request *requests; // [actions_n]
} canto_scan_program;

// The shards are real even when the arena is measuring. *buffers: an upper bound of
// out->buffers_n that is known while measuring.
canto_status canto_scan_program_create(canto_arena *arena, const canto_scan_desc *desc,
                                       bool mirrored, canto_scan_program *out, int *buffers);

#endif
