// The places that a strip's symbols are written to and read from. Kernels move them on from strip to strip.

#ifndef INGOT_TRELLIS_STREAMS_H
#define INGOT_TRELLIS_STREAMS_H

#include "CKernels.h"

/// Where the next symbols of a strip go; up to 63 bytes behind the last are touched. Pointers move on.
struct ingot_trellis_sinks {
    uint8_t *streams[2 * INGOT_TRELLIS_MAX_CLASSES];
    uint8_t *escapes, *low;
};

/// Where the next symbols of a strip are; 64 bytes behind each end can be read. Pointers move on.
struct ingot_trellis_sources {
    const uint8_t *streams[2 * INGOT_TRELLIS_MAX_CLASSES], *ends[2 * INGOT_TRELLIS_MAX_CLASSES];
    const uint8_t *escapes, *escapes_end, *low;
};

#endif
