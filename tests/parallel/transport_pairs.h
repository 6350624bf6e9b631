// A transport for tests: joins of neighbours travel, so that values appear that neither begin with
// the stream nor are a single segment.
#ifndef CANTO_TESTS_PARALLEL_TRANSPORT_PAIRS_H
#define CANTO_TESTS_PARALLEL_TRANSPORT_PAIRS_H

#include "parallel/scan.h"

// Segments 2i and 2i + 1 are joined by the owner of the second; every rank gets every pair.
extern const canto_transport transport_pairs;

#endif
