// How numbers stand in sentences and tables for people.
#ifndef CANTO_LAUNCH_AMOUNT_H
#define CANTO_LAUNCH_AMOUNT_H

#include <stdint.h>

typedef struct canto_amount {
    char text[24];
} canto_amount;

// Bytes: exact below ten thousand, then in kB, MB, GB and so on of 1000, with one digit.
canto_amount canto_amount_bytes(int64_t bytes);
// What a noun ends in: "1 rank", "2 ranks".
const char *canto_plural(int64_t n);

#endif
