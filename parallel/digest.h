// A 64-bit digest of a stream of int64 fields, the same on every machine: XXH3 over the fields in
// little-endian order, never over struct bytes. Local.
#ifndef CANTO_PARALLEL_DIGEST_H
#define CANTO_PARALLEL_DIGEST_H

#include <stdint.h>

enum { CANTO_DIGEST_BLOCK = 128 }; // fields hashed at once

typedef struct canto_digest {
    uint64_t value; // of the blocks before; seeds the next one
    int n;
    int64_t fields[CANTO_DIGEST_BLOCK];
} canto_digest;

void canto_digest_init(canto_digest *digest);
void canto_digest_add(canto_digest *digest, int n, const int64_t *fields);
uint64_t canto_digest_value(const canto_digest *digest); // of all fields added so far

#endif
