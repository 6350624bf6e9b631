// One rank's part of a schedule, ready to run: its messages in the order both ends start them, the
// places where it computes, and rows of a buffer for everything that is received or summed.
//
// Everything is counted in token rows, so one compiled schedule serves every width, and both
// passes. Internal to parallel/: users see attend.h. All functions are local.
#ifndef CANTO_PARALLEL_COMPILED_H
#define CANTO_PARALLEL_COMPILED_H

#include "parallel/attend.h"
#include "parallel/moves.h"
#include "parallel/slots.h"

// Whose rows a message reads or writes.
typedef enum canto_place {
    CANTO_PLACE_OWN,   // my tokens
    CANTO_PLACE_PARTS, // the buffer of received parts
    CANTO_PLACE_SUMS,  // the buffer of sums
} canto_place;

// One of my moves.
typedef struct canto_message {
    canto_move_kind kind;
    bool sends;
    int peer;
    int step, end; // started in `step`, finished at the end of step `end`
    canto_place place;
    int64_t row, rows;
    int joins;        // of a received sum: index of the visit whose sum it is added to
    int64_t home_row; // of a sum that comes home: the first of my tokens it is added to
} canto_message;

// Keys [begin, end) that I compute with: an own part or a visit.
typedef struct canto_stop {
    int part;
    int64_t begin, end;
    int step;
    int64_t row;     // of my tokens (own part) or of the buffer of parts (visit)
    int64_t sum_row; // of a visit: its sum
    int part_last;   // of a visit: the last step that reads the received part
    int sum_last;    // of a visit: the step at whose end its sum has left
} canto_stop;

struct canto_compiled {
    int rank, size;
    const canto_mask *mask;     // borrowed
    const canto_shards *shards; // borrowed
    int64_t tokens;             // mine
    int messages_n, messages_capacity;
    canto_message *messages; // sorted by (step, kind, visit)
    int *by_end;             // [messages_n]: indices into messages, sorted by end
    canto_request *requests; // [messages_n]: of the run that is under way
    int own_n, visits_n, parts_capacity;
    canto_stop *own;                 // sorted by step
    canto_stop *visits;              // sorted by step
    int *visit_of_part;              // [parts]: index into visits, -1: I do not get this part
    int last_forward, last_backward; // the last steps in which something happens here
    int bands_capacity;
    int64_t *key_end;        // [bands]: largest k1 of the bands up to this one
    int64_t *key_begin;      // [bands]: smallest k0 of the bands from this one on
    canto_moves moves;       // scratch
    canto_slots parts, sums; // scratch
};

// Rows of the two buffers, for any mask.
int64_t canto_compiled_part_rows(const canto_shards *shards);
int64_t canto_compiled_sum_rows(const canto_shards *shards);

#endif
