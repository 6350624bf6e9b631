// Chained XXH3: each block of fields is hashed with the digest of the blocks before it as the seed.
#define _DEFAULT_SOURCE // htole64
#include "parallel/digest.h"

#include <endian.h>
#include <xxhash.h>

void canto_digest_init(canto_digest *digest)
{
    digest->value = 0;
    digest->n = 0;
}

void canto_digest_add(canto_digest *digest, int n, const int64_t *fields)
{
    for (int i = 0; i < n; i++) {
        if (digest->n == CANTO_DIGEST_BLOCK) {
            digest->value = canto_digest_value(digest);
            digest->n = 0;
        }
        digest->fields[digest->n++] = (int64_t)htole64((uint64_t)fields[i]);
    }
}

uint64_t canto_digest_value(const canto_digest *digest)
{
    return XXH3_64bits_withSeed(digest->fields, (size_t)digest->n * sizeof digest->fields[0],
                                digest->value);
}
